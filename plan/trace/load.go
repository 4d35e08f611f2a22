package trace

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
)

// Numbers of families and ARP hardware types as registers hold them (socket(2), linux/if_arp.h).
const (
	nfIPv4   = 2
	nfARP    = 3
	nfBridge = 7
	nfIPv6   = 10

	arpEther    = 1
	arpLoopback = 772
	arpNone     = 65534
)

// match runs an op that loads, computes or compares, and tells for which packets the rule goes on. A load that fails
// breaks the rule (NFT_BREAK): that is no answer which a later negation could turn round.
func (r *sweep) match(o *op) bdd.Node {
	switch o.code {
	case opPayload:
		return r.payload(o)
	case opCmp:
		return r.cmp(o)
	case opMeta:
		return r.meta(o)
	case opCT:
		return r.connection(o)
	case opLookup:
		return r.contains(o)
	case opBitwise:
		r.bitwise(o)
	case opImm:
		r.load(o.dreg, o.data)
	case opRange:
		return r.signed(o, r.g.at(int(o.sreg), len(o.data)).within(r.x, o.data, o.data2))
	case opIn:
		return r.in(o)
	case opAny:
		return r.oneHolds(o)
	case opOrder:
		r.swap(o)
	case opShift:
		r.shift(o)
	case opMix:
		r.mix(o)
	case opFIB:
		return r.fibLoad(o)
	case opRT:
		return r.rt(o)
	case opExthdr:
		return r.exthdr(o)
	case opFlow:
		return r.handOver(o)
	case opForeseen:
		return r.foreseen(o, int(o.len))
	default:
		return r.unknown(o)
	}
	return bdd.True
}

// handOver is "flow add" (nft_flow_offload_eval): it breaks the rule for packets of connections that conntrack has not confirmed,
// and for those that the flow table has already; of the others it takes the connection over, so that its later packets may meet
// no rule any more.
func (r *sweep) handOver(o *op) bdd.Node {
	if r.p.ct == nil {
		return bdd.False
	}
	known := r.x.And(r.p.has, r.p.ct.status(r.x, ipsConfirmed))
	if r.p.half != "request" && !r.dry {
		r.handed = r.x.Or(r.handed, r.x.And(r.live, known))
	}
	return r.x.And(known, r.unknown(o))
}

func (r *sweep) cmp(o *op) bdd.Node {
	at, n := int(o.sreg), len(o.data)
	if o.cmp == cmpEq { // nearly all there are: a known difference, or all known
		var open byte
		for i, v := range o.data {
			u := r.g.unk[at+i]
			if (r.g.b[at+i]^v)&^u != 0 {
				return bdd.False
			}
			open |= u
		}
		if open == 0 {
			return bdd.True
		}
	}
	g := r.g.at(at, n)
	if o.cmp == cmpEq || o.cmp == cmpNeq {
		if is, ok := r.named(g, o.data); ok && o.cmp == cmpEq {
			return is
		} else if ok {
			return r.x.Not(is)
		}
	}
	return g.compare(r.x, o.cmp, o.data)
}

// foreseen is a load whose value is unknown, and which may fail.
func (r *sweep) foreseen(o *op, n int) bdd.Node {
	r.blur(r.reg(o.dreg, n), o)
	return r.unknown(o)
}

// reg is n bytes of the registers, or as many as there are.
func (r *sweep) reg(at uint8, n int) cells { return r.g.at(int(at), min(n, regBytes-int(at))) }

// load stores a constant and zeroes the rest of its last word (nft_reg_store8, strscpy_pad).
func (r *sweep) load(at uint8, v []byte) {
	n := min(len(v), regBytes-int(at))
	r.reg(at, (n+3)&^3).fill(v[:n])
}

// loadCells is load for what is not a constant.
func (r *sweep) loadCells(at uint8, v cells) {
	n := min(v.len(), regBytes-int(at))
	g := r.reg(at, (n+3)&^3)
	clear(g.b[n:])
	clear(g.unk[n:])
	g.copyFrom(v.at(0, n))
}

func (r *sweep) load32(at uint8, v uint32) { r.reg(at, 4).word32(v) }

// signed turns an answer round where the op asks for the opposite.
func (r *sweep) signed(o *op, f bdd.Node) bdd.Node {
	if o.neg {
		return r.x.Not(f)
	}
	return f
}

