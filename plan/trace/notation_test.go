package trace_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// The notation of the tests: a host in the words of its tools.
//
//	link vnet1 type tap master br0 [down] [nocarrier] [isolated] [hairpin] [state blocking] [noflood] [nolearn] [nobcast] [locked]
//	  [vlan 10pu] [vlan 20-30]             its VLANs: p PVID, u Egress Untagged
//	link br0 type bridge vlan_filtering vlan 1pu
//	link br0.10 type vlan id 10 over br0
//	fdb 52:54:00:00:00:0a dev vnet1 [vlan 10] [static [sticky] | permanent]
//	neigh 10.20.0.11 52:54:00:00:00:0a dev br0
//	addr 10.20.0.1/24 dev br0              with its connected route
//	route default via 192.0.2.1 dev eno1 [table 100] [type blackhole] [metric 5]
//	rule 100 from 10.0.0.0/8 fwmark 1 iif br0 lookup 100
//	sysctl net.ipv4.ip_forward=1
//	*filter                                an iptables table, with its base chains; "*filter legacy", "*ip6 filter"
//	:FORWARD DROP
//	-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP
//	*inet vmnet                            any other table
//	:forward filter forward -10 accept     type, hook, priority, policy
func parseState(tb testing.TB, text string) *schema.State {
	tb.Helper()
	p := &stateParser{s: &schema.State{}}
	p.s.Put(&schema.Link{Name: "lo", Type: "loopback", Up: new(true), Facts: &schema.LinkFacts{Index: 1, Carrier: true}})
	p.s.Put(&schema.Address{Link: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: new("host")})
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if w := strings.Fields(line); len(w) > 0 {
			if err := p.line(w); err != nil {
				tb.Fatalf("line %d %q: %v", n+1, line, err)
			}
		}
	}
	return p.s
}

type stateParser struct {
	s     *schema.State
	table *schema.Table
	index int
}

func (p *stateParser) line(w []string) error {
	switch {
	case w[0] == "link":
		return p.link(w[1:])
	case w[0] == "addr":
		pre, err := netip.ParsePrefix(w[1])
		if err != nil {
			return err
		}
		p.s.Put(&schema.Address{Link: w[3], Prefix: pre})
		if !pre.IsSingleIP() {
			p.s.Put(&schema.Route{Table: 254, Dst: pre.Masked(), Link: w[3], Proto: new(uint8(2))})
		}
	case w[0] == "neigh":
		p.s.Put(&schema.Neighbour{IP: netip.MustParseAddr(w[1]), MAC: &w[2], Link: w[4], State: or(strings.Join(w[5:], ""), "reachable")})
	case w[0] == "fdb":
		return p.fdb(w[1:])
	case w[0] == "route":
		return p.route(w[1:])
	case w[0] == "rule":
		return p.rule(w[1:])
	case w[0] == "sysctl":
		k, v, _ := strings.Cut(w[1], "=")
		if !p.s.SetLinkSysctl(k, v) {
			p.s.Put(&schema.Sysctl{Key: k, Value: v})
		}
	case w[0][0] == '*':
		return p.newTable(w)
	case w[0][0] == ':':
		return p.newChain(w)
	case w[0] == "-A":
		return p.newRule(w)
	default:
		return fmt.Errorf("what is %q", w[0])
	}
	return nil
}

