package view_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

// A long line of source is cut in JSON too, and the offsets still show the guilty part.
func TestLongLineInJSON(t *testing.T) {
	line := strings.Repeat("x", 5000) + "GUILTY" + strings.Repeat("y", 5000)
	pos := func(column int) hcl.Pos { return hcl.Pos{Line: 1, Column: column + 1, Byte: column} }
	d := hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "s", Subject: &hcl.Range{Filename: "a.hcl", Start: pos(5000), End: pos(5006)}}}
	b, err := view.DiagnosticsJSON(d, map[string]*hcl.File{"a.hcl": {Bytes: []byte(line + "\n"), Body: hcl.EmptyBody()}})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Diagnostics []struct {
			Snippet struct {
				Code  string `json:"code"`
				Start int    `json:"highlight_start_offset"`
				End   int    `json:"highlight_end_offset"`
			} `json:"snippet"`
		} `json:"diagnostics"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	s := doc.Diagnostics[0].Snippet
	if len(s.Code) > 300 || s.Code[s.Start:s.End] != "GUILTY" {
		t.Errorf("%d bytes, highlighted %q", len(s.Code), s.Code[s.Start:s.End])
	}
}
