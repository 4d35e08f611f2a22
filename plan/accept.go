package plan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// accept is the narrowest rule that lets one part of a goal through: what it matches, before it is spelled for the table
// it goes to.
type accept struct {
	in, out      string // interfaces as layer 3 sees them; "" any
	src, dst     netip.Prefix
	proto        string // "tcp", "udp", "icmp" or "" for all
	sport, dport schema.PortRange
	state        ctMatch
	// began narrows it to connections that these addresses began, whatever NAT made of them; invalid for all. It needs a state.
	began   netip.Prefix
	place   where
	v6      bool   // of an accept without addresses
	address string // for the comment
	// talk is set for a question (1) for a MAC address or an answer (2): of ARP, or where talk6 is set of neighbour discovery.
	talk  byte
	talk6 bool
}

// ctMatch narrows an accept to packets of known connections.
type ctMatch int

const (
	ctAny         ctMatch = iota
	ctEstablished         // RELATED,ESTABLISHED
	ctDNAT                // translated by a forward
)

// where narrows an accept to addresses of the host, or to all others, where no list of them can be written: they come and go.
type where int

const (
	anywhere    where = iota
	toHost            // the destination is an address of the host
	throughHost       // it is none
)

// rule spells the accept for a table: as iptables prints it, or as nft does. The two forms do the same.
func (a accept) rule(t *schema.Table) schema.Rule {
	if t.Commentless() {
		mark := schema.ChainMark(a.address)
		if t.Family == "arp" {
			return schema.Rule{Comment: mark, Text: a.arptables(mark), Exprs: a.arptExprs(mark)}
		}
		return schema.Rule{Comment: mark, Text: a.ebtables(mark), Exprs: a.ebtExprs(mark)}
	}
	r := schema.Rule{Comment: "vmnet:" + a.address, Exprs: a.exprs(t)}
	if t.Legacy || t.Compat {
		r.Text = a.iptables(t.Family)
	} else {
		r.Text = a.nft(t.Family) + fmt.Sprintf(" comment %q", r.Comment) // as it is read back: by that it is found again
	}
	return r
}

func (a accept) family() string {
	if a.v6 || (a.began.IsValid() && a.began.Addr().Is6()) || (a.src.IsValid() && a.src.Addr().Is6()) || (a.dst.IsValid() && a.dst.Addr().Is6()) {
		return "ip6"
	}
	return "ip"
}

// bare tells whether it asks whose an address is, and names none: the family must then be said.
func (a accept) bare() bool {
	return a.place != anywhere && prefixText(a.src) == "" && prefixText(a.dst) == ""
}

func (a accept) protoWord() string {
	if a.proto == "icmp" && a.family() == "ip6" {
		return "ipv6-icmp"
	}
	return a.proto
}

// iptables prints the rule in the order of iptables -S.
func (a accept) iptables(string) string {
	var w []string
	add := func(flag, v string) {
		if v != "" {
			w = append(w, flag, v)
		}
	}
	add("-s", prefixText(a.src))
	add("-d", prefixText(a.dst))
	add("-i", a.in)
	add("-o", a.out)
	add("-p", a.protoWord())
	if a.talk != 0 {
		w = append(w, a.talkIPTables())
	}
	if a.sport.First != 0 || a.dport.First != 0 {
		add("-m", a.proto)
		add("--sport", portText(a.sport, ":"))
		add("--dport", portText(a.dport, ":"))
	}
	switch a.place {
	case toHost:
		w = append(w, "-m addrtype --dst-type LOCAL")
	case throughHost:
		w = append(w, "-m addrtype ! --dst-type LOCAL")
	case anywhere:
	}
	switch a.state {
	case ctEstablished:
		w = append(w, "-m conntrack --ctstate RELATED,ESTABLISHED")
		add("--ctorigsrc", shortPrefix(a.began))
	case ctDNAT:
		w = append(w, "-m conntrack --ctstate DNAT")
	case ctAny:
	}
	w = append(w, fmt.Sprintf("-m comment --comment %q", "vmnet:"+a.address), "-j ACCEPT")
	return strings.Join(w, " ")
}

