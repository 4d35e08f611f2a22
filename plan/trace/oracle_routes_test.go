package trace_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestOracleRoutes sends frames between any addresses there are through random routing: tables, policy rules, addresses and
// the settings of every link, with rules that only mark packets. Nothing there is unknown.
func TestOracleRoutes(t *testing.T) {
	t.Parallel()
	seed := seedOf()
	t.Logf("go test ./plan/trace -run %s -oracle.seed=%d -oracle.frames.rulesets=%d -oracle.frames.each=%d", t.Name(), seed, *frameSets, *framesPer)
	world.InNewHost(t, func() {
		c := newCourt(t)
		c.lonely = true
		defer func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		}()
		d := &docket{}
		for i := range max(24, *frameSets/4) {
			if *onlySet >= 0 && i != *onlySet {
				continue
			}
			about := fmt.Sprintf("seed %d, routing %d", seed, i)
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i))), routed: true}
			err := c.roundOf(t, g, about, d, func(m *gunsmith) []*shot {
				m.late = m.anywhere
				return m.shots(*framesPer / 2)
			})
			if err != nil {
				t.Fatalf("%s: %v", about, err)
			}
			if t.Failed() && !*goOn {
				break
			}
		}
		t.Logf("%s", d)
	})
}

// The links of the bed that route, and the tables that rules lead to.
var (
	routers      = []string{"eno1", "virbr-lab"}
	routingTable = []string{"main", "100", "100", "101", "101", "local"}
)

// ground is random routing, each line with its way back.
func (g *generator) ground() [][2]string {
	var out [][2]string
	add := func(do, undo string) { out = append(out, [2]string{do, undo}) }
	for range g.r.IntN(6) {
		key, off, on := g.linkSetting()
		add("sysctl "+key+"="+on, "sysctl "+key+"="+off)
	}
	if g.chance(5) {
		add("sysctl net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward=1")
	}
	if g.chance(8) {
		add("sysctl net.ipv6.conf.all.forwarding=0", "sysctl net.ipv6.conf.all.forwarding=1")
	}
	for range g.r.IntN(3) {
		a := pick(g, "10.20.0.66/24", "10.20.0.129/25", "192.0.2.10/25", "192.0.2.99/24", "198.51.100.1/28", "203.0.113.1/32", "10.20.0.200/32", "172.16.0.1/31", "2001:db8:20::66/64", "2001:db8:99::1/128", "2001:db8:98::1/64")
		dev := pick(g, "eno1", "virbr-lab", "lo")
		add("ip addr add "+a+" dev "+dev, "ip addr del "+a+" dev "+dev)
	}
	for range g.r.IntN(8) {
		r := g.route()
		add("ip "+r[0]+" route add "+r[1], "ip "+r[0]+" route del "+r[1])
	}
	for range g.r.IntN(6) {
		fam, rule := g.policyRule()
		add("ip "+fam+" rule add "+rule, "ip "+fam+" rule del "+rule)
	}
	return out
}

// linkSetting is a setting of a link, or of all, with what it is otherwise.
func (g *generator) linkSetting() (key, off, on string) {
	link := pick(g, "eno1", "virbr-lab", "all")
	if g.chance(12) {
		return "net.ipv6.conf." + pick(g, "eno1", "virbr-lab") + ".force_forwarding", "0", "1"
	}
	switch name := pick(g, "rp_filter", "rp_filter", "rp_filter", "route_localnet", "accept_local", "src_valid_mark", "forwarding", "send_redirects", "ignore_routes_with_linkdown", "bc_forwarding"); name {
	case "rp_filter":
		return "net.ipv4.conf." + link + "." + name, "0", pick(g, "1", "2")
	case "forwarding":
		return "net.ipv4.conf." + pick(g, routers...) + "." + name, "1", "0"
	case "send_redirects":
		return "net.ipv4.conf." + link + "." + name, "1", "0"
	default:
		return "net.ipv4.conf." + link + "." + name, "0", "1"
	}
}

