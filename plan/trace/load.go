package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Numbers of families and ARP hardware types as registers hold them (socket(2), linux/if_arp.h).
const (
	nfIPv4   = 2
	nfBridge = 7
	nfIPv6   = 10

	arpEther    = 1
	arpLoopback = 772
	arpNone     = 65534
)

// meta loads a fact about the packet (net/netfilter/nft_meta.c).
func (r *run) meta(o *op) answer3 {
	p, g, d := &r.p, &r.g, o.dreg
	switch o.e.Key {
	case "iifname":
		g.putName(d, p.in)
	case "oifname":
		g.putName(d, p.out)
	case "iif":
		g.putIndex(d, p.in)
	case "oif":
		g.putIndex(d, p.out)
	case "ibrname", "bri_iifname", "ibridgename":
		return r.bridgeName(d, p.in)
	case "obrname", "bri_oifname", "obridgename":
		return r.bridgeName(d, p.out)
	case "l4proto":
		g.put8(d, p.proto)
	case "nfproto":
		n := byte(nfIPv4)
		switch {
		case r.inBridge:
			n = nfBridge
		case p.v6:
			n = nfIPv6
		}
		g.put8(d, n)
	case "protocol":
		g.put(d, p.b[12:14])
	case "mark":
		g.put32(d, p.mark)
	case "pkttype":
		g.put8(d, p.pkttype)
	case "iiftype", "oiftype":
		return r.hardware(d, r.side(o.e.Key))
	case "iifgroup", "oifgroup":
		dev := r.side(o.e.Key)
		if dev == nil {
			return no
		}
		if dev.unknown || dev.link.Facts == nil {
			g.blur(d, 4)
			return yes
		}
		g.put32(d, word{v: dev.link.Facts.Group})
	case "iifkind", "oifkind":
		return r.kind(d, r.side(o.e.Key))
	case "sdif", "sdifname":
		g.put(d, make([]byte, 16)) // no VRF: index 0, no name
	case "skuid", "skgid":
		g.blur(d, 4)
		switch {
		case p.made:
			return maybe
		case r.hook == input:
			return maybe
		}
		return no
	default: // length, priority, cpu, time, day, hour, rtclassid, secpath, cgroup, random, …
		g.blur(d, 16)
		return maybe
	}
	return yes
}

// side picks the device a key speaks of.
func (r *run) side(key string) *device {
	if strings.HasPrefix(key, "o") {
		return r.p.out
	}
	return r.p.in
}

func (g *regs) putName(at uint8, dev *device) {
	var name [16]byte
	if dev != nil {
		if dev.unknown {
			g.blur(at, 16)
			return
		}
		copy(name[:15], dev.name)
	}
	g.put(at, name[:])
}

func (g *regs) putIndex(at uint8, dev *device) {
	switch {
	case dev == nil:
		g.put32(at, word{})
	case dev.unknown || dev.index == 0:
		g.blur(at, 4)
	default:
		g.put32(at, word{v: uint32(dev.index)})
	}
}

func (r *run) bridgeName(at uint8, dev *device) answer3 {
	switch {
	case dev == nil:
		return no
	case dev.master != nil && dev.master.bridge:
		r.g.putName(at, dev.master)
	case dev.bridge:
		r.g.putName(at, dev)
	default:
		return no
	}
	return yes
}

func (r *run) hardware(at uint8, dev *device) answer3 {
	if dev == nil {
		return no
	}
	t := uint16(arpEther)
	known := true
	switch {
	case dev.unknown:
		known = false
	case dev.link.Type == "loopback":
		t = arpLoopback
	case dev.link.Type == "tun" || dev.link.Type == "wireguard":
		t = arpNone
	case dev.link.MAC == nil || *dev.link.MAC == "":
		known = false
	}
	r.g.put(at, binary.NativeEndian.AppendUint16(nil, t))
	if !known {
		r.g.blur(at, 2)
	}
	return yes
}

func (r *run) kind(at uint8, dev *device) answer3 {
	if dev == nil {
		return no
	}
	if dev.unknown {
		r.g.blur(at, 16)
		return maybe
	}
	switch dev.link.Type {
	case "", "device", "loopback":
		return no // no rtnl_link_ops
	}
	var name [16]byte
	copy(name[:15], dev.link.Type)
	if dev.link.Type == "tap" {
		copy(name[:], "tun")
	}
	r.g.put(at, name[:])
	return yes
}

// connection loads from conntrack (net/netfilter/nft_ct.c). State is answered without an entry too; every other key
// then breaks the rule.
func (r *run) connection(o *op) answer3 {
	p, g, d := &r.p, &r.g, o.dreg
	if o.e.Key == "state" {
		s := uint32(ctInvalid)
		if p.ctState != 0 {
			s = p.ctState
		}
		g.put32(d, word{v: s})
		return yes
	}
	c := p.ct
	if c == nil {
		return no
	}
	t := &c.orig
	if o.e.Dir == "reply" {
		t = &c.reply
	}
	switch o.e.Key {
	case "direction":
		var dir byte
		if p.ctReply {
			dir = 1
		}
		g.put8(d, dir)
	case "status":
		w := word{v: c.status}
		if c.status&ipsSeenReply != 0 {
			w.unk = ipsAssured // depends on the protocol's own state
		}
		g.put32(d, w)
	case "mark":
		g.put32(d, c.mark)
	case "l3proto", "l3protocol":
		n := byte(nfIPv4)
		if p.v6 {
			n = nfIPv6
		}
		g.put8(d, n)
	case "protocol", "proto":
		g.put8(d, p.proto)
	case "saddr", "src", "src_ip", "src_ip6":
		return g.putAddr(d, t.src, o.e.Key)
	case "daddr", "dst", "dst_ip", "dst_ip6":
		return g.putAddr(d, t.dst, o.e.Key)
	case "proto_src", "proto-src", "sport":
		return r.putPort(d, t.sport, t.anyS)
	case "proto_dst", "proto-dst", "dport":
		return r.putPort(d, t.dport, t.anyD)
	case "zone":
		g.put(d, []byte{0, 0})
	default: // bytes, packets, expiration, helper, labels, id, …
		g.blur(d, 16)
		return maybe
	}
	return yes
}

