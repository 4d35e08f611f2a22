package zoo

import (
	"fmt"
	"strings"
	"time"
)

// Measured reads how long cases took from plan to healed: lines "ID DURATION".
func Measured(text string) map[string]time.Duration {
	out := map[string]time.Duration{}
	for line := range lines(text) {
		id, took, _ := strings.Cut(line, " ")
		if d, err := time.ParseDuration(took); err == nil {
			out[id] = d
		}
	}
	return out
}

// alikes begin the IDs of what looks like a fault.
const alikes = "OK-"

// groups are the parts of the table, by what the IDs begin with.
var groups = []struct{ prefix, title string }{
	{"FW-", "Firewall"},
	{"NAT-", "NAT"},
	{"L2-", "Bridges, ports, MAC addresses, MTU"},
	{"L3-", "Addresses, routes, neighbours, IPv6"},
	{"SVC-", "DHCP, DNS, managers of networks"},
	{"SYS-", "Kernel, modules, performance"},
	{"PLAT-", "Platforms"},
	{alikes, "Look like faults, and are none"},
}

// Table is README.md of the zoo.
func Table(cases []*Case, took map[string]time.Duration) string {
	var s strings.Builder
	s.WriteString("# The zoo of faults\n\nWritten by `make zoo` from the files of [cases](cases); how a case is run stands in [doc.go](doc.go).\n\n")
	s.WriteString(counts(cases))
	for _, g := range groups {
		fmt.Fprintf(&s, "\n## %s\n\n| | fault | code | outcome | tested | plan to healed |\n|---|---|---|---|---|---|\n", g.title)
		for _, c := range cases {
			if strings.HasPrefix(c.ID, g.prefix) {
				s.WriteString(row(c, took[c.Name()]))
			}
		}
	}
	return s.String()
}

// counts says in a sentence or two how the faults fare. A fault of several cases counts once, as its first.
func counts(cases []*Case) string {
	count, alike := map[string]int{}, map[string]int{}
	for _, c := range cases {
		switch {
		case c.Variant != "":
		case strings.HasPrefix(c.ID, alikes):
			alike[c.Outcome]++
		default:
			count[c.Outcome]++
		}
	}
	said := alike[Reported] + alike[Repaired]
	return fmt.Sprintf("%d faults: **%d named and repaired**, **%d named** where nothing on the host can or may repair them, %d not covered.\n"+
		"%d look-alikes: of %d nothing is said and to them nothing is done, of %d something else is said that is true, %d are not covered.\n",
		count[Repaired]+count[Reported]+count[Uncovered], count[Repaired], count[Reported], count[Uncovered],
		alike[Healthy]+said+alike[Uncovered], alike[Healthy], said, alike[Uncovered])
}

func row(c *Case, took time.Duration) string {
	outcome, tested, time := c.Outcome, c.how(), ""
	if c.Outcome == Uncovered {
		outcome, tested = "not covered: "+c.Reason, ""
	}
	if took > 0 {
		time = fmt.Sprintf("%.1f s", took.Seconds())
	}
	title := c.Title
	if c.Says != "" {
		title += "<br>*" + c.Says + "*"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", c.Name(), title, strings.Join(c.Codes(), " "), outcome, tested, time)
}

// how says how a case is tested.
func (c *Case) how() string {
	switch c.Bed {
	case Neighbour:
		return "real " + strings.Join(c.Beside, ", ")
	case SecondKernel:
		return "second kernel"
	}
	return "namespaces"
}
