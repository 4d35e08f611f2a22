package managers_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/managers"
	"github.com/vmnet/vmnet/schema"
)

// firewalldGrants are grants of every form.
func firewalldGrants() map[string]*schema.Grant {
	g := func(change func(*schema.Grant)) *schema.Grant {
		g := &schema.Grant{
			Manager: schema.ManagerFirewalld, Address: "nat.lab", Family: "ip", Forward: true, In: "virbr-lab",
			Zone: schema.FirewalldZone("virbr-lab"), ToZone: schema.ZoneAny,
		}
		change(g)
		return g
	}
	p := netip.MustParsePrefix
	return map[string]*schema.Grant{
		"everything, IPv6": g(func(g *schema.Grant) { g.Family = "ip6" }),
		"to a guest":       g(func(g *schema.Grant) { g.Src, g.Dst = p("10.20.0.0/26"), p("10.20.0.11/32") }),
		"to a port": g(func(g *schema.Grant) {
			g.Dst, g.Proto, g.Ports = p("203.0.113.0/25"), "tcp", schema.PortRange{First: 80, Last: 80}
		}),
		"to ports, IPv6": g(func(g *schema.Grant) {
			g.Family, g.Dst, g.Proto, g.Ports = "ip6", p("2001:db8::/61"), "udp", schema.PortRange{First: 80, Last: 90}
		}),
		"a port, anywhere":    g(func(g *schema.Grant) { g.Family, g.Proto, g.Ports = "", "tcp", schema.PortRange{First: 443, Last: 443} }),
		"ICMPv6":              g(func(g *schema.Grant) { g.Family, g.Proto = "ip6", "icmp" }),
		"for a block of many": g(func(g *schema.Grant) { g.Address, g.Src = `nat.lab["a b"]`, p("10.20.0.0/24") }),
		"to another network": g(func(g *schema.Grant) {
			g.Out, g.ToZone, g.Src = "virbr-b.1", schema.FirewalldZone("virbr-b.1"), p("10.20.0.0/24")
		}),
		"to the host": g(func(g *schema.Grant) {
			g.Forward, g.ToZone, g.Family, g.Proto, g.Ports = false, schema.ZoneHost, "", "udp", schema.PortRange{First: 67, Last: 67}
		}),
		"from the host": g(func(g *schema.Grant) {
			g.Forward, g.In, g.Zone, g.Out, g.ToZone, g.Dst = false, "", schema.ZoneHost, "virbr-lab", schema.FirewalldZone("virbr-lab"), p("10.20.0.0/24")
		}),
	}
}