// payload loads a slice of the packet. What lies beyond the headers may or may not be there.
func (r *sweep) payload(o *op) bdd.Node {
	p := &r.p
	from, ok := r.offset(o)
	if !ok {
		return bdd.False
	}
	n := int(o.len)
	if from+n <= p.end { // nearly all there are: constants
		var open byte
		for _, u := range p.image.unk[from : from+n] {
			open |= u
		}
		if d := int(o.dreg); open == 0 {
			copy(r.g.b[d:], p.image.b[from:from+n])
			clear(r.g.unk[d : d+n])
			for ; n&3 != 0; n++ {
				r.g.b[d+n], r.g.unk[d+n] = 0, 0
			}
			return bdd.True
		}
	}
	switch {
	case p.framed && from+n > netOff+p.length:
		return bdd.False
	case from+n > imageCells:
		return r.foreseen(o, n)
	case from+n > p.end:
		p.fillUp()
	}
	g := r.g.at(int(o.dreg), (n+3)&^3)
	if n&3 != 0 {
		clear(g.b[n:])
		clear(g.unk[n:])
	}
	g.copyFrom(p.image.at(from, n))
	if from+n <= p.end {
		return bdd.True
	}
	return r.beyond(from + n)
}

// beyond tells whether a packet has as many bytes.
func (r *sweep) beyond(n int) bdd.Node {
	var c [2]byte
	var u [2]byte
	var f [16]bdd.Node
	length := cells{c[:], u[:], f[:]}
	r.fixed(length, "how much there is")
	return length.compare(r.x, cmpGte, []byte{byte(n >> 8), byte(n)})
}

// in is a lowered list of ranges: multiport and the like.
func (r *sweep) in(o *op) bdd.Node {
	n := int(o.e.Len)
	g := r.g.at(int(o.sreg), n)
	f := bdd.False
	for _, x := range o.e.Ranges {
		if len(x[0]) == n && len(x[1]) == n {
			f = r.x.Or(f, g.within(r.x, x[0], x[1]))
		} else {
			f = r.x.Or(f, r.unknown(o))
		}
	}
	return r.signed(o, f)
}

// bitwise is dst = (src & mask) ^ xor: what the mask hides is known to be nothing.
func (r *sweep) bitwise(o *op) {
	g := r.g
	for i := range int(o.len) {
		s, d := int(o.sreg)+i, int(o.dreg)+i
		u := g.unk[s] & o.data[i]
		g.b[d] = (g.b[s]&o.data[i] ^ o.data2[i]) &^ u
		if u == 0 {
			g.unk[d] = 0
			continue
		}
		was := g.unk[s]
		for j := range 8 {
			if m := byte(0x80) >> j; u&m != 0 {
				f := g.n[8*s+j]
				if o.data2[i]&m != 0 {
					g.unk[s] = was
					f = r.x.Not(g.bit(r.x.Space, 8*s+j))
				}
				g.n[8*d+j] = f
			}
		}
		g.unk[d] = u
	}
}

// shift moves words of the host's byte order, carrying between them (nft_bitwise_eval_lshift, _rshift).
func (r *sweep) shift(o *op) {
	n := int(binary.NativeEndian.Uint32(o.data) & 31)
	words := (int(o.len) + 3) / 4
	// The first word is the most significant one; bit 0 of the string is the least significant bit of the last.
	at := func(base uint8, k int) (word cells, bit int) {
		w := words - 1 - k/32
		return r.g.at(int(base)+4*w, 4), hostBit(k % 32)
	}
	old := make([]bdd.Node, 32*words)
	for k := range old {
		w, b := at(o.sreg, k)
		old[k] = w.bit(r.x.Space, b)
	}
	for k := range old {
		from, f := k-n, bdd.False
		if o.neg {
			from = k + n
		}
		if from >= 0 && from < len(old) {
			f = old[from]
		}
		w, b := at(o.dreg, k)
		w.setBit(b, f)
	}
}

// mix joins two registers bit by bit (nft_bitwise_eval_and, _or, _xor; Linux 6.12).
func (r *sweep) mix(o *op) {
	n := int(o.len)
	a, b := r.copyOf(r.reg(o.sreg, n)), r.copyOf(r.reg(o.sreg2, n))
	join := r.x.And
	switch o.e.Op {
	case "or":
		join = r.x.Or
	case "xor":
		join = r.x.Xor
	}
	to := r.reg(o.dreg, n)
	for i := range 8 * n {
		to.setBit(i, join(a.bit(r.x.Space, i), b.bit(r.x.Space, i)))
	}
}