func (p *stateParser) link(w []string) error {
	p.index++
	l := &schema.Link{
		Name: w[0], Type: "device", Up: new(true), MAC: new(fmt.Sprintf("02:00:00:00:00:%02x", p.index)),
		Facts: &schema.LinkFacts{Index: 1 + p.index, Carrier: true, IPv4: &schema.LinkConf4{Forwarding: 1}, IPv6: &schema.LinkConf6{}},
	}
	if was := p.s.Link(l.Name); was != nil { // said anew
		l.Facts.Index = was.Facts.Index
	}
	port := func() *schema.Port {
		if l.Port == nil {
			l.Port = &schema.Port{}
		}
		return l.Port
	}
	for i := 1; i < len(w); i++ {
		switch w[i] {
		case "type":
			i++
			l.Type = w[i]
			if l.Type == "bridge" {
				l.Bridge = &schema.Bridge{}
			}
		case "master":
			i++
			l.Master = &w[i]
		case "down":
			l.Up, l.Facts.Carrier = new(false), false
		case "nocarrier":
			l.Facts.Carrier = false
		case "isolated":
			port().Isolated = new(true)
		case "hairpin":
			port().Hairpin = new(true)
		case "state":
			i++
			port().State = &w[i]
		case "noflood":
			port().Flood = new(false)
		case "nolearn":
			port().Learning = new(false)
		case "nobcast":
			port().BcastFlood = new(false)
		case "locked":
			l.Facts.PortFacts = &schema.PortFacts{Locked: true}
		case "vlan":
			i++
			if err := addVLAN(l, w[i]); err != nil {
				return err
			}
		case "id":
			i++
			id, err := strconv.ParseUint(w[i], 10, 16)
			if err != nil {
				return err
			}
			l.Facts.Tag = &schema.VLANTag{ID: uint16(id), Proto: "802.1Q"}
		case "over":
			i++
			l.Facts.ParentIndex = p.s.Link(w[i]).Facts.Index
		case "nf_call_iptables":
			l.Bridge.NfCallIP = new(true)
		case "vlan_filtering":
			l.Bridge.VLANFilter = new(true)
		default:
			return fmt.Errorf("what is %q", w[i])
		}
	}
	p.s.Put(l)
	return nil
}

// addVLAN reads "10", "10pu", "20-30": the VLANs of a port.
func addVLAN(l *schema.Link, text string) error {
	numbers := strings.TrimRight(text, "pu")
	first, last, _ := strings.Cut(numbers, "-")
	r := schema.VLANRange{PVID: strings.Contains(text, "p"), Untagged: strings.Contains(text, "u")}
	for to, s := range map[*uint16]string{&r.First: first, &r.Last: or(last, first)} {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return err
		}
		*to = uint16(n)
	}
	var all []schema.VLANRange
	if v := l.Facts.VLANs; v != nil {
		all = v.Ranges
	}
	l.Facts.VLANs = schema.NewVLANs(append(all, r)...)
	return nil
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (p *stateParser) fdb(w []string) error {
	e := &schema.FDBEntry{MAC: w[0], Link: w[2], Master: *p.s.Link(w[2]).Master}
	for i := 3; i < len(w); i++ {
		switch w[i] {
		case "vlan":
			i++
			n, err := strconv.ParseUint(w[i], 10, 16)
			if err != nil {
				return err
			}
			e.VLAN = uint16(n)
		case "static", "permanent":
			e.State = w[i]
		case "sticky":
			e.Sticky = true
		}
	}
	p.s.Put(e)
	return nil
}

func (p *stateParser) route(w []string) error {
	r := &schema.Route{Table: 254}
	if w[0] == "default" {
		w[0] = "0.0.0.0/0"
	}
	if w[0] == "default6" {
		w[0] = "::/0"
	}
	var err error
	if r.Dst, err = netip.ParsePrefix(w[0]); err != nil {
		return err
	}
	for i := 1; i+1 < len(w); i += 2 {
		switch w[i] {
		case "via":
			r.Gateway = netip.MustParseAddr(w[i+1])
		case "dev":
			r.Link = w[i+1]
		case "type":
			r.Type = w[i+1]
		case "metric":
			n, _ := strconv.Atoi(w[i+1])
			r.Metric = uint32(n)
		case "table":
			n, _ := strconv.Atoi(w[i+1])
			r.Table = uint32(n)
		case "nexthop":
			r.NextHops = append(r.NextHops, schema.NextHop{Link: w[i+1]})
		default:
			return fmt.Errorf("what is %q", w[i])
		}
	}
	p.s.Put(r)
	return nil
}