func (g *generator) to(v6 bool) string {
	switch {
	case g.chance(25):
		return "default"
	case v6:
		return g.prefix6()
	}
	return pick(g, g.prefix4(), g.prefix4(), "10.20.0.128/25", "172.16.0.0/12", "100.64.0.0/10", "198.51.100.0/24", "127.0.0.0/8", "240.0.0.0/4")
}

// route is a route as ip(8) takes it, after the word for its family.
func (g *generator) route() [2]string {
	v6 := g.chance(35)
	fam, via := "-4", map[string]string{"eno1": pick(g, "192.0.2.1", "192.0.2.7"), "virbr-lab": pick(g, "10.20.0.9", "10.20.0.13")}
	if v6 {
		fam, via = "-6", map[string]string{"eno1": pick(g, "2001:db8:2::1", "2001:db8:2::7"), "virbr-lab": pick(g, "2001:db8:20::9", "2001:db8:20::13")}
	}
	kind := pick(g, "", "", "", "", "blackhole", "unreachable", "prohibit", "throw", "local", "local")
	if !v6 && g.chance(8) {
		kind = pick(g, "broadcast", "anycast", "multicast")
	}
	s := strings.TrimSpace(kind + " " + g.to(v6))
	switch kind {
	case "":
		dev := pick(g, routers...)
		if g.chance(70) {
			s += " via " + via[dev]
		}
		s += " dev " + dev
		if g.chance(30) {
			s += " onlink"
		}
	case "local", "broadcast", "anycast", "multicast":
		s += " dev " + pick(g, "lo", "eno1", "virbr-lab")
	}
	s += " table " + pick(g, routingTable...)
	if !v6 && g.chance(20) {
		s += " tos " + pick(g, "0x10", "0x08", "0x04", "0xb8", "0x20")
	}
	if g.chance(50) {
		s += fmt.Sprintf(" metric %d", pick(g, 1, 5, 1024, 2000))
	}
	return [2]string{fam, s}
}

// policyRule is a rule as ip(8) takes it.
func (g *generator) policyRule() (fam, rule string) {
	v6 := g.chance(35)
	fam = "-4"
	prefix := g.prefix4
	if v6 {
		fam, prefix = "-6", g.prefix6
	}
	var s []string
	word := func(percent int, words ...string) {
		if g.chance(percent) {
			s = append(s, strings.Join(words, " "))
		}
	}
	word(12, "not")
	if g.chance(35) {
		s = append(s, "from "+prefix())
	}
	word(25, "to", prefix())
	word(20, "iif", pick(g, "eno1", "virbr-lab", "lo", "nowhere0"))
	word(6, "oif", pick(g, "eno1", "virbr-lab"))
	word(25, "fwmark", pick(g, "0x1", "0x1/0x3", "0/0x1", "0x2"))
	word(10, "tos", pick(g, "0x10", "0x08", "0x04"))
	word(15, "ipproto", pick(g, "tcp", "udp"))
	word(10, "dport", pick(g, "22", "1-1023", "40000-65535"))
	word(10, "sport", pick(g, "22", "1-1023", "1024-65535"))
	word(10, "uidrange", pick(g, "0-0", "1-1000", "0-99999"))
	prio := 90 + g.r.IntN(30)
	if g.chance(10) {
		prio = 32766 + g.r.IntN(3)
	}
	s = append(s, fmt.Sprintf("pref %d", prio))
	switch g.r.IntN(12) {
	case 0:
		s = append(s, pick(g, "blackhole", "unreachable", "prohibit", "nop"))
	case 1, 2:
		s = append(s, fmt.Sprintf("goto %d", prio+1+g.r.IntN(12)))
	case 3:
		s = append(s, "goto 32766")
	default:
		s = append(s, "table "+pick(g, routingTable...))
		word(30, "suppress_prefixlength", pick(g, "0", "8", "24", "31"))
		word(5, "suppress_ifgroup", pick(g, "0", "1"))
	}
	return fam, strings.Join(s, " ")
}

