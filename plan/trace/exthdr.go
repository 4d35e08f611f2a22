package trace

import (
	"encoding/binary"

	"github.com/vmnet/vmnet/plan/bdd"
)

// exthdr loads an extension header of IPv6, an option of IP or TCP, or a chunk of SCTP (net/netfilter/nft_exthdr.c). A given
// frame has them or not. The packets of a flow bear no extension header and no option of IP; which options TCP sends, and what
// SCTP carries, nobody can foresee.
func (r *sweep) exthdr(o *op) bdd.Node {
	p := &r.p
	present := o.e.Flags&1 != 0 // NFT_EXTHDR_F_PRESENT
	switch o.e.Op {
	case "ipv6", "":
		switch {
		case !p.v6: // nft_exthdr_ipv6_eval, nft_exthdr_ipv4_eval: whatever was asked
			return bdd.False
		case p.framed:
			at, found := findExtension(p.image.b[:p.end], o.e.Type)
			return r.header(o, present, found, at)
		}
		if t := byte(o.e.Type); present && (t == protoESP || t == protoAuth || t == protoNone) { // a flow's protocol to us
			r.load(o.dreg, []byte{0})
			r.reg(o.dreg, 1).setBit(7, p.layer4.equal(r.x, []byte{t}))
			return bdd.True
		}
		return r.header(o, present, false, 0)
	case "ip":
		switch {
		case p.v6:
			return bdd.False
		case r.atEgress && (p.image.unk[0] != 0 || p.image.b[0]&15 > 5): // there ipv4_find_option reads the link header
			return r.foreseen(o, int(o.len))
		case r.atEgress:
			return r.header(o, present, false, 0)
		case p.framed && !present && findOption(p.options(), o.e.Type): // the kernel reads it where it is not
			return r.foreseen(o, int(o.len))
		}
		return r.header(o, present, p.framed && findOption(p.options(), o.e.Type), 0)
	case "tcpopt":
		if p.framed {
			at, n := p.tcpOption(byte(o.e.Type))
			return r.header(o, present, n > 0 && !r.atAuth() && int(o.e.Offset)+int(o.len) <= n, at)
		}
		return r.mayHave(o, present, p.layer4.equal(r.x, []byte{protoTCP}))
	case "sctp":
		return r.mayHave(o, present, p.layer4.equal(r.x, []byte{protoSCTP}))
	}
	return r.foreseen(o, int(o.len))
}

// header loads bytes of a header that is there or not, and which begins at a place of the image.
func (r *sweep) header(o *op, present, found bool, at int) bdd.Node {
	n, from := int(o.len), at+int(o.e.Offset)
	switch {
	case present:
		r.load(o.dreg, []byte{map[bool]byte{true: 1}[found]})
	case !found || from+n > r.p.end:
		return bdd.False
	default:
		r.loadCells(o.dreg, r.p.image.at(from, n))
	}
	return bdd.True
}

// mayHave loads what some packets have, nobody knows which.
func (r *sweep) mayHave(o *op, present bool, may bdd.Node) bdd.Node {
	there := bdd.False
	if may != bdd.False {
		there = r.x.And(may, r.fixedBit("option "+o.e.Op+" "+string(rune(o.e.Type))))
	}
	switch {
	case present:
		r.load(o.dreg, []byte{0})
		r.reg(o.dreg, 1).setBit(7, there)
		return bdd.True
	case may == bdd.False:
		return bdd.False
	}
	r.fixed(r.reg(o.dreg, int(o.len)), "option "+o.e.Op+" "+string(rune(o.e.Type))+" at "+string(rune(o.e.Offset))+" "+string(rune(o.len)))
	return there
}

// findExtension looks for a header in the chain of a frame of IPv6 (ipv6_find_hdr).
func findExtension(frame []byte, kind uint32) (at int, found bool) {
	at, next := netOff+40, frame[netOff+6]
	for {
		if found = uint32(next) == kind; found || at+8 > len(frame) || !extends(next) {
			return at, found
		}
		n := extensionLen(next, frame[at:])
		next, at = frame[at], at+n
	}
}