func (g *regs) putAddr(at uint8, a netip.Addr, key string) answer3 {
	if !a.IsValid() || strings.HasSuffix(key, "_ip6") != a.Is6() && strings.Contains(key, "_ip") {
		return no
	}
	g.put(at, a.AsSlice())
	return yes
}

func (r *run) putPort(at uint8, port uint16, unknown bool) answer3 {
	if !r.p.hasPorts() || unknown {
		r.g.blur(at, 4)
		return yes
	}
	r.g.put16(at, port)
	return yes
}

// fibLoad asks the routing tables (net/ipv4/netfilter/nft_fib_ipv4.c).
func (r *run) fibLoad(o *op) answer3 {
	p := &r.p
	words := strings.FieldsFunc(o.e.Key, func(c rune) bool { return c == ' ' || c == '.' || c == ',' })
	has := func(w string) bool {
		return slices.Contains(words, w)
	}
	var dev *device
	switch {
	case has("iif"):
		dev = p.in
	case has("oif"):
		dev = p.out
	}
	addr, other := p.dst, p.src
	if has("saddr") {
		addr, other = p.src, p.dst
	}
	if o.e.Op == "type" {
		return r.fibType(o, addr, dev)
	}
	found := r.fibDevice(addr, other, dev, has("saddr"), has("iif"), has("mark"))
	if r.end != nil {
		return no
	}
	present := o.e.Flags&(1<<5) != 0 || has("present")
	switch {
	case present:
		r.g.put8(o.dreg, map[bool]byte{true: 1}[found != nil])
	case o.e.Op == "oifname":
		r.g.putName(o.dreg, found)
	default:
		r.g.putIndex(o.dreg, found)
	}
	return yes
}

// routeTypes are the RTN_* of rtnetlink(7).
var routeTypes = map[string]uint32{
	"": 1, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9,
}

// fibType is inet_dev_addr_type: the local table alone decides, elsewhere everything is unicast.
func (r *run) fibType(o *op, addr netip.Addr, dev *device) answer3 {
	f := r.w.fib[family(r.p.v6)]
	kind := "unicast"
	switch {
	case addr.Is4() && (addr == limitedBroadcast || addr.As4()[0] == 0):
		kind = "broadcast"
	case addr.IsMulticast():
		kind = "multicast"
	default:
		if rt := f.tables[schema.TableLocal].find(addr); len(rt) > 0 && (dev == nil || rt[0].Link == dev.name) {
			kind = rt[0].Type
		} else if r.p.v6 {
			kind = r.ipv6Type(addr)
		}
	}
	r.g.put32(o.dreg, word{v: routeTypes[kind]})
	return yes
}

// ipv6Type is the rest of nft_fib6_eval_type, which asks all tables: an address without a route is unreachable.
func (r *run) ipv6Type(addr netip.Addr) string {
	res := r.route(query{dst: addr, in: r.w.lo})
	switch {
	case res.kind == "" || res.kind == "unicast":
		return "unicast"
	case res.kind == "none":
		return "unreachable"
	}
	return res.kind
}

func (r *run) fibDevice(addr, other netip.Addr, dev *device, saddr, byIn, byMark bool) *device {
	q := query{dst: addr, src: other, in: r.w.lo}
	if r.hook == prerouting && !r.inBridge && r.p.in == r.w.lo {
		return r.p.in
	}
	if byMark {
		q.mark = r.p.mark
	}
	if saddr && byIn && r.hook == forward && r.p.out != nil {
		q.in = r.p.out
	}
	res := r.route(q)
	if res.kind != "unicast" || res.dev == nil {
		return nil
	}
	if dev == nil {
		return res.dev
	}
	if slices.Contains(res.route.Devices(), dev.name) {
		return dev
	}
	return nil
}

// rt loads from the routing decision (net/netfilter/nft_rt.c).
func (r *run) rt(o *op) answer3 {
	if r.p.out == nil {
		return no
	}
	switch o.e.Key {
	case "nexthop4", "nexthop6", "nexthop":
		if (o.e.Key == "nexthop4") == r.p.v6 && o.e.Key != "nexthop" {
			return no
		}
		nh := r.p.dst
		if r.gateway.IsValid() {
			nh = r.gateway
		}
		r.g.put(o.dreg, nh.AsSlice())
		return yes
	}
	r.g.blur(o.dreg, 16)
	return maybe
}

// exthdr loads an IPv6 extension header, which the packet does not have, or a TCP option, which nobody can foresee.
func (r *run) exthdr(o *op) answer3 {
	present := o.e.Flags&1 != 0 // NFT_EXTHDR_F_PRESENT
	option := o.e.Op == "tcpopt" && r.p.proto == protoTCP || o.e.Op == "sctp" && r.p.proto == protoSCTP
	switch {
	case option && present:
		r.g.put8(o.dreg, 0)
		r.g.unk[o.dreg] = 1
		return yes
	case option:
		r.g.blur(o.dreg, o.len)
		return maybe
	case present:
		r.g.put8(o.dreg, 0)
		return yes
	}
	return no
}