// nft prints the rule as nft(8) lists it, without the comment.
func (a accept) nft(table string) string {
	var w []string
	add := func(words, v string) {
		if v != "" {
			w = append(w, words+" "+v)
		}
	}
	if a.in != "" {
		add("iifname", fmt.Sprintf("%q", a.in))
	}
	if a.out != "" {
		add("oifname", fmt.Sprintf("%q", a.out))
	}
	if a.talk != 0 {
		return strings.Join(append(w, a.talkNFT(), "accept"), " ")
	}
	if table == "inet" && a.bare() {
		add("meta nfproto", map[string]string{"ip": "ipv4", "ip6": "ipv6"}[a.family()])
	}
	add(a.family()+" saddr", shortPrefix(a.src))
	add(a.family()+" daddr", shortPrefix(a.dst))
	switch a.place {
	case toHost:
		add("fib daddr type", "local")
	case throughHost:
		add("fib daddr type", "!= local")
	case anywhere:
	}
	switch {
	case a.sport.First != 0 || a.dport.First != 0:
		add(a.proto+" sport", portText(a.sport, "-"))
		add(a.proto+" dport", portText(a.dport, "-"))
	case a.proto != "":
		add("meta l4proto", a.protoWord())
	}
	switch a.state {
	case ctEstablished:
		w = append(w, "ct state established,related")
		add("ct original "+a.family()+" saddr", shortPrefix(a.began))
	case ctDNAT:
		w = append(w, "ct status dnat")
	case ctAny:
	}
	return strings.Join(append(w, "accept"), " ")
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() || p.Bits() == 0 {
		return ""
	}
	return p.Masked().String()
}

func shortPrefix(p netip.Prefix) string {
	if p.IsValid() && p.IsSingleIP() {
		return p.Addr().String()
	}
	return prefixText(p)
}

func portText(r schema.PortRange, sep string) string {
	switch {
	case r.First == 0 && r.Last == 0:
		return ""
	case r.First == r.Last:
		return strconv.FormatUint(uint64(r.First), 10)
	}
	return fmt.Sprintf("%d%s%d", r.First, sep, r.Last)
}

// reg1 is NFT_REG_1, the first of the 128-bit registers.
const reg1 = 1

// exprs is the rule in bytecode, in the order of the nft text.
func (a accept) exprs(t *schema.Table) []schema.Expr {
	var e []schema.Expr
	load := func(x schema.Expr, data []byte) {
		x.DReg = reg1
		e = append(e, x, schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: data})
	}
	if a.in != "" {
		load(schema.Expr{Name: "meta", Key: "iifname"}, ifname(a.in))
	}
	if a.out != "" {
		load(schema.Expr{Name: "meta", Key: "oifname"}, ifname(a.out))
	}
	if a.talk != 0 {
		e = append(e, a.talkExprs(t)...)
	}
	if prefixText(a.src) != "" || prefixText(a.dst) != "" || a.bare() {
		if key, data := a.familyMatch(t.Family); key != "" {
			load(schema.Expr{Name: "meta", Key: key}, data)
		}
	}
	e = append(e, matchPrefix(a.src, 12, 8)...)
	e = append(e, matchPrefix(a.dst, 16, 24)...)
	if a.place != anywhere { // RTN_LOCAL of rtnetlink(7)
		op := map[where]string{toHost: "eq", throughHost: "neq"}[a.place]
		e = append(e, schema.Expr{Name: "fib", Key: "daddr", Op: "type", DReg: reg1},
			schema.Expr{Name: "cmp", SReg: reg1, Op: op, Data: binary.NativeEndian.AppendUint32(nil, 2)})
	}
	if a.proto != "" {
		load(schema.Expr{Name: "meta", Key: "l4proto"}, []byte{protoNumber(a.protoWord())})
	}
	e = append(e, matchPort(a.sport, 0)...)
	e = append(e, matchPort(a.dport, 2)...)
	switch a.state {
	case ctEstablished:
		e = append(e, ctBits("state", 6)...) // NF_CT_STATE_BIT: established 2, related 4
		e = append(e, a.matchBegan()...)
	case ctDNAT:
		e = append(e, ctBits("status", 1<<5)...) // IPS_DST_NAT
	case ctAny:
	}
	return append(e, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}})
}