// TestFirewalldGrants: each grant is made, read back as it was, becomes after a reload the rule that sim foresees, and goes
// without a trace; with firewalld at work and without.
func TestFirewalldGrants(t *testing.T) {
	world.InNewHost(t, func() {
		d := neighbour.Start(t, neighbour.Firewalld, neighbour.Opts{})
		neighbour.Sh(t, "ip link add virbr-lab type bridge; ip link add virbr-b.1 type bridge; mkdir -p /etc/firewalld/policies /etc/firewalld/zones")
		host, err := providers.Open(providers.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		read := func() *schema.State {
			t.Helper()
			s, err := host.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		do := func(c schema.Change) {
			t.Helper()
			if err := host.Do(t.Context(), c); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		disk := neighbour.Sh(t, "ls -R /etc/firewalld")
		grants := firewalldGrants()

		fresh := read()
		for name, g := range grants {
			do(schema.Change{Ref: g.Ref(), After: g})
			if err := host.Do(t.Context(), schema.Change{Ref: g.Ref(), After: g}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s, made twice: %v", name, err)
			}
			if got, _ := read().Get(g.Ref()).(*schema.Grant); got == nil || !sameGrant(got, g) {
				t.Errorf("%s: read back as %+v, want %+v", name, got, g)
			}
		}
		sameRules(t, "while the policies are on the disk only", fresh, read())
		neighbour.Sh(t, "firewall-cmd --check-config; firewall-cmd --reload")
		// Some go and come again, while others of their policy keep that at work.
		for _, name := range []string{"everything, IPv6", "to a guest", "to ports, IPv6", "ICMPv6"} {
			g, foreseen := grants[name], read()
			for _, c := range []schema.Change{{Ref: g.Ref(), Before: foreseen.Get(g.Ref())}, {Ref: g.Ref(), After: g}} {
				if err := sim.Do(foreseen, c); err != nil {
					t.Fatalf("%s: foresee: %v", name, err)
				}
				do(c)
				sameRules(t, c.Verb()+" "+name, foreseen, read())
			}
		}
		if n := len(read().Refs(schema.KindGrant)); n != len(grants) {
			t.Errorf("%d grants, want %d", n, len(grants))
		}

		d.Stop(t)
		for name, g := range grants {
			if err := host.Do(t.Context(), schema.Change{Ref: g.Ref(), Before: g}); err != nil {
				t.Errorf("%s, taken while firewalld is off: %v", name, err)
			}
			if err := host.Do(t.Context(), schema.Change{Ref: g.Ref(), Before: g}); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, taken twice: %v", name, err)
			}
		}
		if got := neighbour.Sh(t, "ls -R /etc/firewalld"); got != disk {
			t.Errorf("left on the disk\n%s\nwant\n%s", got, disk)
		}
	})
}

// sameGrant compares all but the place.
func sameGrant(a, b *schema.Grant) bool {
	x, y := *a, *b
	x.Index, x.Place, y.Index, y.Place = 0, 0, 0, 0
	return x == y
}

// sameRules compares the rules of firewalld's table: chain by chain, in bytecode.
func sameRules(t *testing.T, when string, want, got *schema.State) {
	t.Helper()
	ref := (&schema.Table{Family: "inet", Name: "firewalld"}).Ref()
	w, _ := want.Get(ref).(*schema.Table)
	g, _ := got.Get(ref).(*schema.Table)
	if w == nil || g == nil {
		t.Fatalf("%s: no table of firewalld", when)
	}
	for _, c := range w.Chains {
		live := g.Chain(c.Name)
		if live == nil {
			t.Errorf("%s: no chain %s", when, c.Name)
			continue
		}
		if len(live.Rules) != len(c.Rules) {
			t.Errorf("%s: chain %s has\n%swant\n%s", when, c.Name, texts(live), texts(c))
			continue
		}
		for i, r := range c.Rules {
			if x := live.Rules[i]; !schema.RulesEqual(x, r) {
				t.Errorf("%s: chain %s, rule %d is\n%s %+v\nwant\n%s %+v", when, c.Name, i, x.Text, x.Exprs, r.Text, r.Exprs)
			}
		}
	}
}

func texts(c *schema.Chain) string {
	var s strings.Builder
	for _, r := range c.Rules {
		s.WriteString(r.Text + "\n")
	}
	return s.String()
}

// TestFirewalldFiles: only rules of ours become grants, whatever else stands in the folder.
func TestFirewalldFiles(t *testing.T) {
	g := firewalldGrants()["to a guest"]
	policy := func(short, description, rules string) string {
		return `<?xml version="1.0" encoding="utf-8"?><policy priority="-100" target="CONTINUE"><short>` + short + `</short><description>` + description +
			`</description>` + rules + `<ingress-zone name="` + g.Zone + `"/><egress-zone name="ANY"/></policy>`
	}
	const in = "What nat.lab asks for. in=virbr-lab out="
	rule := `<rule family="ipv4"><source address="10.20.0.0/23"/><accept/></rule>`
	for _, c := range []struct {
		name, file, content string
		want                int
	}{
		{"ours", g.Policy(), policy("vmnet:nat.lab", in, rule), 1},
		{"two", g.Policy(), policy("vmnet:nat.lab", in, rule+strings.Replace(rule, "23", "25", 1)), 2},
		{"a copy under another name", "mine", policy("vmnet:nat.lab", in, rule), 0},
		{"no mark", g.Policy(), policy("lab", in, rule), 0},
		{"a drop", g.Policy(), policy("vmnet:nat.lab", in, strings.Replace(rule, "accept", "drop", 1)), 0},
		{"a limit", g.Policy(), policy("vmnet:nat.lab", in, strings.Replace(rule, "<accept/>", `<accept><limit value="1/m"/></accept>`, 1)), 0},
		{"a log", g.Policy(), policy("vmnet:nat.lab", in, strings.Replace(rule, "<accept/>", `<log/><accept/>`, 1)), 0},
		{"all but a network", g.Policy(), policy("vmnet:nat.lab", in, strings.Replace(rule, "/23\"", "/23\" invert=\"True\"", 1)), 0},
		{"a priority", g.Policy(), policy("vmnet:nat.lab", in, strings.Replace(rule, "<rule ", `<rule priority="-5" `, 1)), 0},
		{"broken", g.Policy(), "<policy", 0},
		{"empty", g.Policy(), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "etc/firewalld/policies")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.file+".xml"), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := managers.New(root).Read(t.Context())
			if err != nil || len(got) != c.want {
				t.Errorf("got %v, %v; want %d grants", got, err, c.want)
			}
		})
	}
}

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
