package trace

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// Where the headers lie in a packet's image.
const (
	linkOff  = 0
	netOff   = 14 // behind an Ethernet header
	imageLen = 14 + 40 + 20
)

// The states of a packet for conntrack, as bits of "ct state" (NF_CT_STATE_BIT in nf_conntrack_common.h).
const (
	ctInvalid     = 1
	ctEstablished = 2
	ctNew         = 8
	ctUntracked   = 64
)

// The bits of "ct status" (enum ip_conntrack_status).
const (
	ipsSeenReply   = 1 << 1
	ipsAssured     = 1 << 2
	ipsConfirmed   = 1 << 3
	ipsSrcNAT      = 1 << 4
	ipsDstNAT      = 1 << 5
	ipsSrcNATDone  = 1 << 7
	ipsDstNATDone  = 1 << 8
	ipsNATDoneMask = ipsSrcNATDone | ipsDstNATDone
)

// Protocol numbers (protocols(5)).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoDCCP   = 33
	protoICMPv6 = 58
	protoSCTP   = 132
	protoLite   = 136
)

// tuple is one direction of a connection.
type tuple struct {
	src, dst     netip.Addr
	sport, dport uint16
	// anyS and anyD: the NAT core picks the port, nobody knows which.
	anyS, anyD bool
}

// conn is an entry of conntrack: what the first packet left behind.
type conn struct {
	orig   tuple
	reply  tuple // as the answer comes in: after NAT
	status uint32
	mark   word
}

// word is a 32-bit value of which some bits may be unknown.
type word struct{ v, unk uint32 }

// packet is one concrete packet on its way. Bits of the image that a Flow does not settle are marked unknown.
type packet struct {
	half         string
	v6           bool
	proto        uint8
	src, dst     netip.Addr
	sport, dport uint16
	mark         word
	pkttype      uint8
	made         bool // by the host, so that it has a socket and no link header
	linked       bool // has a link header
	in, out      *device
	physIn       *device // the bridge port it came in by

	ct        *conn
	ctState   uint32 // 0 before conntrack
	ctReply   bool
	untracked bool

	end    int // of the image
	b, unk [imageLen]byte
}

// kind of packet: which TCP flags and ICMP type it carries.
const (
	first  = iota // the opening packet
	answer        // its answer
	later         // an opening-side packet of an established connection
)

func (p *packet) transOff() int {
	if p.v6 {
		return netOff + 40
	}
	return netOff + 20
}

func (p *packet) hasPorts() bool { return hasPorts(p.proto) }

func hasPorts(proto uint8) bool {
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoLite:
		return true
	}
	return false
}

// build fills the image from the fields.
func (p *packet) build(kind int, anyS, anyD bool) {
	p.b, p.unk = [imageLen]byte{}, [imageLen]byte{}
	fillUnknown(p.unk[:12])
	if p.v6 {
		p.b[12], p.b[13] = 0x86, 0xdd
		p.buildIPv6()
	} else {
		p.b[12] = 0x08
		p.buildIPv4()
	}
	t := p.transOff()
	p.end = t
	if p.hasPorts() {
		p.end = t + 4
		p.putPorts(anyS, anyD)
	}
	p.buildTransport(t, kind)
	p.putAddrs()
}

func (p *packet) buildIPv4() {
	n := netOff
	p.b[n] = 0x45
	p.b[n+9] = p.proto
	fillUnknown(p.unk[n+1 : n+6]) // tos, length, id
	p.unk[n+6] = 0x40             // don't fragment; the fragment offset is 0
	p.unk[n+8] = 0xff             // ttl
	fillUnknown(p.unk[n+10 : n+12])
}

func (p *packet) buildIPv6() {
	n := netOff
	p.b[n] = 0x60
	p.unk[n] = 0x0f
	fillUnknown(p.unk[n+1 : n+6])
	p.b[n+6] = p.proto
	p.unk[n+7] = 0xff
}

func (p *packet) buildTransport(t, kind int) {
	switch p.proto {
	case protoTCP:
		p.end = t + 20
		fillUnknown(p.unk[t+4 : t+12]) // sequence numbers
		p.unk[t+12] = 0xf1             // data offset, accurate ECN
		p.b[t+13] = map[int]byte{first: 0x02, answer: 0x12, later: 0x10}[kind]
		p.unk[t+13] = 0xc0 // ECN
		if kind == later {
			p.unk[t+13] |= 0x08 // PSH
		}
		fillUnknown(p.unk[t+14 : t+18])
	case protoUDP, protoLite:
		p.end = t + 8
		fillUnknown(p.unk[t+4 : t+8])
	case protoICMP:
		p.end = t + 8
		p.b[t] = 8
		if kind == answer {
			p.b[t] = 0
		}
		fillUnknown(p.unk[t+2 : t+8])
	case protoICMPv6:
		p.end = t + 8
		p.b[t] = 128
		if kind == answer {
			p.b[t] = 129
		}
		fillUnknown(p.unk[t+2 : t+8])
	}
}