// markRules mark packets, for rules of routing to look at.
func (g *generator) markRules() string {
	var b strings.Builder
	b.WriteString("table inet marks {\n")
	for _, h := range []string{"prerouting", "output"} {
		typ := "filter"
		if h == "output" {
			typ = "route"
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority -140;\n", h, typ, h)
		for range g.r.IntN(4) {
			fmt.Fprintf(&b, "\t\t%s meta mark set %s\n", pick(g, "ip saddr "+g.prefix4(), "ip daddr "+g.prefix4(), "tcp dport "+g.ports(), "ip6 saddr "+g.prefix6(), ""), pick(g, "0x1", "0x2", "0x3"))
		}
		b.WriteString("\t}\n")
	}
	return b.String() + "}\n"
}

// anywhere gives a frame addresses that nobody expects.
func (m *gunsmith) anywhere(d *draft) {
	odd := []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.8.8.8", "255.255.255.255", "10.20.0.255", "10.20.0.0", "192.0.2.255", "224.0.0.1", "224.0.0.251", "239.1.1.1", "169.254.1.1",
		"240.0.0.1", "10.20.0.1", "192.0.2.10", "10.20.0.66", "10.20.0.130", "10.20.0.200", "192.0.2.99", "192.0.2.127", "172.16.0.1", "172.16.0.2", "100.64.1.1", "203.0.113.1",
	}
	if d.v6 {
		odd = []string{"::", "::1", "fe80::1", "fe80::99", "ff02::1", "ff02::fb", "ff05::2", "ff0e::1", "fc00::1", "2001:db8:20::1", "2001:db8:2::10", "2001:db8:20::66", "2001:db8:99::1", "2001:db8:98::1", "2001:db8:98::7", "2001:db8:20::"}
	}
	at := func(dst bool) []byte {
		off, n := 12, 4
		if d.v6 {
			off, n = 8, 16
		}
		if dst {
			off += n
		}
		return d.ip[off : off+n]
	}
	if m.chance(25) && d.from != "h" {
		copy(at(false), netip.MustParseAddr(pick(m.generator, odd...)).AsSlice())
	}
	if m.chance(30) {
		a := netip.MustParseAddr(pick(m.generator, odd...))
		if (a.IsMulticast() || a.As16()[15] == 255) && d.from != "w" { // on a bridge others get it, too
			return
		}
		copy(at(true), a.AsSlice())
		switch e := m.c.ends[d.from]; {
		case e == nil:
		case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			copy(d.eth[:], "\xff\xff\xff\xff\xff\xff")
		case a.Is4() && a.IsMulticast():
			b := a.As4()
			copy(d.eth[:], []byte{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]})
		case a.IsMulticast():
			b := a.As16()
			copy(d.eth[:], []byte{0x33, 0x33, b[12], b[13], b[14], b[15]})
		default:
			copy(d.eth[:], e.gateway)
		}
	}
	if m.chance(25) {
		d.setTOS(pick(m.generator, byte(0x10), 0x08, 0x04, 0xb8, 0x20, 0x14, 0x1c))
	}
	if withPorts(d.proto) && m.chance(30) {
		binary.BigEndian.PutUint16(d.l4[2:], pick(m.generator, uint16(22), 21, 1023, 1024, 40000))
	}
}

// gateways are those of random routes.
var gateways = []string{"192.0.2.1", "192.0.2.7", "10.20.0.9", "10.20.0.13", "2001:db8:2::1", "2001:db8:2::7", "2001:db8:20::9", "2001:db8:20::13"}

// unanswered tells whether the host asked in vain for the next hop of a packet on the link by which it is said to leave.
func (c *court) unanswered(s saying) bool {
	dev := "virbr-lab"
	if s.at == "w" {
		dev = "eno1"
	}
	l, err := netlink.LinkByName(dev)
	if err != nil {
		c.tb.Fatal(err)
	}
	_, dst, _ := strings.Cut(s.as, " > ")
	if ap, err := netip.ParseAddrPort(dst); err == nil {
		dst = ap.Addr().String()
	}
	all, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		c.tb.Fatal(err)
	}
	return slices.ContainsFunc(all, func(n netlink.Neigh) bool {
		ip := n.IP.String()
		return n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0 && (ip == dst || slices.Contains(gateways, ip))
	})
}
