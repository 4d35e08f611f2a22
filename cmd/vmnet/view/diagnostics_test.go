package view_test

import (
	"testing"

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
