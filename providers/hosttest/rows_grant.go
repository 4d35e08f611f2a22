package hosttest

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	real "github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/schema"
)

// denied is what somebody has told ufw before.
const denied = "10.9.0.0/16"

// withUFW has ufw at work, by that backend of iptables, with one rule of its own.
func withUFW(legacy bool) func(testing.TB, Host) {
	return func(t testing.TB, h Host) {
		t.Helper()
		switch h := h.(type) {
		case *Namespace:
			h.Inside(func() { realUFW(outside{t}, h.root, legacy) })
		case *Fake:
			h.ChangeBehindOurBack(func(s *schema.State) {
				s.Put(ufwTable("ip", "ufw", legacy))
				s.Put(ufwTable("ip6", "ufw6", legacy))
				s.Put(&schema.File{Path: "/etc/ufw/user.rules", Content: strings.Replace(ufwNothing, "\n### END", "\n### tuple ### route:deny any any 0.0.0.0/0 any "+denied+" in\n-A ufw-user-forward -s "+denied+" -j DROP\n\n### END", 1)})
				s.Put(&schema.File{Path: "/etc/ufw/user6.rules", Content: ufwNothing})
			})
		default:
			t.Fatalf("no ufw on a %T", h)
		}
	}
}

// realUFW starts the program. The host's files are below root: there, ufw's are those that the program works on.
func realUFW(t testing.TB, root string, legacy bool) {
	t.Helper()
	real.Start(t, real.UFW, real.Opts{Legacy: legacy})
	// The files as they are installed lack what ufw writes there later: each is written and loaded once.
	real.Sh(t, "ufw allow 9 && ufw delete allow 9 && ufw route deny from "+denied)
	// With its files elsewhere, ufw has its lock in /lib/ufw there.
	if err := os.CopyFS(filepath.Join(root, "/lib/ufw"), os.DirFS("/lib/ufw")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/etc/ufw", "/etc/default", "/usr/share/ufw"} {
		link := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
	}
}

func ufwTable(family, prefix string, legacy bool) *schema.Table {
	forward := &schema.Chain{Name: prefix + "-user-forward"}
	if family == "ip" {
		forward.Rules = []*schema.Rule{{Text: "-s " + denied + " -j DROP"}}
	}
	return &schema.Table{
		Family: family, Name: "filter", Legacy: legacy, Compat: !legacy,
		Chains: []*schema.Chain{forward, {Name: prefix + "-user-input"}, {Name: prefix + "-user-output"}},
	}
}

// ufwNothing is what ufw has on its disk before it is told anything, the rest left out.
const ufwNothing = "*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n"

// permits are grants of every form that ufw takes.
func permits() map[string]*schema.Grant {
	g := func(change func(*schema.Grant)) *schema.Grant {
		g := &schema.Grant{Manager: schema.ManagerUFW, Address: "nat.lab", Family: "ip", Forward: true, In: "virbr-lab"}
		change(g)
		return g
	}
	return map[string]*schema.Grant{
		"by interface":   g(func(g *schema.Grant) { g.Out = "eno1" }),
		"to the outside": g(func(g *schema.Grant) { g.Src = prefix("10.20.0.0/24") }),
		"to a port": g(func(g *schema.Grant) {
			g.In, g.Out, g.Dst, g.Proto, g.Ports = "", "virbr-lab", prefix("10.20.0.11/32"), "tcp", schema.PortRange{First: 22, Last: 22}
		}),
		"to a range of ports": g(func(g *schema.Grant) {
			g.Src, g.Dst, g.Proto, g.Ports = prefix("10.20.0.0/23"), prefix("192.0.2.0/25"), "udp", schema.PortRange{First: 8000, Last: 8100}
		}),
		"of a protocol":       g(func(g *schema.Grant) { g.Proto = "udp" }),
		"for a block of many": g(func(g *schema.Grant) { g.Address = `nat.lab["a b"]` }),
		"in IPv6":             g(func(g *schema.Grant) { g.Family, g.Src, g.Out = "ip6", prefix("2001:db8:20::/61"), "eno1" }),
		"in IPv6, everywhere": g(func(g *schema.Grant) { g.Family = "ip6" }),
		"in IPv6, to a guest": g(func(g *schema.Grant) { g.Family, g.Dst, g.Proto = "ip6", prefix("2001:db8:20::11/128"), "tcp" }),
		"to the host": g(func(g *schema.Grant) {
			g.Forward, g.Proto, g.Ports = false, "udp", schema.PortRange{First: 53, Last: 53}
		}),
		"to the host in IPv6":    g(func(g *schema.Grant) { g.Family, g.Forward, g.Src = "ip6", false, prefix("2001:db8:20::/64") }),
		"from the host":          g(func(g *schema.Grant) { g.Forward, g.In, g.Out, g.Dst = false, "", "virbr-lab", prefix("10.20.0.0/24") }),
		"in front":               g(func(g *schema.Grant) { g.Src, g.Index = prefix("10.9.0.0/24"), 1 }),
		"in front in IPv6":       g(func(g *schema.Grant) { g.Family, g.Proto, g.Index = "ip6", "udp", 1 }),
		"behind all in IPv6":     g(func(g *schema.Grant) { g.Family, g.Proto, g.Index, g.Place = "ip6", "tcp", 77, 77 }),
		"in the second place":    g(func(g *schema.Grant) { g.Proto, g.Index, g.Place = "tcp", 2, 1 }),
		"for a VLAN's interface": g(func(g *schema.Grant) { g.In = "eno1.100" }),
	}
}

