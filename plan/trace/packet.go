package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
)

// Where the headers lie in a packet's image.
const (
	linkOff = 0
	netOff  = 14 // behind an Ethernet header
)

// The states of a packet for conntrack, as bits of "ct state" (NF_CT_STATE_BIT in nf_conntrack_common.h).
const (
	ctInvalid     = 1 << bitInvalid
	ctEstablished = 1 << bitEstablished
	ctNew         = 1 << bitNew
	ctUntracked   = 1 << bitUntracked
)

// Protocol numbers (protocols(5)).
const (
	protoICMP   = 1
	protoIGMP   = 2
	protoTCP    = 6
	protoUDP    = 17
	protoDCCP   = 33
	protoESP    = 50
	protoAuth   = 51
	protoICMPv6 = 58
	protoNone   = 59
	protoSCTP   = 132
	protoLite   = 136
)

// kind of packet: which TCP flags and ICMP type it carries.
const (
	first  = iota // the opening packet
	answer        // its answer
	later         // an opening-side packet of an established connection
)

func hasPorts(proto uint8) bool {
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoLite:
		return true
	}
	return false
}

// view is what a Hop shows of a packet, kept small until somebody wants the text.
type view struct {
	src, dst     netip.Addr
	sport, dport uint16
	proto        uint8
	v6           bool
	state        uint32
	in, out      string
	talk         byte // as in parcel
	// open holds addresses and ports (as in a tuple) where they are not constants.
	open *cells
}

// view is made for one packet; what is not settled yet becomes so when the text is made.
func (p *parcel) view(r *sweep) view {
	v := view{proto: p.proto, v6: p.v6, state: p.stateOf(), talk: p.talk}
	if p.in != nil {
		v.in = p.in.name
	}
	if p.out != nil {
		v.out = p.out.name
	}
	if p.image.len() == 0 {
		v.src, v.dst, v.dport = r.f.Src.Unmap(), r.f.Dst.Unmap(), r.f.DstPort
		return v
	}
	r.tuple(r.t2)
	if p.talk != 0 {
		r.t2.zero()
		r.t2.at(tupleSrc, p.alen()).copyFrom(p.by)
		r.t2.at(tupleDst, p.alen()).copyFrom(p.of)
	}
	if r.t2.known() {
		v.set(r.t2.b, p.alen())
	} else {
		c := r.copyOf(r.t2)
		v.open = &c
	}
	return v
}

func (v *view) set(t []byte, n int) {
	v.src, _ = netip.AddrFromSlice(t[tupleSrc : tupleSrc+n])
	v.dst, _ = netip.AddrFromSlice(t[tupleDst : tupleDst+n])
	v.sport, v.dport = binary.BigEndian.Uint16(t[tupleSPort:]), binary.BigEndian.Uint16(t[tupleDPort:])
}

func (v view) settled(r *sweep, of func(int) bool) view {
	if v.open != nil {
		n := 4
		if v.v6 {
			n = 16
		}
		v.set(v.open.value(r.x.Space, of), n)
	}
	return v
}

// String prints "10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1".
func (v view) String() string {
	if v.talk != 0 {
		return v.question()
	}
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

// question prints "ARP who has 10.20.0.11? tell 10.20.0.1 out virbr-lab", or its answer.
func (v view) question() string {
	how := "ARP"
	if v.v6 {
		how = "neighbour discovery"
	}
	s := fmt.Sprintf("%s who has %s? tell %s", how, v.dst, v.src)
	if v.talk == 2 {
		s = fmt.Sprintf("%s %s is here, to %s", how, v.dst, v.src)
	}
	if v.in != "" {
		s += " in " + v.in
	}
	if v.out != "" {
		s += " out " + v.out
	}
	return s
}
