package plan

import "testing"

// Every code is there once, and documented in all its parts; no documentation is of a code that is not there.
func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		if seen[c.Code] {
			t.Errorf("%s is there twice", c.Code)
		}
		seen[c.Code] = true
		if c.Title == "" || c.Doc == nil {
			t.Errorf("%s has no title or documentation", c.Code)
			continue
		}
		for _, part := range c.Doc.Parts() {
			if len(part[1]) < 5 {
				t.Errorf("%s: %s: %q", c.Code, part[0], part[1])
			}
		}
	}
	n := 0
	for code := range linkDocs() {
		n++
		if !seen[code] {
			t.Errorf("documentation of %s, which is no code", code)
		}
	}
	if all := n + len(ipDocs()) + len(firewallDocs()) + len(serviceDocs()) + len(planDocs()); all != len(planCodes()) {
		t.Errorf("%d codes, %d of them documented", len(planCodes()), all)
	}
}
