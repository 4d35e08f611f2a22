package view

import "github.com/vmnet/vmnet/plan"

// Codes explains findings: one with its whole text, or many in a line each.
func Codes(codes []plan.CodeInfo, whole bool, o Options) string {
	pg := &page{o: o}
	for _, c := range codes {
		pg.raw(pg.paint(bold, c.Code) + "  " + clean(c.Title))
		if !whole {
			continue
		}
		if c.Doc == nil {
			pg.blank()
			pg.para(0, plain, c.Text)
			continue
		}
		for _, part := range c.Doc.Parts() {
			pg.blank()
			pg.raw(pg.paint(bold, part[0]))
			pg.para(2, plain, part[1])
		}
	}
	return pg.String()
}

// CodesJSON is the document of explain.
func CodesJSON(codes []plan.CodeInfo) ([]byte, error) {
	return encode(struct {
		FormatVersion string          `json:"format_version"`
		Codes         []plan.CodeInfo `json:"codes"`
	}{"1.0", codes})
}
