package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

func jsonOf(t *testing.T, v cty.Value) string {
	t.Helper()
	b, err := ctyjson.SimpleJSONValue{Value: v}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write fills a directory with files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const header = "vmnet { required_version = \">= 0\" }\n"

// The five sources of a variable's value, each winning over those after it.
func TestVariablePrecedence(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"main.vmnet.hcl":    header + `variable "v" { default = "default" }`,
		"a.auto.vmvars.hcl": `v = "auto a"`,
		"b.auto.vmvars.hcl": `v = "auto b"`,
		"one.vmvars.hcl":    `v = "file one"`,
		"two.vmvars.hcl":    `v = "file two"`,
	}
	dir := write(t, files)
	in := func(name string) string { return filepath.Join(dir, name) }
	bare := write(t, map[string]string{"main.vmnet.hcl": files["main.vmnet.hcl"]})
	env := []string{"PATH=/bin", "VMNET_VAR_v=environment", "VMNET_VAR_unknown=x"}
	tests := []struct {
		name, dir string
		o         Options
		want      string
	}{
		{"default", bare, Options{}, "default"},
		{"environment over default", bare, Options{Environ: env}, "environment"},
		{"auto files over environment, the later name wins", dir, Options{Environ: env}, "auto b"},
		{"-var-file over auto files, the later one wins", dir, Options{Environ: env, VarFiles: []string{in("two.vmvars.hcl"), in("one.vmvars.hcl")}}, "file one"},
		{"-var over all, the later one wins", dir, Options{Environ: env, VarFiles: []string{in("two.vmvars.hcl")}, Vars: []string{"v=a", "v=b=c"}}, "b=c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, diags := Load(tt.dir, tt.o)
			if diags.HasErrors() {
				t.Fatal(render(diags, r.Files))
			}
			if got := r.loader.nodes["var"]["v"].value.AsString(); got != tt.want {
				t.Errorf("v = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVariableTypes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, decl, given, want string }{
		{"string as it stands", `type = string`, `[1]`, `"[1]"`},
		{"number", `type = number`, `42`, `42`},
		{"bool", `type = bool`, `true`, `true`},
		{"no type: a string", ``, `42`, `"42"`},
		{"list", `type = list(string)`, `["a", "b"]`, `["a","b"]`},
		{"optional attributes", `type = map(object({ mac = string, net = optional(string, "lab") }))`, `{ a = { mac = "x" } }`, `{"a":{"mac":"x","net":"lab"}}`},
		{"null", `type = list(string)`, `null`, `null`},
		{"not a number", `type = number`, `many`, `error: a number is required`},
		{"not a list", `type = list(string)`, `a-b`, `error: Variables may not be used here`},
		{"bad syntax", `type = list(string)`, `[`, `error: Expected`},
		{"missing attribute", `type = object({ mac = string })`, `{}`, `error: attribute "mac" is required`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := header + "variable \"v\" {\n" + tt.decl + "\n}\n"
			r, diags := Load("-", Options{Stdin: strings.NewReader(src), Vars: []string{"v=" + tt.given}})
			checkShape(t, diags)
			if want, ok := strings.CutPrefix(tt.want, "error: "); ok {
				if !diags.HasErrors() || !strings.Contains(diags[0].Detail, want) {
					t.Errorf("got %v, want an error with %q", diags, want)
				}
				return
			}
			if diags.HasErrors() {
				t.Fatal(render(diags, r.Files))
			}
			if got := jsonOf(t, r.loader.nodes["var"]["v"].value); got != tt.want {
				t.Errorf("v = %s, want %s", got, tt.want)
			}
		})
	}
}

// What is wrong with values for variables, and with where configurations are.
func TestWrongSources(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"main.vmnet.hcl":    header + "variable \"uplink\" {\n  type    = number\n  default = 1\n}\n",
		"x.auto.vmvars.hcl": "uplnk = \"eno1\"\nuplink = [1]\n",
		"bad.hcl":           "block {}\nuplink = var.x\n",
	})
	empty := write(t, map[string]string{"README": "", ".hidden.vmnet.hcl": ""})
	var b strings.Builder
	show := func(what, path string, o Options) {
		r, diags := Load(path, o)
		checkShape(t, diags)
		text := render(diags, r.Files)
		b.WriteString("## " + what + "\n\n" + strings.NewReplacer(dir, "DIR", empty, "EMPTY").Replace(text))
	}
	show("values", dir, Options{Vars: []string{"uplinc=1", "nonsense", "=x"}, VarFiles: []string{filepath.Join(dir, "bad.hcl"), filepath.Join(dir, "none.hcl")}})
	show("a -var of the wrong type", dir, Options{Vars: []string{"uplink=eno1"}})
	show("no such path", filepath.Join(dir, "nowhere"), Options{})
	show("no files", empty, Options{})
	show("no standard input", "-", Options{})
	golden(t, "testdata/sources.golden", b.String())
}

// The digest follows the text and the variables, not the place.
func TestDigest(t *testing.T) {
	t.Parallel()
	src := map[string]string{"main.vmnet.hcl": header + "variable \"v\" { default = 1 }"}
	digest := func(dir string, vars ...string) string {
		r, diags := Load(dir, Options{Vars: vars})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return r.Desired.Digest
	}
	a, b := write(t, src), write(t, src)
	if digest(a) != digest(b) {
		t.Error("the same text in two directories has two digests")
	}
	if digest(a) == digest(a, "v=2") {
		t.Error("another value of a variable does not change the digest")
	}
}

// One configuration in several files, one of them by name only.
func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"a.vmnet.hcl": "guest \"g\" {\n  network = nat.lab\n  address = cidrhost(nat.lab.subnet, 5)\n}\n",
		"b.vmnet.hcl": header + "nat \"lab\" { subnet = \"10.0.0.0/24\" }\n",
		"c.hcl":       "not read",
	})
	r, diags := Load(dir, Options{})
	if diags.HasErrors() {
		t.Fatal(render(diags, r.Files))
	}
	if got := r.Desired.Guests[0].IPs[0].String(); got != "10.0.0.5" {
		t.Errorf("guest has %s", got)
	}
	if got, want := r.Desired.Blocks["guest.g"].String(), filepath.Join(dir, "a.vmnet.hcl")+":1"; got != want {
		t.Errorf("guest.g stands at %s, want %s", got, want)
	}
	if len(r.Desired.Files) != 2 {
		t.Errorf("files read: %v", r.Desired.Files)
	}
	if _, diags := Load(filepath.Join(dir, "a.vmnet.hcl"), Options{}); !diags.HasErrors() {
		t.Error("a file alone knows of the others")
	}
}