func (p *stateParser) rule(w []string) error {
	n, err := strconv.Atoi(w[0])
	if err != nil {
		return err
	}
	if n != 0 && len(p.s.Refs(schema.KindPolicyRule)) == 0 {
		for _, line := range []string{"0 lookup 255", "32766 lookup 254", "32767 lookup 253"} {
			if err := p.rule(strings.Fields(line)); err != nil {
				return err
			}
		}
	}
	r := &schema.PolicyRule{Family: "ip", Priority: uint32(n)}
	for i := 1; i < len(w); i++ {
		next := func() string { i++; return w[i] }
		switch w[i] {
		case "from":
			r.Src = netip.MustParsePrefix(next())
		case "to":
			r.Dst = netip.MustParsePrefix(next())
		case "iif":
			r.IIF = next()
		case "fwmark":
			m, _ := strconv.ParseUint(next(), 0, 32)
			r.Mark = uint32(m)
		case "uidrange":
			r.UIDRange = next()
		case "not":
			r.Invert = true
		case "lookup":
			t, _ := strconv.Atoi(next())
			r.Table = uint32(t)
		case "suppress":
			t, _ := strconv.Atoi(next())
			r.SuppressPrefixLen = &t
		case "blackhole", "prohibit", "unreachable":
			r.Action = w[i]
		default:
			return fmt.Errorf("what is %q", w[i])
		}
	}
	p.s.Put(r)
	return nil
}

var builtin = map[string][2]any{ // hook, priority of filter
	"PREROUTING": {"prerouting"}, "INPUT": {"input"}, "FORWARD": {"forward"}, "OUTPUT": {"output"}, "POSTROUTING": {"postrouting"},
}

var iptablesPriority = map[string]int32{"raw": -300, "mangle": -150, "filter": 0, "security": 50}