// swap is byteorder: on a little-endian host both directions turn the bytes of each element around.
func (r *sweep) swap(o *op) {
	size := int(o.e.Size)
	turn := binary.NativeEndian.Uint16([]byte{1, 0}) == 1
	t := newCells(8)
	for i := 0; i+size <= int(o.len); i += size {
		s, d := r.g.at(int(o.sreg)+i, size), r.g.at(int(o.dreg)+i, size)
		t.copyFrom(s)
		for j := range size {
			from := j
			if turn {
				from = size - 1 - j
			}
			d.at(j, 1).copyFrom(t.at(from, 1))
		}
	}
}

// meta loads a fact about the packet (net/netfilter/nft_meta.c).
func (r *sweep) meta(o *op) bdd.Node {
	p, d := &r.p, o.dreg
	switch o.e.Key {
	case "iifname":
		r.loadName(d, p.in, p.inAny)
	case "oifname":
		r.loadName(d, p.out, p.outAny)
	case "iif":
		r.loadIndex(d, p.in, p.inAny)
	case "oif":
		r.loadIndex(d, p.out, p.outAny)
	case "ibrname", "bri_iifname", "ibridgename":
		return r.bridgeName(d, p.in, p.inAny)
	case "obrname", "bri_oifname", "obridgename":
		return r.bridgeName(d, p.out, p.outAny)
	case "l4proto":
		if p.arp() { // nft_set_pktinfo_unspec
			return bdd.False
		}
		if r.atAuth() {
			r.load(d, []byte{protoAuth})
		} else {
			r.loadCells(d, p.layer4)
		}
	case "nfproto":
		n := byte(nfIPv4)
		switch {
		case r.inBridge:
			n = nfBridge
		case p.arp():
			n = nfARP
		case p.v6:
			n = nfIPv6
		}
		r.load(d, []byte{n})
	case "protocol":
		r.loadCells(d, p.image.at(12, 2))
	case "mark":
		r.loadCells(d, p.mark)
	case "pkttype":
		r.loadCells(d, p.kind)
	case "iiftype", "oiftype":
		return r.ofDevice(d, 2, o.e.Key, hardware)
	case "iifgroup", "oifgroup":
		return r.ofDevice(d, 4, o.e.Key, groupOf)
	case "iifkind", "oifkind":
		return r.ofDevice(d, 16, o.e.Key, kindOf)
	case "physin":
		return r.port(o, r.physIn())
	case "physout":
		return r.port(o, r.physOut)
	case "sdif", "sdifname":
		r.load(d, make([]byte, 16)) // no VRF: index 0, no name
	case "skuid", "skgid":
		if !p.made && r.hook != input {
			return bdd.False
		}
		r.fixed(r.reg(d, 4), o.e.Key)
		return r.fixedBit("socket") // what the kernel sends by itself has no user, and early demux may know one
	case "length":
		switch {
		case p.framed && r.atEgress: // the link header is there again
			r.load32(d, uint32(p.length)+netOff)
		case p.framed:
			r.load32(d, uint32(p.length))
		case r.atEgress:
			r.fixed(r.reg(d, 4), "length of the frame")
		default:
			r.fixed(r.reg(d, 4), o.e.Key)
		}
	default: // priority, cpu, time, day, hour, rtclassid, secpath, cgroup, random, …
		return r.foreseen(o, 16)
	}
	return bdd.True
}

// connection loads from conntrack (net/netfilter/nft_ct.c). State is answered without an entry too; every other key
// then breaks the rule.
func (r *sweep) connection(o *op) bdd.Node {
	p, d := &r.p, o.dreg
	if o.e.Key == "state" {
		r.loadState(r.reg(d, 4))
		return bdd.True
	}
	c := p.ct
	if c == nil || p.has == bdd.False {
		return bdd.False
	}
	dir := ctOrig
	if o.e.Dir == "reply" {
		dir = ctReply
	}
	switch o.e.Key {
	case "direction":
		g := r.reg(d, 4)
		g.zero()
		g.setBit(7, p.answer)
	case "status":
		g := r.reg(d, 4)
		g.copyFrom(c.at(ctStatus, 4))
		if c.seen { // whether it is assured depends on the protocol's own state
			g.setBit(hostBit(2), r.fixedBit("assured"))
		}
	case "mark":
		r.loadCells(d, c.at(ctMark, 4))
	case "l3proto", "l3protocol":
		n := byte(nfIPv4)
		if p.v6 {
			n = nfIPv6
		}
		r.load(d, []byte{n})
	case "protocol", "proto":
		r.loadCells(d, p.layer4)
	case "saddr", "src", "src_ip", "src_ip6":
		return r.loadAddr(o, c, dir+tupleSrc)
	case "daddr", "dst", "dst_ip", "dst_ip6":
		return r.loadAddr(o, c, dir+tupleDst)
	case "proto_src", "proto-src", "sport":
		r.loadPort(o, c.at(dir+tupleSPort, 2))
	case "proto_dst", "proto-dst", "dport":
		r.loadPort(o, c.at(dir+tupleDPort, 2))
	case "zone":
		r.load(d, []byte{0, 0})
	default: // bytes, packets, expiration, helper, labels, id, …
		return r.x.And(p.has, r.foreseen(o, 16))
	}
	return p.has
}

