package trace_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

var (
	oracleSeed  = flag.Uint64("oracle.seed", 0, "seed of the random rulesets; 0 takes the clock")
	oracleSets  = flag.Int("oracle.rulesets", 150, "how many random rulesets")
	oraclePacks = flag.Int("oracle.packets", 48, "how many connections through each")
)

// TestOracle lets vmnet and the kernel judge random connections through random rulesets of nft, iptables-nft and
// iptables-legacy at once. Every ruleset here is knowable, so that nothing may depend.
func TestOracle(t *testing.T) {
	t.Parallel()
	oracleConnections(t, generator{})
}

// TestOracleSoft does the same with rules that look at what a connection does not settle, such as hop limits, and with what
// nobody can foresee. Much depends there; but what vmnet says without that word must hold whatever the senders choose.
func TestOracleSoft(t *testing.T) {
	t.Parallel()
	oracleConnections(t, generator{rich: true, dark: true, deaf6: true})
}

func oracleConnections(t *testing.T, kind generator) {
	seed := seedOf()
	t.Logf("go test ./plan/trace -run %s -oracle.seed=%d -oracle.rulesets=%d -oracle.packets=%d", t.Name(), seed, *oracleSets, *oraclePacks)
	world.InNewHost(t, func() {
		b := newBed(t)
		b.soft = kind.rich
		defer func() {
			if err := b.close(); err != nil {
				t.Error(err)
			}
		}()
		tally := map[string]int{}
		for i := range *oracleSets {
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i))), rich: kind.rich, dark: kind.dark, deaf6: kind.deaf6}
			if oracleRound(t, b, g, fmt.Sprintf("seed %d, ruleset %d", seed, i), tally); t.Failed() {
				return
			}
		}
		t.Logf("connections by verdict: %v", tally)
	})
}

