package config

import (
	"strings"
	"testing"
)

// The functions as they are written in a file. What is expected is the result as JSON, or "error: " and a part of what is
// said.
func TestFunctions(t *testing.T) {
	t.Parallel()
	tests := []struct{ expr, want string }{
		{`cidrhost("10.0.0.0/24", 5)`, `"10.0.0.5"`},
		{`cidrhost("10.0.0.0/24", -2)`, `"10.0.0.254"`},
		{`cidrhost("10.0.0.77/24", 0)`, `"10.0.0.0"`},
		{`cidrhost("fd00::/64", 256)`, `"fd00::100"`},
		{`cidrhost("fd00::/64", -1)`, `"fd00::ffff:ffff:ffff:ffff"`},
		{`cidrhost("10.0.0.0/24", 256)`, `error: has 256 addresses`},
		{`cidrhost("10.0.0.0/24", 1.5)`, `error: a whole number is needed`},
		{`cidrhost("10.0.0.0/40", 1)`, `error: prefix length 40 is too long`},
		{`cidrnetmask("10.0.0.0/12")`, `"255.240.0.0"`},
		{`cidrnetmask("0.0.0.0/0")`, `"0.0.0.0"`},
		{`cidrnetmask("fd00::/64")`, `error: IPv4 only`},
		{`cidrsubnet("10.20.0.0/16", 8, 0)`, `"10.20.0.0/24"`},
		{`cidrsubnet("10.20.0.0/16", 8, 255)`, `"10.20.255.0/24"`},
		{`cidrsubnet("fd00:fd12:3456:7890::/56", 16, 162)`, `"fd00:fd12:3456:7800:a200::/72"`}, // Terraform's own example
		{`cidrsubnet("10.20.0.0/16", 8, 256)`, `error: no subnet number 256`},
		{`cidrsubnet("10.20.0.0/16", 17, 0)`, `error: cannot be extended`},
		{`cidrsubnet("10.20.0.0/16", -1, 0)`, `error: cannot be extended`},
		{`cidrsubnets("10.1.0.0/16", 4, 4, 8, 4)`, `["10.1.0.0/20","10.1.16.0/20","10.1.32.0/24","10.1.48.0/20"]`}, // Terraform's own example
		{`cidrsubnets("10.1.0.0/24", 1, 1, 1)`, `error: not enough room`},
		{`cidrcontains("192.168.2.0/20", "192.168.2.1")`, `true`},
		{`cidrcontains("192.168.2.0/20", "192.168.2.0/22")`, `true`},
		{`cidrcontains("192.168.2.0/20", "192.126.2.0/18")`, `false`},
		{`cidrcontains("192.168.2.0/24", "192.168.0.0/16")`, `false`},
		{`cidrcontains("192.168.2.0/24", "fd00::1")`, `false`},
		{`mac("db1")`, `"52:54:00:7a:41:25"`},
		{`merge({ a = 1 }, { b = 2 })`, `{"a":1,"b":2}`},
		{`lookup({ a = 1 }, "a", 2)`, `1`},
		{`lookup({ a = 1 }, "b", 2)`, `2`},
		{`lookup({ a = 1 }, "b")`, `error: no key "b"`},
		{`toset(["b", "a", "b"])`, `["a","b"]`},
		{`tolist(toset(["b", "a"]))[0]`, `"a"`},
		{`tomap({ a = "1", b = 2 })`, `{"a":"1","b":"2"}`},
		{`format("%s-%02d", "vm", 7)`, `"vm-07"`},
		{`formatlist("vm-%d", [1, 2])`, `["vm-1","vm-2"]`},
		{`join(",", split("-", "a-b"))`, `"a,b"`},
		{`try(local.none.a, "fallback")`, `error: local.none is not declared`},
		{`try({ a = 1 }.b, "fallback")`, `"fallback"`},
		{`can(cidrhost("x", 1))`, `false`},
		{`jsondecode("[1, {\"a\": null}]")`, `[1,{"a":null}]`},
		{`jsonencode({ a = [1] })`, `"{\"a\":[1]}"`},
		{`csvdecode("a,b\n1,2")`, `[{"a":"1","b":"2"}]`},
		{`coalesce(null, "", "x")`, `"x"`},
		{`coalesce(null, "")`, `error: every argument is null or empty`},
		{`element(["a", "b"], 3)`, `"b"`},
		{`index(["a", "b"], "b")`, `1`},
		{`index(["a", "b"], "c")`, `error: does not have this value`},
		{`length("héllo")`, `5`},
		{`length({ a = 1 })`, `1`},
		{`length(5)`, `error: a string, list, set, map or object is needed`},
		{`one([])`, `null`},
		{`one(["a"])`, `"a"`},
		{`one(["a", "b"])`, `error: not one`},
		{`sum([1, 2.5])`, `3.5`},
		{`alltrue([true, false])`, `false`},
		{`anytrue([true, false])`, `true`},
		{`alltrue([])`, `true`},
		{`replace("a.b", ".", "-")`, `"a-b"`},
		{`replace("a1b2", "/[0-9]/", "")`, `"ab"`},
		{`startswith("vnet3", "vnet")`, `true`},
		{`endswith("vnet3", "4")`, `false`},
		{`strcontains("vnet3", "net")`, `true`},
		{`base64decode(base64encode("x"))`, `"x"`},
		{`base64decode("_")`, `error: illegal base64`},
		{`sha256("")`, `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`},
		{`file("testdata/text")`, `"hello\n"`},
		{`file("testdata")`, `error: not a regular file`},
		{`file("/dev/zero")`, `error: not a regular file`},
		{`fileexists("testdata/text")`, `true`},
		{`fileexists("nowhere")`, `false`},
		{`setproduct(["a"], [1, 2])`, `[["a",1],["a",2]]`},
		{`[for k, v in { b = 1, a = 2 } : "${k}${v}"]`, `["a2","b1"]`},
		{`true ? "a" : "b"`, `"a"`},
		{`"%{for x in [1, 2]}(${x})%{endfor}"`, `"(1)(2)"`},
		{`lower(5)`, `"5"`},
		{`nofunc(5)`, `error: no function "nofunc"`},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			t.Parallel()
			got := evaluate(t, "locals { x = "+tt.expr+" }")
			if part, ok := strings.CutPrefix(tt.want, "error: "); ok && strings.HasPrefix(got, "error: ") && strings.Contains(got, part) {
				return
			}
			if got != tt.want {
				t.Errorf("%s = %s, want %s", tt.expr, got, tt.want)
			}
		})
	}
}

// evaluate gives local.x of a configuration as JSON, or what is wrong.
func evaluate(t *testing.T, src string) string {
	t.Helper()
	r, diags := Load("-", Options{Stdin: strings.NewReader("vmnet { required_version = \">= 0\" }\n" + src)})
	if diags.HasErrors() {
		return "error: " + diags[0].Detail
	}
	return jsonOf(t, r.loader.nodes["local"]["x"].value)
}
