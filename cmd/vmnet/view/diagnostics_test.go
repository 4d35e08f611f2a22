package view_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/schema/config"
)

const source = `bridge "lan" {
	ports    = [var.uplink]
  adresses = ["192.0.2.10/24"]
}

nat "lab" {
  subnet = <<EOT
10.20.0.0/33
EOT
}
`

func mistakes(t *testing.T) (hcl.Diagnostics, map[string]*hcl.File) {
	t.Helper()
	f, diags := hclsyntax.ParseConfig([]byte(source), "lab.vmnet.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	blocks := f.Body.(*hclsyntax.Body).Blocks
	ports := blocks[0].Body.Attributes["ports"]
	subnet := blocks[1].Body.Attributes["subnet"]
	return hcl.Diagnostics{
		{
			Severity: hcl.DiagError, Summary: "Unknown attribute", Extra: config.Code("VN703"),
			Detail: `The bridge block has no attribute "adresses". Did you mean "addresses"?`, Subject: blocks[0].Body.Attributes["adresses"].NameRange.Ptr(),
		},
		{
			Severity: hcl.DiagWarning, Summary: "No such device", Detail: "eno2 does not exist.", Subject: ports.Expr.Range().Ptr(), Expression: ports.Expr,
			EvalContext: &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"uplink": cty.StringVal("eno2")})}},
		},
		{
			Severity: hcl.DiagError, Summary: "Invalid network prefix", Extra: config.Code("VN720"),
			Detail:  "The prefix length 33 is too long: an IPv4 network has at most 32 bits. Write a length from 0 to 32, which counts the bits that all addresses of the network share.",
			Subject: subnet.Expr.Range().Ptr(),
		},
		{Severity: hcl.DiagError, Summary: "No configuration", Detail: "There is no file *.vmnet.hcl here."},
		{Severity: hcl.DiagError, Summary: "Lost source", Subject: &hcl.Range{Filename: "gone.hcl", Start: hcl.Pos{Line: 4, Column: 1}, End: hcl.Pos{Line: 4, Column: 2}}},
		{Severity: hcl.DiagError, Summary: "Unclosed block", Subject: &hcl.Range{
			Filename: "lab.vmnet.hcl", Start: hcl.Pos{Line: 11, Column: 1, Byte: len(source)}, End: hcl.Pos{Line: 11, Column: 1, Byte: len(source)},
		}},
	}, map[string]*hcl.File{"lab.vmnet.hcl": f}
}

// A line of a thousand columns, or a file of a thousand mistakes, does not flood the terminal.
func TestDiagnosticsAreBounded(t *testing.T) {
	t.Parallel()
	src := "x = [" + strings.Repeat(`"ünïcödé", `, 200) + "oops, " + strings.Repeat(`"b", `, 200) + "]\n"
	at := strings.Index(src, "oops")
	f := &hcl.File{Bytes: []byte(src)}
	var diags hcl.Diagnostics
	for range 25 {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Beware", Subject: &hcl.Range{Filename: "x.hcl", Start: hcl.Pos{Line: 1, Column: 1, Byte: at}, End: hcl.Pos{Line: 1, Column: 1, Byte: at + 4}}})
	}
	diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Really wrong"})
	got := view.Diagnostics(diags, map[string]*hcl.File{"x.hcl": f}, view.Options{})
	if n := strings.Count(got, "Beware"); n != 19 || !strings.Contains(got, "Really wrong") || !strings.HasSuffix(got, "\n6 more diagnostics not shown; vmnet validate -o json lists all of 26.\n") {
		t.Errorf("%d warnings are shown:\n%s", n, got)
	}
	var code, marks string
	for line := range strings.Lines(got) {
		if len(line) > 260 || !utf8.ValidString(line) {
			t.Fatalf("line of %d bytes: %q", len(line), line)
		}
		if strings.Contains(line, "oops") && code == "" {
			code = line
		}
		if strings.Contains(line, "^") && marks == "" {
			marks = line
		}
	}
	if i, j := utf8.RuneCountInString(code[:strings.Index(code, "oops")]), utf8.RuneCountInString(marks[:strings.Index(marks, "^^^^")]); i != j {
		t.Errorf("the marks are not under the mistake:\n%s%s", code, marks)
	}
}

// What a name stands for is shown where that says something: that a guest is an object does not.
func TestValuesThatSayNothing(t *testing.T) {
	t.Parallel()
	src := "x = [guest.db1, guest.db1.name]\n"
	f, diags := hclsyntax.ParseConfig([]byte(src), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	expr := f.Body.(*hclsyntax.Body).Attributes["x"].Expr
	guest := cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal("db1")})
	got := view.Diagnostics(hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Wrong", Subject: expr.Range().Ptr(), Expression: expr,
		EvalContext: &hcl.EvalContext{Variables: map[string]cty.Value{"guest": cty.ObjectVal(map[string]cty.Value{"db1": guest})}},
	}}, map[string]*hcl.File{"x.hcl": f}, view.Options{})
	if strings.Contains(got, "object of") || !strings.Contains(got, `guest.db1.name is "db1"`) {
		t.Error(got)
	}
}

func TestDiagnostics(t *testing.T) {
	t.Parallel()
	diags, files := mistakes(t)
	golden(t, "diagnostics.txt", view.Diagnostics(diags, files, view.Options{Width: 80}))
	b, err := view.DiagnosticsJSON(diags, files)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "diagnostics.json", string(b))
	if b, err = view.DiagnosticsJSON(nil, nil); err != nil {
		t.Fatal(err)
	}
	if want := `{"format_version":"1.0","valid":true,"error_count":0,"warning_count":0,"diagnostics":[]}` + "\n"; string(b) != want {
		t.Errorf("no diagnostics: %s, want %s", b, want)
	}
}