func oracleRound(t *testing.T, b *bed, g *generator, about string, tally map[string]int) {
	t.Helper()
	if err := errors.Join(b.reset(), runInput(emptyTables, "iptables-legacy-restore")); err != nil {
		t.Fatal(err)
	}
	settings := g.settings()
	defer func() {
		for _, s := range settings {
			if err := do(s[1]); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, s := range settings {
		if err := do(s[0]); err != nil {
			t.Fatal(err)
		}
	}
	random := g.ruleset
	if g.rich {
		random = g.richRuleset
	}
	rules, err := loadWhatLoads(random())
	if err != nil && strings.Contains(err.Error(), "signal: aborted") { // a bug of nft's own
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", about, err)
	}
	if g.rich && g.chance(50) {
		tool := pick(g, "iptables-legacy-restore", "iptables-nft-restore")
		more, err := loadWhatRestores(tool, g.restore(false, false))
		if err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		rules += tool + ":\n" + more
	} else if g.chance(25) { // and another tool's beside them
		tool, more := pick(g, "iptables-legacy-restore", "iptables-nft-restore"), g.save("nat")
		if err := runInput(more, tool); err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		rules += tool + ":\n" + more
	}
	s, err := b.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	probes := g.probes(b, *oraclePacks)
	wrong, results, got, err := b.judge(trace.New(s).Acquainted().Indexed(), probes)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range results {
		switch {
		case res.Verdict != trace.Depends || g.rich:
			tally[verdictOf(res)]++
		case res.Decider.Stage == "nat" && res.Decider.Chain == "" && strings.Contains(rules, " set "):
			tally["rewritten behind conntrack's back"]++
		default:
			t.Errorf("%s\n%v\n%s\nnothing here is unknown, yet vmnet says %s\n%s", about, settings, rules, say(res), show(res))
			return
		}
	}
	if len(wrong) > 0 {
		pr := wrong[0]
		res := results[pr.p.tag]
		t.Errorf("%s\n%v\n%s\n%+v from %s, seen %+v\nthe kernel says %q, vmnet %q: %s\n%s", about, settings, rules, pr.p, pr.from, b.seen[pr.p.tag],
			got[pr.p.tag], verdictOf(res), say(res), show(res))
	}
}

var badLine = regexp.MustCompile(`/dev/stdin:(\d+):`)

// loadWhatLoads leaves out the rules that nft refuses, such as those that speak of TCP and UDP at once.
func loadWhatLoads(rules string) (string, error) {
	for range 20 {
		err := runInput(rules, "nft", "-f", "-")
		if err == nil {
			return rules, nil
		}
		lines := strings.Split(rules, "\n")
		bad := badLine.FindAllStringSubmatch(err.Error(), -1)
		if len(bad) == 0 {
			return rules, err
		}
		for _, m := range bad {
			n, convErr := strconv.Atoi(m[1])
			if convErr != nil || n > len(lines) || strings.HasPrefix(strings.TrimSpace(lines[n-1]), "table") {
				return rules, err
			}
			lines[n-1] = ""
		}
		rules = strings.Join(lines, "\n")
	}
	return rules, errors.New("nft refuses too much of:\n" + rules)
}

// generator makes rulesets and connections from small pools, so that they meet often.
type generator struct {
	r    *rand.Rand
	rich bool // look at bits that a Flow does not settle
	dark bool // and at what nobody can foresee
	// routed makes random routing instead of random rules.
	routed bool
	// deaf6 keeps IPv6 from being led to the host, where a bed hears IPv4 only.
	deaf6 bool
}

func pick[T any](g *generator, xs ...T) T { return xs[g.r.IntN(len(xs))] }

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

// settings are sysctls and routes, each with its way back.
func (g *generator) settings() [][2]string {
	if g.routed {
		return g.ground()
	}
	var out [][2]string
	add := func(percent int, do, undo string) {
		if g.chance(percent) {
			out = append(out, [2]string{do, undo})
		}
	}
	add(50, "sysctl net.bridge.bridge-nf-call-iptables=0", "sysctl net.bridge.bridge-nf-call-iptables=1")
	add(50, "sysctl net.bridge.bridge-nf-call-ip6tables=0", "sysctl net.bridge.bridge-nf-call-ip6tables=1")
	add(5, "sysctl net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward=1")
	add(20, "sysctl net.ipv4.conf.eno1.rp_filter=1", "sysctl net.ipv4.conf.eno1.rp_filter=0")
	add(20, "sysctl net.ipv4.conf.all.rp_filter=2", "sysctl net.ipv4.conf.all.rp_filter=0")
	add(20, "sysctl net.ipv4.conf.virbr-lab.route_localnet=1", "sysctl net.ipv4.conf.virbr-lab.route_localnet=0")
	add(10, "ip link set vnet0 type bridge_slave isolated on", "ip link set vnet0 type bridge_slave isolated off")
	add(10, "ip link set vnet1 type bridge_slave isolated on", "ip link set vnet1 type bridge_slave isolated off")
	add(10, "ip link set vnet0 type bridge_slave hairpin on", "ip link set vnet0 type bridge_slave hairpin off")
	add(10, "ip route add blackhole 203.0.113.64/26", "ip route del blackhole 203.0.113.64/26")
	add(10, "ip rule add fwmark 0x1/0x3 lookup 100", "ip rule del fwmark 0x1/0x3 lookup 100")
	add(10, "ip rule add iif eno1 to 10.20.0.12/30 prohibit", "ip rule del iif eno1 to 10.20.0.12/30 prohibit")
	add(10, "ip route add unreachable default table 100", "ip route flush table 100")
	return out
}

var (
	labHosts  = []string{"10.20.0.8", "10.20.0.9", "10.20.0.10", "10.20.0.11", "10.20.0.12", "10.20.0.13", "10.20.0.15"}
	outHosts  = []string{"203.0.113.1", "203.0.113.63", "203.0.113.64", "203.0.113.127", "198.51.100.7", "192.0.2.1"}
	hostAddr  = []string{"10.20.0.1", "192.0.2.10"}
	labHosts6 = []string{"2001:db8:20::8", "2001:db8:20::11", "2001:db8:20::12", "2001:db8:20::15"}
	outHosts6 = []string{"2001:db8:99::1", "2001:db8:98::2"}
	somePorts = []uint16{21, 22, 23, 53, 79, 80, 81, 443, 1023, 1024, 2222, 8080, 32768, 40000, 65535}
)

// probes are connections between the pools: each with a source port of its own, so that none is in another's way.
func (g *generator) probes(b *bed, n int) []probe {
	var out []probe
	used := map[[2]uint16]bool{}
	for tag := uint32(1); len(out) < n; tag++ {
		p := parcel{tag: tag, proto: pick(g, byte(6), byte(6), byte(17), byte(17), byte(1))}
		src, dst := g.pair()
		p.src, p.dst = netip.MustParseAddr(src), netip.MustParseAddr(dst)
		if p.src == p.dst {
			continue
		}
		if p.src.Is6() && p.proto == 1 {
			p.proto = 58
		}
		hostEnd := b.endOf(p.src) == "h" || b.endOf(p.dst) == "h"
		if p.proto == 6 && hostEnd {
			p.proto = 17 // the host's own kernel would answer
		}
		if p.proto == 6 || p.proto == 17 {
			p.sport, p.dport = uint16(20000+tag*7), pick(g, somePorts...)
			// A server's port as source, towards a port of its own: the other way round it could be another's answer.
			if s := pick(g, somePorts...); g.chance(30) && !used[[2]uint16{uint16(p.proto), s}] {
				p.sport, p.dport = s, uint16(30000+tag)
				used[[2]uint16{uint16(p.proto), s}] = true
			}
		}
		pr := b.newProbe(p)
		if b.endOf(p.dst) == pr.from && pr.from != "h" {
			continue
		}
		pr.flow.To = "" // wherever NAT leads
		out = append(out, pr)
	}
	return out
}

func (g *generator) pair() (src, dst string) {
	switch g.r.IntN(14) {
	case 12:
		return pick(g, append([]string{"127.0.0.1"}, hostAddr...)...), pick(g, hostAddr...)
	case 13:
		return pick(g, append([]string{"127.0.0.1"}, hostAddr...)...), "127.0.0.1"
	case 0, 1, 2:
		return pick(g, labHosts...), pick(g, outHosts...)
	case 3, 4:
		return pick(g, outHosts...), pick(g, labHosts...)
	case 5, 6:
		return pick(g, labHosts...), pick(g, labHosts...)
	case 7:
		return pick(g, labHosts...), pick(g, hostAddr...)
	case 8:
		return pick(g, outHosts...), "192.0.2.10"
	case 9:
		return pick(g, hostAddr...), pick(g, append(labHosts, outHosts...)...)
	case 10:
		return pick(g, labHosts6...), pick(g, append(outHosts6, labHosts6...)...)
	}
	return pick(g, outHosts6...), pick(g, labHosts6...)
}

// ruleset is a few tables of every family, without two writers of equal priority.
func (g *generator) ruleset() string {
	var b strings.Builder
	prio := g.r.Perm(39)
	next := func(base int) int {
		p := base + 1 + prio[0] // never where iptables or conntrack stand
		prio = prio[1:]
		return p
	}
	for i := range 1 + g.r.IntN(3) {
		fam := pick(g, "ip", "inet", "inet", "ip6")
		g.table(&b, fam, fmt.Sprintf("t%d", i), next)
	}
	if g.chance(40) {
		g.table(&b, "bridge", "br", next)
	}
	if g.chance(20) {
		g.table(&b, "netdev", "dev", next)
	}
	if g.chance(60) {
		g.natTable(&b)
	}
	return b.String()
}

type tableGen struct {
	*generator
	fam  string
	hook string
	subs []string // chains that may be jumped to
}

func (g *generator) table(b *strings.Builder, fam, name string, next func(int) int) {
	t := &tableGen{generator: g, fam: fam}
	fmt.Fprintf(b, "table %s %s {\n", fam, name)
	if fam != "ip6" {
		fmt.Fprintf(b, "\tset addrs { type ipv4_addr; flags interval; elements = { %s }\n\t}\n", g.elements(g.prefix4, 1+g.r.IntN(3)))
		fmt.Fprintf(b, "\tset pairs { type ipv4_addr . inet_service; flags interval; elements = { %s . %s }\n\t}\n", g.prefix4(), g.ports())
		fmt.Fprintf(b, "\tmap marks { type ipv4_addr : mark; elements = { %s : 0x1, %s : 0x2 }\n\t}\n", "10.20.0.8", "203.0.113.63")
	}
	fmt.Fprintf(b, "\tset ports { type inet_service; flags interval; elements = { %s }\n\t}\n", g.elements(g.ports, 1))
	hooks := []string{"prerouting", "input", "forward", "output", "postrouting"}
	if fam == "inet" && g.rich {
		hooks = append(hooks, "ingress")
	}
	if fam == "netdev" {
		hooks = []string{"ingress"}
		if g.rich {
			hooks = append(hooks, "egress")
		}
	}
	// Verdicts deep in a chain do not know the hook: expressions there suit every hook.
	for k := range g.r.IntN(3) {
		sub := fmt.Sprintf("sub%d", k)
		t.hook = "any"
		fmt.Fprintf(b, "\tchain %s {\n%s\t}\n", sub, t.rules(1+g.r.IntN(4)))
		t.subs = append(t.subs, sub)
	}
	for _, h := range hooks {
		if !g.chance(50) {
			continue
		}
		t.hook = h
		base := pick(g, -350, -190, -140, -60, 0, 120)
		dev := ""
		typ := "filter"
		if fam == "netdev" || h == "ingress" {
			dev, base = " device "+pick(g, g.hooked()...), 0
		}
		if g.rich && h == "output" && fam != "bridge" && g.chance(30) {
			typ = "route"
		}
		policy := "accept"
		if g.chance(25) {
			policy = "drop"
		}
		fmt.Fprintf(b, "\tchain %s {\n\t\ttype %s hook %s%s priority %d; policy %s;\n%s\t}\n", "c_"+h, typ, h, dev, next(base), policy, t.rules(1+g.r.IntN(6)))
	}
	b.WriteString("}\n")
}

func (g *generator) elements(one func() string, n int) string {
	seen := map[string]bool{}
	for range n {
		seen[one()] = true
	}
	var out []string
	for e := range seen {
		ok := true
		for _, o := range out {
			ok = ok && !overlap(o, e)
		}
		if ok {
			out = append(out, e)
		}
	}
	return strings.Join(out, ", ")
}

func overlap(a, b string) bool {
	p, err1 := netip.ParsePrefix(a)
	q, err2 := netip.ParsePrefix(b)
	return err1 != nil || err2 != nil || p.Overlaps(q)
}

func (t *tableGen) rules(n int) string {
	var b strings.Builder
	for range n {
		var m []string
		for range t.r.IntN(4) {
			m = append(m, t.match())
		}
		fmt.Fprintf(&b, "\t\t%s %s\n", strings.Join(m, " "), t.verdict())
	}
	return b.String()
}

func (g *generator) addr4() string {
	return pick(g, append(append(append([]string(nil), labHosts...), outHosts...), hostAddr...)...)
}

// prefix4 is a network of odd length around an address of the pools.
func (g *generator) prefix4() string {
	p := netip.PrefixFrom(netip.MustParseAddr(g.addr4()), pick(g, 8, 11, 16, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32)).Masked()
	return p.String()
}

func (g *generator) prefix6() string {
	a := pick(g, append(append([]string(nil), labHosts6...), outHosts6...)...)
	return netip.PrefixFrom(netip.MustParseAddr(a), pick(g, 32, 33, 47, 48, 64, 65, 124, 126, 128)).Masked().String()
}

func (g *generator) ports() string {
	a, b := pick(g, somePorts...), pick(g, somePorts...)
	if g.chance(50) || a == b {
		return fmt.Sprint(a)
	}
	return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
}

func (g *generator) op() string { return pick(g, "", "", "!= ") }

// match is one match that fits the family and the hook.
func (t *tableGen) match() string {
	g := t.generator
	if g.dark && g.chance(15) {
		return t.darkMatch()
	}
	if g.rich && g.chance(40) {
		return t.richMatch()
	}
	ip := t.fam != "ip6"
	inIP := t.fam == "ip" || t.fam == "inet" || t.fam == "ip6"
	for {
		switch g.r.IntN(40) {
		case 30:
			if t.fam == "ip" || t.fam == "inet" {
				return "meta pkttype " + g.op() + pick(g, "host", "other")
			}
		case 31:
			return pick(g, "tcp", "udp") + " dport " + g.op() + fmt.Sprintf("{ %d, %d, %d-%d }", 22, 53, 1000, 2222)
		case 32:
			if ip {
				return "ip " + pick(g, "saddr ", "daddr ") + g.op() + fmt.Sprintf("{ %s, %s }", pick(g, labHosts...), pick(g, outHosts...))
			}
		case 33:
			if t.fam == "bridge" {
				return pick(g, "ether saddr ", "ether daddr ") + g.op() + pick(g, macA.String(), macB.String(), "02:00:00:00:00:fe")
			}
		case 34:
			if t.fam == "ip" && (t.hook == "forward" || t.hook == "postrouting") {
				return "rt ip nexthop " + g.op() + pick(g, "192.0.2.1", "10.20.0.12", "10.20.0.9")
			}
		case 35:
			if t.fam == "ip" || t.fam == "inet" {
				return "meta l4proto { tcp, udp } ct original " + pick(g, "proto-src ", "proto-dst ") + g.ports()
			}
		case 36:
			if t.fam == "ip" {
				return "ct reply " + pick(g, "saddr ", "daddr ") + g.op() + g.prefix4()
			}
		case 37:
			if inIP {
				return "ct mark " + pick(g, "0x0", "0x1", "& 0x2 == 0x2")
			}
		case 38:
			if t.hook == "forward" && inIP {
				return "iifname . oifname " + g.op() + "{ virbr-lab . eno1, virbr-lab . virbr-lab }"
			}
		case 39:
			if t.fam == "ip6" || t.fam == "inet" {
				return pick(g, "icmpv6 type echo-request", "ip6 nexthdr udp", "exthdr frag missing")
			}
		case 0, 1, 2:
			if ip {
				return "ip " + pick(g, "saddr ", "daddr ") + g.op() + g.prefix4()
			}
		case 3:
			if t.fam != "ip" {
				return "ip6 " + pick(g, "saddr ", "daddr ") + g.op() + g.prefix6()
			}
		case 4, 5:
			return pick(g, "tcp", "udp") + pick(g, " sport ", " dport ") + g.op() + g.ports()
		case 6:
			return "meta l4proto { tcp, udp } th " + pick(g, "sport ", "dport ") + g.op() + g.ports()
		case 7:
			return pick(g, "tcp", "udp") + " dport " + g.op() + "@ports"
		case 8:
			if ip {
				return "ip " + pick(g, "saddr ", "daddr ") + g.op() + "@addrs"
			}
		case 9:
			if ip {
				return "ip " + pick(g, "saddr", "daddr") + " . " + pick(g, "tcp", "udp") + pick(g, " sport ", " dport ") + g.op() + "@pairs"
			}
		case 10, 11:
			if t.fam == "bridge" || t.fam == "netdev" || t.hook == "output" || t.hook == "any" {
				continue
			}
			if t.hook == "postrouting" && g.chance(80) {
				continue
			}
			return "iifname " + g.op() + pick(g, "virbr-lab", `"virbr*"`, "eno1", "vnet0", "lo", `"v*"`)
		case 12:
			if t.hook == "forward" || t.hook == "output" || t.hook == "postrouting" {
				if t.fam == "bridge" {
					return "oifname " + g.op() + pick(g, "vnet0", "vnet1")
				}
				return "oifname " + g.op() + pick(g, "virbr-lab", "eno1", "lo", `"virbr*"`)
			}
		case 13:
			if t.fam == "bridge" && (t.hook == "prerouting" || t.hook == "input" || t.hook == "forward") {
				return "iifname " + g.op() + pick(g, "vnet0", "vnet1", `"vnet*"`)
			}
		case 14, 15:
			if inIP {
				return "ct state " + pick(g, "new", "established", "new,established", "invalid", "!= new", "established,related", "untracked", "{ new, untracked }")
			}
		case 16:
			if inIP {
				return "ct status " + pick(g, "dnat", "snat", "seen-reply", "& (dnat|snat) == 0", "confirmed")
			}
		case 17:
			if inIP {
				return "ct direction " + pick(g, "original", "reply")
			}
		case 18:
			return "meta mark " + pick(g, "0x1", "0x2", "!= 0x0", "& 0x3 == 0x1", "0x0-0x1")
		case 19:
			return pick(g, "tcp flags syn", "tcp flags & (syn|ack) == syn", "tcp flags & (fin|syn|rst|ack) == ack", "tcp flags & ack != 0")
		case 20:
			if ip {
				return "icmp type " + pick(g, "echo-request", "echo-reply", "{ echo-request, echo-reply }")
			}
		case 21:
			if ip {
				return "ip " + pick(g, "saddr", "daddr") + " & " + pick(g, "0.0.0.1", "0.0.0.7", "255.0.255.0", "0.0.3.0") + " == " + pick(g, "0.0.0.0", "0.0.0.1", "10.0.0.0")
			}
		case 22:
			return "meta l4proto " + pick(g, "tcp", "udp", "icmp", "ipv6-icmp", "!= tcp")
		case 23:
			if inIP && t.fam != "ip6" && (t.hook == "prerouting" || t.hook == "input" || t.hook == "forward") {
				return "fib daddr type " + pick(g, "local", "!= local", "unicast")
			}
		case 24:
			if inIP && t.fam == "ip" && t.hook == "prerouting" {
				return pick(g, "fib saddr . iif oif missing", "fib saddr . iif oif exists", "fib daddr oifname eno1", "fib saddr oifname virbr-lab")
			}
		case 25:
			if t.fam == "ip" {
				return "ct original " + pick(g, "saddr ", "daddr ") + g.op() + g.prefix4()
			}
		case 26:
			if t.fam == "bridge" || t.fam == "netdev" {
				return "ether type " + pick(g, "ip", "ip6")
			}
		case 27:
			if t.fam == "inet" {
				return "meta nfproto " + pick(g, "ipv4", "ipv6")
			}
		case 28:
			return pick(g, "meta l4proto tcp @th,0,16 ", "meta l4proto udp @th,16,16 ") + pick(g, "> 1024", "<= 80", "& 0xfff0 == 16", "!= 443")
		case 29:
			if ip && t.fam != "netdev" {
				return "@nh,96,12 " + pick(g, "0xa1", "0x0a1", "0xcb0")
			}
		}
	}
}

func (t *tableGen) verdict() string {
	g := t.generator
	if g.rich && g.chance(35) {
		return t.richVerdict()
	}
	for {
		switch g.r.IntN(20) {
		case 16:
			if t.fam != "ip6" && t.fam != "netdev" {
				return pick(g, "udp dport set 53", "tcp dport set 80", "ip dscp set cs1", "udp sport set 1024")
			}
		case 17:
			if t.fam == "ip" || t.fam == "inet" {
				return "ct state vmap { new : " + pick(g, "accept", "continue", "drop") + ", established : " + pick(g, "accept", "return") + ", invalid : drop }"
			}
		case 18:
			if t.fam != "ip6" {
				return "ip " + pick(g, "saddr", "daddr") + " vmap { 10.20.0.0/29 : accept, 10.20.0.8-10.20.0.10 : drop, 203.0.113.0/26 : return }"
			}
		case 19:
			if t.fam == "ip" || t.fam == "inet" {
				return "ip saddr . udp dport vmap { 10.20.0.8-10.20.0.12 . 22-80 : drop, 203.0.113.0/24 . 443 : accept }"
			}
		case 0, 1, 2:
			return "accept"
		case 3, 4:
			return "counter drop"
		case 5:
			if t.hook == "input" || t.hook == "forward" || t.hook == "output" {
				if t.fam != "bridge" && t.fam != "netdev" {
					return "reject"
				}
			}
		case 6:
			return "return"
		case 7, 8:
			if len(t.subs) > 0 {
				return pick(g, "jump ", "goto ") + pick(g, t.subs...)
			}
		case 9:
			return "meta mark set " + pick(g, "0x1", "0x2", "meta mark | 0x2", "meta mark & 0x1", "meta mark xor 0x3")
		case 10:
			if t.fam == "ip" || t.fam == "inet" {
				return "ct mark set " + pick(g, "0x1", "0x2", "meta mark")
			}
		case 11:
			if t.fam == "ip" || t.fam == "inet" {
				return "meta mark set " + pick(g, "ct mark", "ip saddr map @marks")
			}
		case 12:
			if t.fam == "ip" && (t.hook == "prerouting" || t.hook == "output") {
				return "notrack"
			}
		case 13:
			if t.fam != "ip6" {
				return "ip " + pick(g, "saddr", "daddr") + " vmap { " + pick(g, labHosts...) + " : drop, " + pick(g, outHosts...) + " : " + pick(g, "accept", "return", "continue") + " }"
			}
		case 14:
			return "meta l4proto . th dport vmap { tcp . " + fmt.Sprint(pick(g, somePorts...)) + " : drop, udp . " + fmt.Sprint(pick(g, somePorts...)) + " : accept }"
		case 15:
			return "counter"
		}
	}
}

// tracked is a chain that makes sure of conntrack, without which chains of type nat are not run.
const tracked = "\tchain tracked {\n\t\tct state new\n\t}\n"

// natTable rewrites addresses, to ends that the bed has.
func (g *generator) natTable(b *strings.Builder) {
	fam := pick(g, "ip", "ip", "inet")
	fmt.Fprintf(b, "table %s nat {\n%s", fam, tracked)
	ip := ""
	if fam == "inet" {
		ip = "ip "
	}
	to := func() string { return pick(g, labHosts...) }
	chain := func(name, hook string, prio int, acts ...string) {
		fmt.Fprintf(b, "\tchain %s {\n\t\ttype nat hook %s priority %d;\n", name, hook, prio)
		for range 1 + g.r.IntN(4) {
			t := &tableGen{generator: g, fam: fam, hook: "any"}
			var m []string
			for range g.r.IntN(3) {
				m = append(m, t.match())
			}
			fmt.Fprintf(b, "\t\t%s %s\n", strings.Join(m, " "), pick(g, acts...))
		}
		b.WriteString("\t}\n")
	}
	dnat := []string{
		"dnat " + ip + "to " + to(), "dnat " + ip + "to " + to(), "tcp dport 2222 dnat " + ip + "to " + to() + ":22", "udp dport { 53, 80 } dnat " + ip + "to " + to() + ":8080", "accept", "return",
		"ip protocol udp udp dport 53 redirect to :8080", "ip protocol udp redirect", "dnat ip to ip daddr map { 192.0.2.10 : 10.20.0.12, 10.20.0.1 : 10.20.0.9 }",
		"dnat ip addr . port to ip daddr . udp dport map { 192.0.2.10 . 443 : 10.20.0.13 . 22 }",
		"dnat ip prefix to ip daddr map { 192.0.2.8/30 : 10.20.0.8/30 }", "meta mark set 0x1", "ct mark set 0x2", "udp dport 53-80 drop",
	}
	chain("pre", "prerouting", pick(g, -100, -95, 7), dnat...)
	if g.chance(30) {
		chain("pre2", "prerouting", pick(g, -110, -80, 17), dnat...)
	}
	if g.chance(50) {
		chain("out", "output", -100, dnat[:8]...)
	}
	chain("post", "postrouting", 100, "oifname eno1 masquerade", "oifname eno1 snat "+ip+"to 192.0.2.10", "oifname virbr-lab masquerade", "accept", "ip daddr 10.20.0.0/24 snat "+ip+"to 10.20.0.1",
		"masquerade", "meta l4proto { tcp, udp } masquerade to :21-65535", "udp sport 1-1023 return")
	if g.chance(20) {
		chain("in", "input", 100, "snat "+ip+"to 192.0.2.1", "accept")
	}
	b.WriteString("}\n")
}
