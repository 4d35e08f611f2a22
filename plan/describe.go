package plan

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// step turns a draft into a Step: words for people, made from the change alone where the draft has none of its own.
func (r *resolved) step(id int, d *draft) Step {
	s := Step{
		ID: id, Change: d.change, Action: d.action, Address: d.address, Origin: r.Origins[d.change.Ref],
		Lines: d.lines, Because: d.because, Codes: d.codes, Risk: d.risk, Hurts: d.hurts, Undo: d.undo,
		Commands: commands(d.change),
	}
	if s.Action == "" {
		s.Action = d.change.Verb()
	}
	if s.Origin == (schema.Origin{}) {
		s.Origin = r.Blocks[d.address]
	}
	if s.Lines == nil {
		s.Lines = lines(d.change)
	}
	if s.Undo == "" {
		s.Undo = undo(d.change)
	}
	if lost := schema.Lost(r.live, d.change); len(lost) > 0 {
		s.Irreversible = true
		s.Undo += ", without " + strings.Join(lost, ", ")
	}
	return s
}

// lines is the diff of a change, one attribute a line.
func lines(c schema.Change) []string {
	switch {
	case c.Before == nil:
		return createLines(c.After)
	case c.After == nil:
		return []string{"- " + c.Before.String()}
	}
	if f, ok := c.Before.(*schema.File); ok {
		return fileLines(f.Content, c.After.(*schema.File).Content)
	}
	var out []string
	for _, d := range schema.Compare(c.Before, c.After) {
		out = append(out, "~ "+d.String())
	}
	// What the new object no longer says shows only in the other direction: a port that is none any more.
	if len(out) == 0 {
		for _, d := range schema.Compare(c.After, c.Before) {
			out = append(out, "~ "+schema.Difference{Field: d.Field, Live: d.Want, Want: d.Live}.String())
		}
	}
	return out
}

