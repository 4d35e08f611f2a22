package plan

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// byHand is how a person takes a road that vmnet does not: "; by hand: nft insert rule …", or "" where no rule is put in. The mark
// is left out: such a rule is that person's.
func (h *healer) byHand(r road) string {
	var out []string
	for _, d := range r.drafts {
		if f, ok := d.change.After.(*schema.ForeignRule); ok && d.change.Before == nil {
			out = append(out, insertCommand(f))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; by hand: " + strings.Join(out, " && ")
}

var markWords = regexp.MustCompile(` (?:-m comment --comment|comment) "vmnet:[^"]*"`)

// insertCommand puts a rule into its chain, by the tool of the table.
func insertCommand(f *schema.ForeignRule) string {
	text := markWords.ReplaceAllString(f.Rule.Text, "")
	if mark := f.MarkChain(); mark != "" {
		text = strings.TrimSuffix(text, mark) + "ACCEPT"
	}
	atEnd := f.Index >= chainEnd
	if !f.ByTool {
		where := "insert rule"
		if atEnd {
			where = "add rule"
		}
		place := strings.Join([]string{f.Family, f.Table, f.Chain}, " ")
		if f.Index > 0 && !atEnd {
			place += " index " + strconv.Itoa(f.Index)
		}
		return "nft '" + where + " " + place + " " + text + "'"
	}
	tool := map[string]string{"ip": "iptables", "ip6": "ip6tables", "bridge": "ebtables", "arp": "arptables"}[f.Family]
	if f.Legacy {
		tool += "-legacy"
	}
	where := "-I " + f.Chain
	switch {
	case atEnd:
		where = "-A " + f.Chain
	case f.Index > 0:
		where += " " + strconv.Itoa(f.Index+1)
	}
	return tool + " -t " + f.Table + " " + where + " " + text
}