var iptablesHooks = map[string][]string{
	"raw": {"PREROUTING", "OUTPUT"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"},
}

func (p *stateParser) newTable(w []string) error {
	t := &schema.Table{Family: "ip", Name: strings.TrimPrefix(w[0], "*")}
	rest := w[1:]
	if slices.Contains([]string{"ip", "ip6", "inet", "bridge", "netdev", "arp"}, t.Name) {
		t.Family, t.Name, rest = t.Name, w[1], w[2:]
	}
	t.Legacy, t.Dormant = slices.Contains(rest, "legacy"), slices.Contains(rest, "dormant")
	for _, c := range iptablesHooks[t.Name] {
		if t.Family != "ip" && t.Family != "ip6" {
			break
		}
		hook := builtin[c][0].(string)
		prio, isNAT := iptablesPriority[t.Name], t.Name == "nat"
		typ := "filter"
		if isNAT {
			typ, prio = "nat", -100
			if hook == "input" || hook == "postrouting" {
				prio = 100
			}
		}
		t.Chains = append(t.Chains, &schema.Chain{Name: c, Type: typ, Hook: hook, Priority: prio, Policy: "accept"})
	}
	p.table = t
	p.s.Put(t)
	return nil
}

func (p *stateParser) newChain(w []string) error {
	c := &schema.Chain{Name: strings.TrimPrefix(w[0], ":")}
	switch {
	case len(w) == 2 && p.table.Chain(c.Name) != nil && w[1] != "-":
		p.table.Chain(c.Name).Policy = strings.ToLower(w[1])
		return nil
	case len(w) >= 5:
		n, err := strconv.Atoi(w[3])
		if err != nil {
			return err
		}
		c.Type, c.Hook, c.Priority, c.Policy, c.Devices = w[1], w[2], int32(n), w[4], w[5:]
	}
	p.table.Chains = append(p.table.Chains, c)
	p.s.Put(p.table)
	return nil
}

func (p *stateParser) newRule(w []string) error {
	c := p.table.Chain(w[1])
	if c == nil {
		return fmt.Errorf("no chain %s", w[1])
	}
	r := &ruleParser{v6: p.table.Family == "ip6", table: p.table}
	if err := r.parse(w[2:]); err != nil {
		return err
	}
	c.Rules = append(c.Rules, &schema.Rule{Exprs: r.out, Text: strings.Join(w[2:], " ")})
	return nil
}

// ruleParser lowers a small part of iptables(8).
type ruleParser struct {
	v6    bool
	table *schema.Table
	out   []schema.Expr
}

func (r *ruleParser) add(e ...schema.Expr) { r.out = append(r.out, e...) }

func eq(not bool) string {
	if not {
		return "neq"
	}
	return "eq"
}

func (r *ruleParser) parse(w []string) error {
	not := false
	for i := 0; i < len(w); i++ {
		next := func() string { i++; return w[i] }
		opt := w[i]
		switch opt {
		case "!":
			not = true
			continue
		case "-s", "-d":
			r.addr(opt, next(), not)
		case "-i", "-o":
			r.name(opt, next(), not)
		case "-p":
			n := map[string]byte{"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}[next()]
			r.add(schema.Expr{Name: "meta", Key: "l4proto", DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: []byte{n}})
		case "--sport", "--dport":
			r.port(opt, next(), not)
		case "--ctstate":
			r.state(next(), not)
		case "--mark":
			r.add(schema.Expr{Name: "meta", Key: "mark", DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: mark(next())})
		case "--dst-type":
			n := map[string]uint32{"LOCAL": 2, "BROADCAST": 3, "MULTICAST": 5, "UNICAST": 1}[next()]
			r.add(schema.Expr{Name: "fib", Key: "daddr", Op: "type", DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: u32(n)})
		case "--vmap":
			r.add(schema.Expr{Name: "meta", Key: "iifname", DReg: 1}, schema.Expr{Name: "lookup", SReg: 1, Set: next()})
		case "-m":
			if m := next(); m != "tcp" && m != "udp" && m != "conntrack" && m != "mark" && m != "addrtype" {
				r.add(schema.Expr{Name: "xtmatch", Key: m, Opaque: []byte{1}})
			}
		case "--flow-add":
			r.add(schema.Expr{Name: "flow_offload", Key: next()})
		case "-j", "-g":
			return r.target(opt, next(), w[i+1:])
		default:
			return fmt.Errorf("what is %q", opt)
		}
		not = false
	}
	return nil
}

func mark(s string) []byte {
	n, _ := strconv.ParseUint(s, 0, 32)
	return u32(uint32(n))
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func (r *ruleParser) addr(opt, s string, not bool) {
	if !strings.Contains(s, "/") {
		s += map[bool]string{true: "/128", false: "/32"}[r.v6]
	}
	p := netip.MustParsePrefix(s)
	off, n := uint32(12), uint32(4)
	if p.Addr().Is6() {
		off, n = 8, 16
	}
	if opt == "-d" {
		off += n
	}
	if r.table.Family == "inet" {
		r.add(schema.Expr{Name: "meta", Key: "nfproto", DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{map[bool]byte{true: 10, false: 2}[p.Addr().Is6()]}})
	}
	r.add(schema.Expr{Name: "payload", Base: "network", Offset: off, Len: n, DReg: 1})
	if !p.IsSingleIP() {
		m := make([]byte, n)
		for i := range p.Bits() {
			m[i/8] |= 0x80 >> (i % 8)
		}
		r.add(schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: n, Op: "bool", Data: m, Data2: make([]byte, n)})
	}
	r.add(schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: p.Masked().Addr().AsSlice()})
}

func (r *ruleParser) name(opt, s string, not bool) {
	b := make([]byte, 16)
	copy(b, s)
	if strings.HasSuffix(s, "+") {
		b = []byte(strings.TrimSuffix(s, "+"))
	}
	key := map[string]string{"-i": "iifname", "-o": "oifname"}[opt]
	r.add(schema.Expr{Name: "meta", Key: key, DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: b})
}

func (r *ruleParser) port(opt, s string, not bool) {
	lo, hi, ranged := strings.Cut(s, ":")
	a, _ := strconv.Atoi(lo)
	r.add(schema.Expr{Name: "payload", Base: "transport", Offset: map[string]uint32{"--sport": 0, "--dport": 2}[opt], Len: 2, DReg: 1})
	if !ranged {
		r.add(schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: u16(a)})
		return
	}
	b, _ := strconv.Atoi(hi)
	r.add(schema.Expr{Name: "range", SReg: 1, Op: eq(not), Data: u16(a), Data2: u16(b)})
}

func u16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func (r *ruleParser) state(s string, not bool) {
	var m uint32
	for _, w := range strings.Split(s, ",") {
		m |= map[string]uint32{"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}[w]
	}
	key, op := "state", "neq"
	if strings.Contains(s, "DNAT") {
		key, m = "status", 32
	}
	if not {
		op = "eq"
	}
	r.add(schema.Expr{Name: "ct", Key: key, DReg: 1}, schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: "bool", Data: u32(m), Data2: u32(0)},
		schema.Expr{Name: "cmp", SReg: 1, Op: op, Data: u32(0)})
}