// headerFragment is the header of a fragment: those are put together first, so that none is gone through.
const headerFragment = 44

// extends tells the headers that others follow: hop by hop, routing, authentication and destination options.
func extends(kind byte) bool { return kind == 0 || kind == 43 || kind == protoAuth || kind == 60 }

// extensionLen is the length of such a header.
func extensionLen(kind byte, header []byte) int {
	if kind == protoAuth {
		return 8 + 4*int(header[1])
	}
	return 8 + 8*int(header[1])
}

// extensions finds the protocol behind IPv6's extension headers (ipv6_skip_exthdr), and, in the image, the authentication header.
func extensions(n []byte) (off, auth int, proto uint8) {
	off, proto = 40, n[6]
	for off+8 <= len(n) && extends(proto) {
		if proto == protoAuth && auth == 0 {
			auth = netOff + off
		}
		proto, off = n[off], off+extensionLen(proto, n[off:])
	}
	return off, auth, proto
}

// atAuth tells whether the rules at hand take IPv6's authentication header for the transport header: those of nftables do
// (IP6_FH_F_AUTH in nf_tables_ipv6.h), legacy ones and conntrack look behind it.
func (r *sweep) atAuth() bool {
	return r.p.auth > 0 && len(r.within) > 0 && !r.within[len(r.within)-1].t.t.Legacy
}

// options are those of a given frame of IPv4.
func (p *parcel) options() []byte { return p.image.b[netOff+20 : min(p.trans, p.end)] }

// The options of IPv4 that are known here (ip(7), RFC 791, RFC 2113).
const (
	optEnd         = 0
	optNothing     = 1
	optRecordRoute = 7
	optAlert       = 148
)

// usualOptions tells whether the kernel takes all options as they are: no source routes, which a host rarely follows, and
// nothing that is badly made or that it does not know (__ip_options_compile in net/ipv4/ip_options.c).
func usualOptions(b []byte) bool {
	seen := map[byte]bool{}
	for len(b) > 0 {
		kind := b[0]
		switch {
		case kind == optEnd:
			return true
		case kind == optNothing:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) || seen[kind]:
			return false
		case kind == optAlert && b[1] >= 4:
		case kind == optRecordRoute && b[1] >= 7 && b[2] >= 4 && b[2]%4 == 0:
		default:
			return false
		}
		seen[kind] = true
		b = b[b[1]:]
	}
	return true
}

// findOption looks for one (ipv4_find_option): a router's alert only counts when its value is 0.
func findOption(b []byte, kind uint32) bool {
	for len(b) > 1 && b[0] != optEnd {
		switch {
		case b[0] == optNothing:
			b = b[1:]
			continue
		case uint32(b[0]) == kind:
			return kind != optAlert || b[2] == 0 && b[3] == 0
		}
		b = b[min(len(b), max(2, int(b[1]))):]
	}
	return false
}

// tcpOption looks for an option of TCP in a given frame (nft_exthdr_tcp_eval); its length is 0 where it is not.
func (p *parcel) tcpOption(kind byte) (at, length int) {
	if p.proto != protoTCP || p.end < p.trans+20 {
		return 0, 0
	}
	size := 4 * int(p.image.b[p.trans+12]>>4)
	if size < 20 || p.trans+size > p.end {
		return 0, 0
	}
	b := p.image.b[p.trans : p.trans+size]
	for i := 20; i < size-1; {
		n := 1
		if b[i] > 1 && b[i+1] != 0 {
			n = int(b[i+1])
		}
		if b[i] == kind {
			if i+n > size {
				return 0, 0
			}
			return p.trans + i, n
		}
		i += n
	}
	return 0, 0
}

// fragmented tells whether a packet of IPv4 is a part of one.
func fragmented(n []byte) bool { return binary.BigEndian.Uint16(n[6:])&0x3fff != 0 }
