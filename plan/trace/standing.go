package trace

import (
	"net/netip"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// Standing follows a connection that exists already: the next packet of the side that opened it, and the host's own. f is the
// connection as its opener sends it. Conntrack knows the connection: it was not translated, and its mark may be any, for no
// State shows what conntrack holds.
func (w *Walker) Standing(f Flow) Result { return w.walk(opening{f: &f, stands: true}) }

// PickedUp is Standing for a connection that conntrack has not seen begin: because it was opened before any rule asked
// conntrack, or its entry was lost. The next packet is then new to it although it carries no SYN
// (net.netfilter.nf_conntrack_tcp_loose, which is on unless somebody set it to 0).
func (w *Walker) PickedUp(f Flow) Result { return w.walk(opening{f: &f, later: true}) }

// Tracks tells whether a rule of this state makes conntrack look at packets of a family: it does so only once one asks for it
// (nf_ct_netns_get), and connections that are older it does not know.
func (w *Walker) Tracks(v6 bool) bool {
	for _, t := range w.tables {
		if t.usesCT && (familyMatches(t.t.Family, v6) || t.t.Family == "bridge") {
			return true
		}
	}
	for h := range hooks {
		if len(w.nat[family(v6)][h]) > 0 {
			return true
		}
	}
	return false
}

// standing sends a packet each way of a connection that exists.
func (r *sweep) standing() bool {
	f := r.f
	v6 := f.Dst.Is6() && !f.Dst.Is4In6()
	proto, ok := protoNumber(f.Proto, v6)
	if !f.Dst.IsValid() || !f.Src.IsValid() || !ok || f.Src.Unmap().Is6() != v6 {
		return r.unmodelled("link", schema.Ref{}, "this is no packet that can be followed")
	}
	r.many = false
	p := r.begin("established", v6, proto)
	p.build(later)
	r.plainRequest(p)
	r.tuple(r.sent)
	r.tuple(r.reached)
	r.conn = r.newEntry()
	r.conn.seen, r.conn.srcDone, r.conn.dstDone = true, true, true
	for _, bit := range []int{ipsSeenReply, ipsAssured, ipsConfirmed, ipsSrcNATDone, ipsDstNATDone} {
		r.conn.setStatus(bit, bdd.True)
	}
	r.conn.at(ctMark, 4).freeAll(varCTMark)
	if !r.established() || !r.resolved() {
		return false
	}
	r.there = r.arrived
	invert(r.t1, r.reached)
	r.packet("reply", later, r.t1)
	r.dest = f.From
	return r.send("") && r.cameBack() && r.resolved()
}

// Own tells whether an address is the host's own.
func (w *Walker) Own(a netip.Addr) bool { return w.local(a.Unmap()) }