func (r *ruleParser) target(opt, name string, w []string) error {
	verdict := func(k, c string) {
		r.add(schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: k, Chain: c}})
	}
	switch name {
	case "ACCEPT", "DROP", "RETURN":
		verdict(strings.ToLower(name), "")
	case "REJECT":
		r.add(schema.Expr{Name: "reject", Code: 3})
	case "LOG":
		r.add(schema.Expr{Name: "log"})
	case "NOTRACK":
		r.add(schema.Expr{Name: "notrack"})
	case "QUEUE":
		verdict("queue", "")
	case "MARK":
		r.add(schema.Expr{Name: "immediate", DReg: 1, Data: mark(w[1])}, schema.Expr{Name: "meta", Key: "mark", SReg: 1, Write: true})
	case "MASQUERADE":
		r.add(schema.Expr{Name: "masq"})
	case "REDIRECT":
		n, _ := strconv.Atoi(w[1])
		r.add(schema.Expr{Name: "immediate", DReg: 1, Data: u16(n)}, schema.Expr{Name: "redir", SReg: 1})
	case "DNAT", "SNAT":
		return r.nat(strings.ToLower(name), w[1])
	default:
		verdict(map[string]string{"-j": "jump", "-g": "goto"}[opt], name)
	}
	return nil
}

func (r *ruleParser) nat(op, to string) error {
	e := schema.Expr{Name: "nat", Op: op, Family: map[bool]string{true: "ip6", false: "ip"}[r.v6], SReg: 1}
	ap, err := netip.ParseAddrPort(to)
	if err != nil {
		lo, hi, ranged := strings.Cut(to, "-")
		r.add(schema.Expr{Name: "immediate", DReg: 1, Data: netip.MustParseAddr(lo).AsSlice()})
		if ranged {
			r.add(schema.Expr{Name: "immediate", DReg: 2, Data: netip.MustParseAddr(hi).AsSlice()})
			e.SReg2 = 2
		}
		r.add(e)
		return nil
	}
	e.SReg3 = 3
	r.add(schema.Expr{Name: "immediate", DReg: 1, Data: ap.Addr().AsSlice()}, schema.Expr{Name: "immediate", DReg: 3, Data: u16(int(ap.Port()))}, e)
	return nil
}

// parseFlow reads "vnet1>eno1 tcp 10.20.0.11:40000 > 203.0.113.10:443 [want 10.0.0.2:22]"; "host" for the host.
func parseFlow(tb testing.TB, s string) trace.Flow {
	tb.Helper()
	w := strings.Fields(s)
	from, to, _ := strings.Cut(w[0], ">")
	f := trace.Flow{From: strings.Replace(from, "host", "", 1), To: strings.Replace(to, "host", "", 1), Proto: w[1]}
	f.Src, f.SrcPort = parseEnd(tb, w[2])
	f.Dst, f.DstPort = parseEnd(tb, w[4])
	if len(w) == 7 {
		f.WantDst = netip.MustParseAddrPort(w[6])
	}
	return f
}

func parseEnd(tb testing.TB, s string) (netip.Addr, uint16) {
	tb.Helper()
	if s == "any" {
		return netip.Addr{}, 0
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a, 0
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		tb.Fatal(err)
	}
	return ap.Addr(), ap.Port()
}

// say is a result in one line: "pass", "block reply ip filter INPUT: -p tcp -j DROP", "block request VN301".
func say(r trace.Result) string {
	if r.Decider == nil {
		return string(r.Verdict)
	}
	d := r.Decider
	s := string(r.Verdict) + " " + r.Half + " "
	switch {
	case d.Code != "":
		return s + d.Code
	case d.Ref.Kind == schema.KindXTable:
		return s + "legacy " + d.Ref.Name + " " + d.Chain + ": " + d.Text
	case d.Chain != "":
		return s + d.Ref.Name + " " + d.Chain + ": " + d.Text
	}
	return s + d.Stage + ": " + d.Text
}

func show(r trace.Result) string {
	var b strings.Builder
	for _, h := range r.Hops {
		fmt.Fprintf(&b, "  %-11s %-11s %-28s %-40s %-30s %s %s\n", h.Half, h.Stage, h.Ref.Name+" "+h.Chain, h.Text, h.Action, h.Packet, h.Code)
	}
	return b.String()
}