func grantRows() []row {
	var rows []row
	for _, name := range []string{"to a range of ports", "in IPv6", "in front"} {
		rows = append(rows, row{name: name, prep: withUFW(false), do: create(permits()[name])})
	}
	return append(append(rows, takenBack()...), refusedGrants()...)
}

// grantSequences make every grant, one after the other, and take them back.
func grantSequences() []sequence {
	var all []change
	for _, name := range slices.Sorted(maps.Keys(permits())) {
		all = append(all, create(permits()[name]))
	}
	legacy := []change{create(permits()["to a port"]), create(permits()["in IPv6"]), create(permits()["to a range of ports"]), create(permits()["from the host"])}
	return []sequence{
		{name: "ufw is asked for everything", prep: withUFW(false), steps: all},
		{name: "ufw is asked for everything, over iptables-legacy", prep: withUFW(true), steps: legacy},
	}
}

// takenBack are deletions of grants that others stand around: undone, each is where it was.
func takenBack() []row {
	all := permits()
	first, second, third := all["to a port"], all["by interface"], all["to a range of ports"]
	first.Index = 1
	three := []change{create(second), create(third), create(first), create(all["in IPv6"])}
	var rows []row
	for name, g := range map[string]*schema.Grant{
		"the first": first, "one in between": second, "the last": third, "one of IPv6": all["in IPv6"],
	} {
		rows = append(rows, row{name: "take back " + name, prep: withUFW(false), given: three, do: remove(g)})
	}
	return rows
}

func refusedGrants() []row {
	g := func(change func(*schema.Grant)) change {
		g := schema.Clone(permits()["by interface"]).(*schema.Grant)
		change(g)
		return create(g)
	}
	refused := func(name string, do change, fails error) row {
		return row{name: "refused: " + name, prep: withUFW(false), do: do, fails: fails}
	}
	return []row{
		refused("icmp", g(func(g *schema.Grant) { g.Proto = "icmp" }), errAny),
		refused("ports of any protocol", g(func(g *schema.Grant) { g.Ports = schema.PortRange{First: 22, Last: 22} }), errAny),
		refused("port 0", g(func(g *schema.Grant) { g.Proto, g.Ports = "tcp", schema.PortRange{First: 0, Last: 9} }), errAny),
		refused("both families", g(func(g *schema.Grant) { g.Family = "" }), errAny),
		refused("addresses of the other family", g(func(g *schema.Grant) { g.Src = prefix("2001:db8::/64") }), errAny),
		refused("an alias", g(func(g *schema.Grant) { g.In = "eth0:1" }), errAny),
		refused("a quote in the comment", g(func(g *schema.Grant) { g.Address = "nat.l'ab" }), errAny),
		refused("another manager", g(func(g *schema.Grant) { g.Manager = "teapot" }), errAny),
		refused("what somebody told it to deny", g(func(g *schema.Grant) {
			*g = schema.Grant{Manager: g.Manager, Address: g.Address, Family: "ip", Forward: true, Src: prefix(denied)}
		}), fs.ErrExist),
		{
			name: "refused: the same for another block", prep: withUFW(false), given: []change{g(func(*schema.Grant) {})},
			do: g(func(g *schema.Grant) { g.Address = "nat.other" }), fails: fs.ErrExist,
		},
		refused("taken back and not there", remove(permits()["by interface"]), fs.ErrNotExist),
	}
}