func (r *sweep) loadState(g cells) {
	p := &r.p
	g.zero()
	none := bdd.True
	for i, f := range p.state {
		if f != bdd.False {
			none = r.x.Diff(none, f)
			g.setBit(hostBit(i), f)
		}
	}
	if none != bdd.False { // nf_ct_get gives nothing: invalid
		g.setBit(hostBit(bitInvalid), r.x.Or(none, p.state[bitInvalid]))
	}
}

func (r *sweep) loadAddr(o *op, c *entryCT, off int) bdd.Node {
	if o.e.Family != "" && (o.e.Family == "ip6") != r.p.v6 || strings.HasSuffix(o.e.Key, "_ip6") != r.p.v6 && strings.Contains(o.e.Key, "_ip") {
		return bdd.False
	}
	r.loadCells(o.dreg, c.at(off, r.p.alen()))
	return r.p.has
}

func (r *sweep) loadPort(o *op, port cells) {
	if !r.p.layer4.known() || r.p.hasPorts() {
		r.loadCells(o.dreg, port)
		return
	}
	if p := &r.p; p.framed && (p.proto == protoICMP || p.proto == protoICMPv6) { // the identifier; type and code
		t := p.image.b[p.trans:]
		switch source := o.e.Key == "sport" || strings.HasSuffix(o.e.Key, "src"); {
		case source:
			r.load(o.dreg, t[4:6])
		case o.e.Dir == "reply":
			r.load(o.dreg, []byte{echoReply(t[0]), t[1]})
		default:
			r.load(o.dreg, t[:2])
		}
		return
	}
	if r.p.framed {
		r.load(o.dreg, []byte{0, 0})
		return
	}
	r.fixed(r.reg(o.dreg, 4), "ICMP's place of ports")
}

// echoReply is the type that answers one (invmap).
func echoReply(kind byte) byte {
	switch kind {
	case 8:
		return 0
	case 128:
		return 129
	case 139:
		return 140
	}
	return kind + 1
}

// rt loads from the routing decision (net/netfilter/nft_rt.c).
func (r *sweep) rt(o *op) bdd.Node {
	if r.p.out == nil {
		return bdd.False
	}
	switch o.e.Key {
	case "nexthop4", "nexthop6", "nexthop":
		if (o.e.Key == "nexthop4") == r.p.v6 && o.e.Key != "nexthop" {
			return bdd.False
		}
		if r.gateway.len() > 0 {
			r.loadCells(o.dreg, r.gateway)
		} else {
			r.loadCells(o.dreg, r.p.dst())
		}
		return bdd.True
	}
	return r.foreseen(o, 16)
}

// fibLoad asks the routing tables (net/ipv4/netfilter/nft_fib_ipv4.c).
func (r *sweep) fibLoad(o *op) bdd.Node {
	p := &r.p
	if p.arp() { // nft_fib_netdev_eval
		return bdd.False
	}
	words := strings.FieldsFunc(o.e.Key, func(c rune) bool { return c == ' ' || c == '.' || c == ',' })
	has := func(w string) bool { return slices.Contains(words, w) }
	addr, other := p.dst(), p.src()
	if has("saddr") {
		addr, other = other, addr
	}
	dev, devs := p.out, p.outAny
	if has("iif") {
		dev, devs = p.in, p.inAny
	} else if !has("oif") {
		dev, devs = nil, nil
	}
	g := r.reg(o.dreg, 16)
	if o.e.Op == "type" {
		r.fibType(g.at(0, 4), addr, dev, devs)
		return bdd.True
	}
	present := o.e.Flags&(1<<5) != 0 || has("present")
	g.zero()
	one := newCells(16)
	for _, f := range r.fibDevices(addr, other, dev, devs, has("saddr"), has("iif"), has("mark")) {
		one.zero()
		n := 4
		switch {
		case present:
			one.b[0], n = 1, 1
		case o.e.Op == "oifname":
			r.nameCells(one, f.k)
			n = 16
		default:
			r.indexCells(one.at(0, 4), f.k)
		}
		g.at(0, n).merge(r.x.Space, f.cond, one.at(0, n))
	}
	return bdd.True
}
