package trace

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
)

// begin makes an empty packet of a half: nothing in it is settled but its family and protocol.
func (r *sweep) begin(half string, v6 bool, proto uint8) *parcel {
	p := &r.p
	*p = parcel{half: half, v6: v6, proto: proto, image: r.parcel.image, mark: r.parcel.mark, kind: r.parcel.kind, layer4: r.parcel.layer4}
	p.trans = netOff + 20
	if v6 {
		p.trans = netOff + 40
	}
	p.image.at(0, p.trans+20).zero()
	p.mark.zero()
	p.kind.zero()
	p.layer4.put([]byte{proto})
	return p
}

// restOf is where the variables of what nobody asked about begin for a half: its image in order, and more.
func restOf(half string) int {
	switch half {
	case "reply":
		return varRest + restLen
	case "established":
		return varRest + 2*restLen
	}
	return varRest
}

// open makes bits of the image unknown.
func (p *parcel) open(from, to int, mask byte) {
	first := restOf(p.half)
	for k := from; k < to; k++ {
		p.image.free(k, mask, first)
	}
}

// build fills the image with the headers of a packet; addresses and ports are the caller's.
func (p *parcel) build(kind int) {
	p.open(0, 12, 0xff)
	if p.v6 {
		p.image.b[12], p.image.b[13] = 0x86, 0xdd
		p.buildIPv6()
	} else {
		p.image.b[12] = 0x08
		p.buildIPv4()
	}
	p.end = p.trans
	if p.hasPorts() {
		p.end = p.trans + 4
	}
	p.buildTransport(kind)
	p.filled = p.end
}

func (p *parcel) buildIPv4() {
	n, b := netOff, p.image.b
	b[n] = 0x45
	b[n+9] = p.proto
	p.open(n+1, n+6, 0xff)   // tos, length, id
	p.open(n+6, n+7, 0x40)   // don't fragment; the fragment offset is 0
	p.open(n+8, n+9, 0xff)   // ttl
	p.open(n+10, n+12, 0xff) // checksum
}

func (p *parcel) buildIPv6() {
	n, b := netOff, p.image.b
	b[n] = 0x60
	p.open(n, n+1, 0x0f)
	p.open(n+1, n+6, 0xff)
	b[n+6] = p.proto
	p.open(n+7, n+8, 0xff)
}

func (p *parcel) buildTransport(kind int) {
	t, b := p.trans, p.image.b
	switch p.proto {
	case protoTCP:
		p.end = t + 20
		p.open(t+4, t+12, 0xff)  // sequence numbers
		p.open(t+12, t+13, 0xf1) // data offset, accurate ECN
		b[t+13] = map[int]byte{first: 0x02, answer: 0x12, later: 0x10}[kind]
		p.open(t+13, t+14, 0xc0) // ECN
		if kind == later {
			p.open(t+13, t+14, 0x08) // PSH
		}
		p.open(t+14, t+18, 0xff)
	case protoUDP, protoLite:
		p.end = t + 8
		p.open(t+4, t+8, 0xff)
	case protoICMP, protoICMPv6:
		p.end = t + 8
		b[t] = echoType(p.proto, kind)
		p.open(t+2, t+8, 0xff)
	}
}

// echoType is an echo request's or reply's.
func echoType(proto uint8, kind int) byte {
	switch {
	case proto == protoICMP && kind == answer:
		return 0
	case proto == protoICMP:
		return 8
	case kind == answer:
		return 129
	}
	return 128
}

// fillUp makes the bytes behind the headers unknown, the first time a rule looks there.
func (p *parcel) fillUp() {
	if p.filled < p.image.len() {
		p.open(p.filled, p.image.len(), 0xff)
		p.filled = p.image.len()
	}
}

// putPorts and the others write cells into the headers.
func (p *parcel) putPorts(src, dst cells) {
	if p.hasPorts() {
		p.sport().copyFrom(src)
		p.dport().copyFrom(dst)
	}
}