// familyMatch is how a table of a family that sees more than one of them tells IPv4 from IPv6, as nft(8) does it; "" where
// there is no need.
func (a accept) familyMatch(table string) (key string, data []byte) {
	v6 := a.family() == "ip6"
	switch {
	case table == "inet" && v6:
		return "nfproto", []byte{10} // NFPROTO_IPV6
	case table == "inet":
		return "nfproto", []byte{2} // NFPROTO_IPV4
	case (table == "bridge" || table == "netdev") && v6:
		return "protocol", []byte{0x86, 0xdd} // ETH_P_IPV6
	case table == "bridge" || table == "netdev":
		return "protocol", []byte{0x08, 0x00} // ETH_P_IP
	}
	return "", nil
}

func ifname(s string) []byte {
	b := make([]byte, 16)
	copy(b, s)
	return b
}

func protoNumber(p string) byte {
	return map[string]byte{"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58}[p]
}

// matchPrefix loads the address at the offset of its family's header. A prefix that ends within a byte takes a mask.
func matchPrefix(p netip.Prefix, off4, off6 uint32) []schema.Expr {
	if prefixText(p) == "" {
		return nil
	}
	off := off4
	if p.Addr().Is6() {
		off = off6
	}
	addr := p.Masked().Addr().AsSlice()
	size := (p.Bits() + 7) / 8
	e := []schema.Expr{{Name: "payload", Base: "network", Offset: off, Len: uint32(size), DReg: reg1}}
	if rest := p.Bits() % 8; rest != 0 {
		mask := make([]byte, size)
		for i := range mask {
			mask[i] = 0xff
		}
		mask[size-1] = byte(0xff << (8 - rest))
		e = append(e, schema.Expr{Name: "bitwise", SReg: reg1, DReg: reg1, Len: uint32(size), Op: "bool", Data: mask, Data2: make([]byte, size)})
	}
	return append(e, schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: addr[:size]})
}

// matchBegan asks who began the connection.
func (a accept) matchBegan() []schema.Expr {
	if prefixText(a.began) == "" {
		return nil
	}
	addr := a.began.Masked().Addr().AsSlice()
	mask := make([]byte, len(addr))
	for i := range a.began.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	e := []schema.Expr{{Name: "ct", Key: "saddr", Dir: "original", Family: a.family(), DReg: reg1}}
	if !a.began.IsSingleIP() {
		e = append(e, schema.Expr{Name: "bitwise", SReg: reg1, DReg: reg1, Len: uint32(len(addr)), Op: "bool", Data: mask, Data2: make([]byte, len(addr))})
	}
	return append(e, schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: addr})
}

func matchPort(r schema.PortRange, off uint32) []schema.Expr {
	if r.First == 0 && r.Last == 0 {
		return nil
	}
	from, to := binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)
	load := schema.Expr{Name: "payload", Base: "transport", Offset: off, Len: 2, DReg: reg1}
	if r.First == r.Last {
		return []schema.Expr{load, {Name: "cmp", SReg: reg1, Op: "eq", Data: from}}
	}
	return []schema.Expr{load, {Name: "cmp", SReg: reg1, Op: "gte", Data: from}, {Name: "cmp", SReg: reg1, Op: "lte", Data: to}}
}

// ctBits tests bits of a conntrack key; they are stored in the host's byte order.
func ctBits(key string, bits uint32) []schema.Expr {
	mask := binary.NativeEndian.AppendUint32(nil, bits)
	return []schema.Expr{
		{Name: "ct", Key: key, DReg: reg1},
		{Name: "bitwise", SReg: reg1, DReg: reg1, Len: 4, Op: "bool", Data: mask, Data2: make([]byte, 4)},
		{Name: "cmp", SReg: reg1, Op: "neq", Data: make([]byte, 4)},
	}
}