func fillUnknown(b []byte) {
	for i := range b {
		b[i] = 0xff
	}
}

// putPorts writes the ports into the image.
func (p *packet) putPorts(anyS, anyD bool) {
	t := p.transOff()
	binary.BigEndian.PutUint16(p.b[t:], p.sport)
	binary.BigEndian.PutUint16(p.b[t+2:], p.dport)
	mark := func(at int, unknown bool) {
		v := byte(0)
		if unknown {
			v = 0xff
		}
		p.unk[at], p.unk[at+1] = v, v
	}
	mark(t, anyS)
	mark(t+2, anyD)
}

// putAddrs writes the addresses into the image.
func (p *packet) putAddrs() {
	if p.v6 {
		s, d := p.src.As16(), p.dst.As16()
		copy(p.b[netOff+8:], s[:])
		copy(p.b[netOff+24:], d[:])
		return
	}
	s, d := p.src.As4(), p.dst.As4()
	copy(p.b[netOff+12:], s[:])
	copy(p.b[netOff+16:], d[:])
}

// takeFields reads addresses and ports back from the image after a rule wrote into it.
func (p *packet) takeFields() {
	n := netOff
	if p.v6 {
		p.src = netip.AddrFrom16([16]byte(p.b[n+8 : n+24]))
		p.dst = netip.AddrFrom16([16]byte(p.b[n+24 : n+40]))
	} else {
		p.src = netip.AddrFrom4([4]byte(p.b[n+12 : n+16]))
		p.dst = netip.AddrFrom4([4]byte(p.b[n+16 : n+20]))
	}
	if t := p.transOff(); p.hasPorts() {
		p.sport = binary.BigEndian.Uint16(p.b[t:])
		p.dport = binary.BigEndian.Uint16(p.b[t+2:])
	}
}

// portsUnknown tells which ports nobody knows.
func (p *packet) portsUnknown() (src, dst bool) {
	t := p.transOff()
	return p.hasPorts() && p.unk[t] != 0, p.hasPorts() && p.unk[t+2] != 0
}

// setMACs fills the link header; an empty string leaves an address unknown.
func (p *packet) setMACs(src, dst string) {
	p.linked = true
	put := func(at int, mac string) {
		var raw [6]byte
		n, err := hex.Decode(raw[:], []byte(strings.ReplaceAll(mac, ":", "")))
		if err != nil || n != 6 {
			fillUnknown(p.unk[at : at+6])
			return
		}
		copy(p.b[at:], raw[:])
		clear(p.unk[at : at+6])
	}
	if len(dst) != 17 {
		dst = ""
	}
	if len(src) != 17 {
		src = ""
	}
	put(linkOff, dst)
	put(linkOff+6, src)
}

// view is what a Hop shows of a packet, kept small until somebody wants the text.
type view struct {
	src, dst     netip.Addr
	sport, dport uint16
	proto        uint8
	v6           bool
	state        uint32
	in, out      string
}

func (p *packet) view() view {
	v := view{src: p.src, dst: p.dst, sport: p.sport, dport: p.dport, proto: p.proto, v6: p.v6, state: p.ctState}
	if p.in != nil {
		v.in = p.in.name
	}
	if p.out != nil {
		v.out = p.out.name
	}
	return v
}

// String prints "10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1".
func (v view) String() string {
	b := make([]byte, 0, 80)
	end := func(a netip.Addr, port uint16) {
		switch {
		case !a.IsValid():
			b = append(b, '?')
		case !hasPorts(v.proto):
			b = a.AppendTo(b)
		default:
			b = netip.AddrPortFrom(a, port).AppendTo(b)
		}
	}
	end(v.src, v.sport)
	b = append(b, " > "...)
	end(v.dst, v.dport)
	b = append(b, ' ')
	b = append(b, protoName(v.proto)...)
	if s := stateName(v.state); s != "" {
		b = append(append(b, ' '), s...)
	}
	if v.in != "" {
		b = append(append(b, " in "...), v.in...)
	}
	if v.out != "" {
		b = append(append(b, " out "...), v.out...)
	}
	return string(b)
}

func stateName(s uint32) string {
	switch s {
	case ctInvalid:
		return "invalid"
	case ctEstablished:
		return "established"
	case ctNew:
		return "new"
	case ctUntracked:
		return "untracked"
	}
	return ""
}

func protoName(p uint8) string {
	switch p {
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMPv6:
		return "icmpv6"
	}
	return "proto " + strconv.Itoa(int(p))
}

// protoNumber reads the protocol of a Flow.
func protoNumber(name string, v6 bool) (uint8, bool) {
	switch name {
	case "tcp":
		return protoTCP, true
	case "udp":
		return protoUDP, true
	case "sctp":
		return protoSCTP, true
	case "icmp", "icmpv6":
		if v6 {
			return protoICMPv6, true
		}
		return protoICMP, true
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return uint8(n), err == nil
}