func createLines(o schema.Object) []string {
	t, ok := o.(*schema.Table)
	if !ok {
		return []string{"+ " + o.String()}
	}
	out := []string{"+ " + t.String()}
	for _, c := range t.Chains {
		if c.Hook != "" {
			out = append(out, fmt.Sprintf("+ chain %s  %s hook %s priority %d, %s", c.Name, c.Type, c.Hook, c.Priority, count(len(c.Rules), "rule")))
		}
	}
	for _, s := range t.Sets {
		if len(s.Elements) > 0 {
			out = append(out, fmt.Sprintf("+ set %s  %s", s.Name, count(len(s.Elements), "element")))
		}
	}
	return out
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// fileLines lists the lines that only one of two texts has.
func fileLines(before, after string) []string {
	count := map[string]int{}
	for l := range strings.Lines(after) {
		count[l]++
	}
	var out []string
	for l := range strings.Lines(before) {
		if count[l]--; count[l] < 0 {
			out = append(out, "- "+strings.TrimRight(l, "\n"))
		}
	}
	for l := range strings.Lines(after) {
		if count[l] > 0 {
			count[l]--
			out = append(out, "+ "+strings.TrimRight(l, "\n"))
		}
	}
	return out
}

func undo(c schema.Change) string {
	switch c.Verb() {
	case "create":
		if g, ok := c.After.(*schema.Grant); ok {
			return g.Undo()
		}
		if d, ok := c.After.(*schema.Dnsmasq); ok {
			return "end the server on " + d.Device + " and take its files away"
		}
		return "delete " + name(c.Ref)
	case "delete":
		return "make it again: " + c.Before.String()
	}
	switch before := c.Before.(type) {
	case *schema.Table:
		return "put the former table back, in one transaction"
	case *schema.File:
		return "write the former content back"
	case *schema.Sysctl:
		return "write " + before.Value
	case *schema.Dnsmasq:
		return "write its former configuration back; the leases stay"
	}
	var back []string
	for _, d := range schema.Compare(c.After, c.Before) {
		back = append(back, d.Field+" "+orNone(d.Want))
	}
	if len(back) == 0 {
		return "set it back"
	}
	return "set back " + strings.Join(back, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// name is how people call an object: the device, the address, the place of a rule.
func name(r schema.Ref) string {
	switch r.Kind {
	case schema.KindLink, schema.KindSysctl, schema.KindFile:
		return r.Name
	case schema.KindNftRule, schema.KindXRule:
		return "the rule"

	default:
		return string(r.Kind) + " " + r.Name
	}
}

// commands are what a person would type for the same change; empty where no tool says it shortly.
func commands(c schema.Change) []string {
	switch o := object(c).(type) {
	case *schema.Sysctl:
		return []string{fmt.Sprintf("sysctl -w %s=%q", o.Key, o.Value)}
	case *schema.Address:
		return []string{fmt.Sprintf("ip address %s %s dev %s", addDel(c), o.Prefix, o.Link)}
	case *schema.Route:
		verb := "prepend"
		if c.After == nil {
			verb = "del"
		}
		table := ""
		if o.Table != schema.TableMain {
			table = " table " + schema.TableName(o.Table)
		}
		return []string{"ip route " + verb + " " + strings.TrimPrefix(o.String(), schema.TableName(o.Table)+" ") + table}
	case *schema.Link:
		return linkCommands(c, o)
	case *schema.ForeignRule:
		return ruleCommands(c, o)
	case *schema.Grant:
		if c.After == nil {
			return []string{o.Undo()}
		}
		return append([]string{o.String()}, grantNotes(o)...)
	}
	return nil
}

func addDel(c schema.Change) string {
	if c.After == nil {
		return "del"
	}
	return "add"
}

func linkCommands(c schema.Change, l *schema.Link) []string {
	switch c.Verb() {
	case "delete":
		return []string{"ip link del " + l.Name}
	case "create":
		cmd := "ip link add " + l.Name
		if l.MAC != nil && *l.MAC != "" {
			cmd += " address " + *l.MAC
		}
		return []string{cmd + " type " + l.Type, "ip link set " + l.Name + " up"}
	}
	var out []string
	for _, d := range schema.Compare(c.Before, c.After) {
		switch d.Field {
		case "up":
			out = append(out, fmt.Sprintf("ip link set %s %s", l.Name, map[string]string{"true": "up", "false": "down"}[d.Want]))
		case "mtu":
			out = append(out, fmt.Sprintf("ip link set %s mtu %s", l.Name, d.Want))
		case "mac":
			out = append(out, fmt.Sprintf("ip link set %s address %s", l.Name, d.Want))
		case "alias":
			out = append(out, fmt.Sprintf("ip link set %s alias %q", l.Name, d.Want))
		case "master":
			if d.Want == "" {
				out = append(out, "ip link set "+l.Name+" nomaster")
			} else {
				out = append(out, "ip link set "+l.Name+" master "+d.Want)
			}
		case "bridge.stp":
			out = append(out, fmt.Sprintf("ip link set %s type bridge stp_state %s", l.Name, map[string]string{"true": "1", "false": "0"}[d.Want]))
		case "port.isolated":
			out = append(out, fmt.Sprintf("bridge link set dev %s isolated %s", l.Name, map[string]string{"true": "on", "false": "off"}[d.Want]))
		}
	}
	return out
}

// ruleCommands are the command for a rule, and those for the chain that it brings along.
func ruleCommands(c schema.Change, f *schema.ForeignRule) []string {
	mark := f.MarkChain()
	arp := f.Family == "arp"
	switch {
	case mark == "":
		return []string{ruleCommand(c, f)}
	case c.After == nil && arp:
		return []string{ruleCommand(c, f), fmt.Sprintf("arptables-nft -F %s; arptables-nft -X %s, when nothing else leads there", mark, mark)}
	case c.After == nil:
		return []string{ruleCommand(c, f), fmt.Sprintf("ebtables-nft -t %s -X %s, when nothing else leads there", f.Table, mark)}
	case arp:
		return []string{fmt.Sprintf("arptables-nft -N %s; arptables-nft -A %s -j ACCEPT, unless it is there", mark, mark), ruleCommand(c, f)}
	}
	return []string{fmt.Sprintf("ebtables-nft -t %s -N %s -P ACCEPT, unless it is there", f.Table, mark), ruleCommand(c, f)}
}

func ruleCommand(c schema.Change, f *schema.ForeignRule) string {
	if !f.Legacy && !f.ByTool && !strings.HasPrefix(f.Rule.Text, "-") {
		if c.After == nil {
			return fmt.Sprintf("nft delete rule %s %s %s handle %d", f.Family, f.Table, f.Chain, f.Rule.Handle)
		}
		place := fmt.Sprintf("%s %s %s", f.Family, f.Table, f.Chain)
		switch {
		case f.Index >= chainEnd:
			return fmt.Sprintf("nft add rule %s %s", place, f.Rule.Text)
		case f.Index > 0:
			place += fmt.Sprintf(" index %d", f.Index) // in front of that rule, counting from 0 (nft(8))
		}
		return fmt.Sprintf("nft insert rule %s %s", place, f.Rule.Text)
	}
	tool := map[string]string{"ip6": "ip6tables", "bridge": "ebtables-nft", "arp": "arptables-nft"}[f.Family]
	if tool == "" {
		tool = "iptables"
	}
	if f.Legacy {
		tool += "-legacy"
	}
	table := ""
	if f.Table != "filter" {
		table = " -t " + f.Table
	}
	switch {
	case c.After == nil && f.Family == "arp": // arptables-nft -D does not look at --opcode
		return fmt.Sprintf("nft delete rule arp %s %s handle %d", f.Table, f.Chain, f.Rule.Handle)
	case c.After == nil:
		return fmt.Sprintf("%s%s -D %s %s", tool, table, f.Chain, f.Rule.Text)
	case f.Index >= chainEnd:
		return fmt.Sprintf("%s%s -A %s %s", tool, table, f.Chain, f.Rule.Text)
	}
	return fmt.Sprintf("%s%s -I %s %d %s", tool, table, f.Chain, f.Index+1, f.Rule.Text)
}