// tuple gives the packet's tuple into out. Protocols without ports have zeros.
func (r *sweep) tuple(out cells) {
	p := &r.p
	out.at(0, tupleLen).zero()
	out.at(tupleSrc, p.alen()).copyFrom(p.src())
	out.at(tupleDst, p.alen()).copyFrom(p.dst())
	if p.hasPorts() {
		out.at(tupleSPort, 2).copyFrom(p.sport())
		out.at(tupleDPort, 2).copyFrom(p.dport())
	}
}

// hops is the packet's TTL or hop limit.
// tos is IPv4's type of service or IPv6's traffic class.
func (p *parcel) tos(x *space) cells {
	if !p.v6 {
		return p.image.at(netOff+1, 1)
	}
	out := newCells(1)
	for i := range 8 {
		out.setBit(i, p.image.bit(x.Space, 8*netOff+4+i))
	}
	return out
}

func (p *parcel) hops() cells {
	if p.v6 {
		return p.image.at(netOff+7, 1)
	}
	return p.image.at(netOff+8, 1)
}

// invert turns a tuple round.
func invert(out, t cells) {
	out.at(tupleSrc, 16).copyFrom(t.at(tupleDst, 16))
	out.at(tupleDst, 16).copyFrom(t.at(tupleSrc, 16))
	out.at(tupleSPort, 2).copyFrom(t.at(tupleDPort, 2))
	out.at(tupleDPort, 2).copyFrom(t.at(tupleSPort, 2))
}

// setMACs fills the link header; cells without length leave an address unknown.
func (p *parcel) setMACs(src, dst cells) {
	p.linked = true
	for at, mac := range map[int]cells{linkOff: dst, linkOff + 6: src} {
		if mac.len() == 6 {
			p.image.at(at, 6).copyFrom(mac)
		} else {
			p.open(at, at+6, 0xff)
		}
	}
}

// hardwareAddress reads a MAC address; no cells for what is none.
func hardwareAddress(mac string) cells {
	if len(mac) != 17 {
		return cells{}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(mac, ":", ""))
	if err != nil || len(b) != 6 {
		return cells{}
	}
	return cells{b: b, unk: make([]byte, 6), n: make([]bdd.Node, 48)}
}

// parse takes a packet from a frame. ok is false for what is no packet of IP, and for a fragment that is not the first.
func (r *sweep) parse(frame []byte) (ok bool, why string) {
	if len(frame) < netOff+20 {
		return false, "this is no packet of IP"
	}
	var v6 bool
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
	case 0x86dd:
		v6 = true
	default:
		return false, "this is no packet of IP"
	}
	p := r.begin("request", v6, 0)
	n := frame[netOff:]
	switch {
	case v6:
		if len(n) < 40 || n[0]>>4 != 6 {
			return false, "this is no packet of IPv6"
		}
		off, auth, proto := extensions(n)
		if proto == headerFragment {
			return false, "fragments are put together first"
		}
		p.proto, p.trans, p.auth = proto, netOff+off, auth
	default:
		head := int(n[0]&0xf) * 4
		if n[0]>>4 != 4 || head < 20 || len(n) < head {
			return false, "this is no packet of IPv4"
		}
		if fragmented(n) {
			return false, "fragments are put together first"
		}
		if !usualOptions(n[20:head]) {
			return false, "its IP options may stop it"
		}
		if total := int(binary.BigEndian.Uint16(n[2:])); total >= head && total < len(n) {
			n = n[:total] // padding of short frames is cut off
		}
		p.proto, p.trans = n[9], netOff+head
	}
	frame = frame[:netOff+len(n)]
	p.layer4.put([]byte{p.proto})
	if p.trans+20 > imageCells {
		return false, "headers longer than are looked at"
	}
	p.image.zero()
	p.image.put(frame[:min(len(frame), imageCells)])
	p.end = min(len(frame), imageCells)
	p.filled = imageCells
	p.framed, p.length = true, len(frame)-netOff
	return true, ""
}
