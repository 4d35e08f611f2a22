package trace

import (
	"encoding/binary"

	"github.com/vmnet/vmnet/plan/bdd"
)

// The numbers of variables, which are their order: the matches nobody can foresee first, then what rules ask about most
// (measured on real rulesets: another order costs up to 75 times the nodes), the rest of the headers last.
const (
	varUnknown = 0 // one for each match nobody can foresee
	maxUnknown = 1 << 14
	varIn      = varUnknown + maxUnknown
	ifaceBits  = 16
	varOut     = varIn + ifaceBits
	varProto   = varOut + ifaceBits
	varState   = varProto + 8 // conntrack's state, and whether the packet is an answer
	varStatus  = varState + 8 // and its status
	varDst     = varStatus + 32
	varDPort   = varDst + 128
	varSrc     = varDPort + 16
	varSPort   = varSrc + 128
	varMark    = varSPort + 16
	varCTMark  = varMark + 32
	varTuples  = varCTMark + 32 // the tuples of a connection: as in ctCells
	varKind    = varTuples + 8*ctCells
	varRest    = varKind + 8 // the rest of a header, one range for each half of a flow
	restLen    = 8 * imageCells
	varSoft    = varRest + 4*restLen // and what is not in the image
)

// imageCells is how much of a packet is kept: link header, network header with options, the begin of what it carries.
const imageCells = 160

// ctCells is the size of a connection's entry: the tuples (source, destination, ports) of both directions, its status and
// its mark.
const (
	ctOrig   = 0
	ctReply  = 36
	ctStatus = 72
	ctMark   = 76
	ctCells  = 80
)

// entryCT is an entry of conntrack: what the first packet left behind.
type entryCT struct {
	cells
	seen bool // an answer came
	// dstDone and srcDone say that the NAT core has decided on a mapping.
	dstDone, srcDone bool
}

// The states of a packet for conntrack, by their bits in "ct state".
const (
	bitInvalid     = 0
	bitEstablished = 1
	bitRelated     = 2
	bitNew         = 3
	bitUntracked   = 6
	stateBits      = 7
)

// parcel is a packet on its way; or many that go the same way through the same hooks, each bit a function of what they
// are.
type parcel struct {
	half string
	v6   bool
	// proto is the protocol where it is the same for all; layer4 holds it for rules.
	proto uint8

	image  cells // link header at linkOff, network header at netOff
	mark   cells
	kind   cells // pkttype
	cast   int   // what it was on the wire: one of unicast, broadcast, multicast
	layer4 cells
	trans  int  // where the transport header begins
	auth   int  // where IPv6's authentication header does, 0 for none
	end    int  // behind the last byte that is surely there
	filled int  // behind the last byte that the image holds
	length int  // from the network header on, where framed
	framed bool // given to the last bit

	// talk is set for who asks for a MAC address (1), and who answers (2); by and of are the addresses of both.
	talk   byte
	by, of cells

	made    bool // by the host, so that it has a socket and no link header
	linked  bool // has a link header
	in, out *device
	physIn  *device // the bridge port it came in by
	// inAny and outAny, when set, stand for every interface at once, instead of in and out.
	inAny, outAny *ifaces

	ct *entryCT
	// has tells for which packets there is an entry; ct is nil where that is False.
	has    bdd.Node
	answer bdd.Node            // for which it is of the reply direction
	state  [stateBits]bdd.Node // False each before conntrack has seen it
}

func newParcel() parcel {
	all := newCells(imageCells + 8)
	return parcel{image: all.at(0, imageCells), mark: all.at(imageCells, 4), kind: all.at(imageCells+4, 1), layer4: all.at(imageCells+5, 1)}
}

// alen is the length of an address.
func (p *parcel) alen() int {
	if p.v6 {
		return 16
	}
	return 4
}

// src, dst, sport and dport are views into the image.
func (p *parcel) src() cells {
	if p.v6 {
		return p.image.at(netOff+8, 16)
	}
	return p.image.at(netOff+12, 4)
}

func (p *parcel) dst() cells {
	if p.v6 {
		return p.image.at(netOff+24, 16)
	}
	return p.image.at(netOff+16, 4)
}

func (p *parcel) sport() cells { return p.image.at(p.trans, 2) }

func (p *parcel) dport() cells { return p.image.at(p.trans+2, 2) }

func (p *parcel) hasPorts() bool { return hasPorts(p.proto) }

// Offsets in a tuple.
const (
	tupleSrc   = 0
	tupleDst   = 16
	tupleSPort = 32
	tupleDPort = 34
	tupleLen   = 36
)

// setState makes the packet of one state.
func (p *parcel) setState(bit int) {
	p.state = [stateBits]bdd.Node{}
	if bit >= 0 {
		p.state[bit] = bdd.True
	}
}

// stateOf is the state where it is one for all: a mask as in "ct state"; 0 before conntrack.
func (p *parcel) stateOf() uint32 {
	for i, f := range p.state {
		if f == bdd.True {
			return 1 << i
		}
	}
	return 0
}

// seen tells for which packets conntrack has decided.
func (p *parcel) seen(s *bdd.Space) bdd.Node {
	f := bdd.False
	for _, x := range p.state {
		f = s.Or(f, x)
	}
	return f
}

// word32 makes cells of a word in the host's byte order.
func (c cells) word32(v uint32) {
	binary.NativeEndian.PutUint32(c.b, v)
	clear(c.unk[:4])
}

// arp tells whether it is a packet of ARP, not of IP.
func (p *parcel) arp() bool { return p.talk != 0 && !p.v6 }
