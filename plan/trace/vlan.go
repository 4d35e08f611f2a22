package trace

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// overKey is a VLAN of a link.
type overKey struct {
	lower int // by number
	vid   uint16
}

// readFabrics indexes bridges and 802.1q links.
func (w *Walker) readFabrics() {
	w.fabrics, w.over = newFabrics(w.state), map[overKey]*device{}
	byIndex := map[int]*device{}
	for _, d := range w.devices {
		if d.index != 0 {
			byIndex[d.index] = d
		}
	}
	for _, d := range w.devices {
		f := d.link.Facts
		if d.link.Type != "vlan" || f == nil || f.Tag == nil || f.ParentElsewhere {
			continue
		}
		if d.lower = byIndex[f.ParentIndex]; d.lower != nil {
			w.over[overKey{f.ParentIndex, f.Tag.ID}] = d
		}
	}
}

// under is the bridge that an 802.1q link lies over; for every other link, itself.
func (w *Walker) under(d *device) *device {
	if d.lower != nil && d.lower.bridge {
		return d.lower
	}
	return d
}

// leadsTo tells whether what the host routes to a link may come out at a port: of the bridge that the link is, or, in its
// VLAN, that it lies over.
func (w *Walker) leadsTo(dev, port *device) bool {
	if port == nil || port.masterName == "" || w.under(dev).name != port.masterName {
		return false
	}
	b := w.fabrics[port.masterName]
	if b == nil || !b.aware() || port.link.Facts == nil || port.link.Facts.VLANs == nil || b.bridge.Facts == nil || b.bridge.Facts.VLANs == nil {
		return true
	}
	vlans := port.link.Facts.VLANs
	if dev.lower != nil {
		_, ok := vlans.Find(dev.link.Facts.Tag.ID)
		return ok
	}
	for _, own := range b.bridge.Facts.VLANs.Ranges { // those in which the bridge is the host's link
		for _, r := range vlans.Ranges {
			if own.Untagged && own.First <= r.Last && r.First <= own.Last {
				return true
			}
		}
	}
	return false
}

// behind is the port behind which the forwarding database has a MAC address; nil for none.
func (w *Walker) behind(br *device, vid uint16, mac string) *device {
	b := w.fabrics[br.name]
	if b == nil || mac == "" {
		return nil
	}
	e := b.fdb[stationAt{mac, vid}]
	if e == nil || e.State == "permanent" {
		return nil
	}
	d := w.devices[e.Link]
	if d == nil || d.master != br {
		return nil
	}
	return d
}

// halted ends the way for the reason that a fabric gives.
func (r *sweep) halted(h *halt) bool {
	ref := schema.LinkRef(h.at.Name)
	if h.code == "" {
		return r.unmodelled("bridge", ref, h.text)
	}
	return r.block(h.code, "bridge", ref, h.text, h.action)
}

// tagHides tells whether br_netfilter leaves a frame alone because it bears a tag (br_nf_pre_routing, br_nf_forward_ip,
// br_nf_post_routing: IS_IP and is_vlan_ip).
func (r *sweep) tagHides() bool { return r.tag != 0 && r.w.filterTagged == 0 }

// tagUnseen stops what a frame with a tag meets that is not modelled: rules, which see the tag in its header, and
// br_netfilter where it shows such frames to IP.
func (r *sweep) tagUnseen(groups [][]entry) bool {
	if r.tag == 0 {
		return true
	}
	for _, g := range groups {
		for _, e := range g {
			switch {
			case e.base != nil:
				st := r.station(e.base, e.base.c, -1)
				st.text, st.action = fmt.Sprintf("rules for a frame with the tag of VLAN %d", r.tag), "depends"
				return r.over(Depends, st)
			case e.kind == entryCallIP && r.p.physIn != nil && !r.tagHides() && r.w.callsIP(r.p.physIn.master, r.p.v6):
				return r.unmodelled("bridge", schema.SysctlRef("net.bridge.bridge-nf-filter-vlan-tagged"), fmt.Sprintf("br_netfilter and a frame with the tag of VLAN %d", r.tag))
			}
		}
	}
	return true
}

// belowUp checks what a link rests on: the lower device of an 802.1q link, the slaves of a bond. Rules at their ingress and
// egress see frames that are not the link's, and are not followed.
func (r *sweep) belowUp(d *device) bool {
	if d.link.Type == "vlan" {
		switch {
		case d.lower == nil:
			return r.unmodelled("link", schema.LinkRef(d.name), d.text()+": its lower device is not known")
		case d.lower.bridge && d.masterName != "":
			return r.unmodelled("link", schema.LinkRef(d.name), d.text()+", over the bridge "+d.lower.name)
		case !d.lower.up:
			return r.block(CodeLinkDown, "link", schema.LinkRef(d.lower.name), d.lower.text(), "down")
		case !d.lower.bridge && r.w.hooked(d.lower):
			return r.unmodelled("link", schema.LinkRef(d.lower.name), "rules at "+d.lower.name+" see the frames of "+d.name+" with a tag")
		}
	}
	switch d.link.Type {
	case "bond", "team":
		for _, s := range r.w.devices {
			if s.master == d && r.w.hooked(s) {
				return r.unmodelled("link", schema.LinkRef(s.name), "rules at "+s.name+", by which some frames of "+d.name+" go")
			}
		}
	}
	return true
}

// hooked tells whether there are rules at a link itself.
func (w *Walker) hooked(d *device) bool { return len(w.ingress[d.name])+len(w.egress[d.name]) > 0 }

// sendsTagged finds with which tag the machine behind a link sends. The request decides: its later packets bear the same, and
// its answer that with which it arrived.
func (r *sweep) sendsTagged(d *device) bool {
	r.tag = 0
	switch {
	case d.lower != nil && d.lower.bridge:
		r.tag = d.link.Facts.Tag.ID
		return true
	case r.p.framed || d.master == nil || !d.master.bridge:
		return true
	case r.p.half == "reply":
		r.tag = r.there.tag
		return true
	case r.p.half == "established":
		r.tag = r.tagSent
		return true
	}
	tag, ok := r.chooseTag(d)
	r.tag, r.tagSent = tag, tag
	return ok
}

// mostTags bounds the tags that are tried for a machine of which nothing tells how it sends.
const mostTags = 8

// chooseTag is the tag of a request. Where the port leaves a choice, the wire behind an uplink carries every VLAN, and the
// question is about who is in that of the destination; a guest has made its choice, which nobody here may know.
func (r *sweep) chooseTag(d *device) (uint16, bool) {
	b := r.w.fabrics[d.master.name]
	if !b.aware() {
		return 0, true
	}
	mac := ""
	if c := r.senderMAC(d); c.len() == 6 && c.known() {
		mac = macText(c.b)
	}
	tags := b.senderTags(d.link, mac)
	if len(tags) == 1 {
		return tags[0], true
	}
	if !guestLike(d) {
		if there := r.vlansThere(d.master, tags, d); len(there) == 1 {
			return there[0], true
		} else if len(there) > 1 {
			tags = there
		}
	}
	st := station{stage: "bridge", ref: schema.LinkRef(d.name), rule: -1, text: fmt.Sprintf("%s takes frames of several VLANs (%s): in which the sender is, is not known", d.name, d.link.Facts.VLANs)}
	if len(tags) > mostTags {
		st.action = "depends"
		return 0, r.over(Depends, st)
	}
	return tags[r.pick(len(tags), "tag of "+d.name, st)], true
}

// guestLike tells a port that one machine is behind from one that leads to a network.
func guestLike(d *device) bool { return d.link.Type == "tap" || d.link.Type == "veth" }

// vlansThere are those of the tags with which a frame gets into the VLAN of its destination: of the port it must leave by, or
// of the host's own link that has the address or the network.
func (r *sweep) vlansThere(br *device, tags []uint16, from *device) []uint16 {
	pvid := from.link.Facts.VLANs.PVID()
	vidOf := func(tag uint16) uint16 {
		if tag == 0 {
			return pvid
		}
		return tag
	}
	only := func(good func(vid uint16) bool) []uint16 {
		var out []uint16
		for _, t := range tags {
			if good(vidOf(t)) {
				out = append(out, t)
			}
		}
		return out
	}
	dest := r.w.devices[r.dest]
	if dest != nil && dest.master == br && dest.link.Facts != nil && dest.link.Facts.VLANs != nil {
		v := dest.link.Facts.VLANs
		if same := only(func(vid uint16) bool { r, ok := v.Find(vid); return ok && r.Untagged }); len(same) > 0 {
			return same
		}
		return only(func(vid uint16) bool { _, ok := v.Find(vid); return ok })
	}
	at := func(good func(d *device) bool) []uint16 {
		return only(func(vid uint16) bool { d := r.w.presence(br, vid); return d != nil && good(d) })
	}
	if dest != nil && r.w.under(dest) == br {
		return at(func(d *device) bool { return d == dest })
	}
	for _, end := range []cells{r.p.dst(), r.p.src()} {
		a, ok := end.addr()
		if !ok {
			continue
		}
		if holds := at(func(d *device) bool {
			for _, x := range d.addrs {
				if x.Prefix.Contains(a) {
					return true
				}
			}
			return false
		}); len(holds) > 0 {
			return holds
		}
	}
	return at(func(d *device) bool { return hasAddr(d, r.p.v6) })
}

// presence is the host's link in a VLAN of a bridge: the bridge where its frames come up without a tag, else the 802.1q link
// over it; nil for none. In a bridge that does not look, the VLAN is that of the frame's tag.
func (w *Walker) presence(br *device, vid uint16) *device {
	b := w.fabrics[br.name]
	switch {
	case !b.aware() && vid == 0:
		return br
	case b.aware():
		if tag, h := b.member(b.bridge, vid); h == nil && tag == 0 {
			return br
		}
	}
	return w.over[overKey{br.index, vid}]
}

// admitted lets a frame into a bridge, and says which VLAN it is in there: 0 where the bridge does not look.
func (r *sweep) admitted(br, port *device) (vid uint16, ok bool) {
	b := r.w.fabrics[br.name]
	if port.unknown {
		switch {
		case !b.aware():
		case r.tag != 0:
			vid, r.tag = r.tag, 0
		case r.p.half == "reply":
			vid = r.there.vid
		default: // in that VLAN of which the bridge itself is the host's link
			vlans, h := b.vlansOf(b.bridge)
			if h != nil {
				return 0, r.halted(h)
			}
			if vid = vlans.PVID(); vid == 0 {
				return 0, r.unmodelled("bridge", schema.LinkRef(br.name), br.name+" has no PVID: in which VLAN the sender is, is not known")
			}
			if len(r.w.somePorts(br, vid)) == 0 { // nobody can be in it
				vid = cmp.Or(r.w.guestsVLAN(b), vid)
			}
		}
		return vid, r.comesBySome(br, vid)
	}
	f := frame{tag: r.tag}
	if c := r.senderMAC(port); c.len() == 6 && c.known() {
		f.src = macText(c.b)
	}
	if r.tag != 0 {
		if d := r.w.over[overKey{port.index, r.tag}]; d != nil { // vlan_do_receive comes before the bridge
			return 0, r.unmodelled("link", schema.LinkRef(d.name), fmt.Sprintf("%s takes the frames of VLAN %d before %s sees them", d.name, r.tag, br.name))
		}
	}
	vid, h := b.admit(port.link, f)
	if h != nil {
		return 0, r.halted(h)
	}
	return vid, true
}

// guestsVLAN is the one VLAN that the guests' ports of a bridge put frames without a tag in; 0 where there is none, or several.
func (w *Walker) guestsVLAN(b *fabric) uint16 {
	vid := uint16(0)
	for _, l := range b.ports {
		d := w.devices[l.Name]
		if d == nil || !guestLike(d) || l.Facts == nil || l.Facts.VLANs == nil || b.closed(l) != nil {
			continue
		}
		switch v := l.Facts.VLANs.PVID(); {
		case v == 0 || v == vid:
		case vid != 0:
			return 0
		default:
			vid = v
		}
	}
	return vid
}

// hostIn is the link of the host that a frame in a VLAN may be for. Where it has none there, but the sender is in a network of
// the bridge itself, that is meant, and comesUp says what is wrong; else one without addresses stands for it.
func (r *sweep) hostIn(br *device, vid uint16) (*device, bool) {
	b := r.w.fabrics[br.name]
	if !b.aware() {
		vid = r.tag
	}
	if d := r.w.presence(br, vid); d != nil {
		return d, true
	}
	if hasAddr(br, r.p.v6) {
		src, _, _, ok := r.onBridge(br)
		if !ok || src {
			return br, ok
		}
	}
	return &device{name: fmt.Sprintf("%s in VLAN %d", br.name, vid), up: true, carrier: true, link: &schema.Link{}, forwarding: -1}, true
}

// comesUp checks that a frame for the host gets to the link that has its addresses.
func (r *sweep) comesUp(br, l3 *device, vid uint16) bool {
	b := r.w.fabrics[br.name]
	tag, h := b.up(frame{tag: r.tag}, vid)
	if h != nil {
		return r.halted(h)
	}
	r.tag = tag
	if tag == 0 && l3 == br || tag != 0 && l3 != br {
		return true
	}
	if tag != 0 {
		return r.block(CodeTagged, "bridge", schema.LinkRef(br.name), fmt.Sprintf("frames of VLAN %d come up at %s with a tag, and no 802.1q link takes it off; its VLANs: %s", tag, br.name, b.bridge.Facts.VLANs), "tagged")
	}
	return r.block(CodeTagged, "bridge", schema.LinkRef(l3.name), fmt.Sprintf("frames of VLAN %d come up at %s without a tag: not at %s", vid, br.name, l3.name), "not tagged")
}

// leavesBy checks a frame's way out by a port (nil in: of the host), and takes or leaves its tag.
func (r *sweep) leavesBy(br, in, out *device, vid uint16) bool {
	b := r.w.fabrics[br.name]
	p := &r.p
	f := frame{tag: r.tag, cast: p.cast, dst: r.receiverMAC()}
	if in != nil || f.dst == "" { // a machine does not ask the host's neighbour table
		f.dst = cmp.Or(r.machineMAC(br), f.dst)
	}
	if out.unknown || in != nil && in.unknown {
		if !r.leavesBySome(br, in, out, f, vid) {
			return false
		}
		if out.unknown {
			r.tag = 0
			return true
		}
		in = nil // it was asked about
	}
	var from *schema.Link
	if in != nil {
		from = in.link
	}
	tag, h := b.egress(from, out.link, f, vid)
	if h == nil {
		h = b.finds(from, out.link, f, vid)
	}
	if h == nil {
		h = r.asks(from, out)
	}
	if h == nil {
		h = r.understands(b, out, tag, vid, f.dst)
	}
	if h != nil {
		return r.halted(h)
	}
	r.tag = tag
	return true
}

// receiverMAC is the MAC address that a frame is for; "" where it is not known.
func (r *sweep) receiverMAC() string {
	if c := r.p.image.at(linkOff, 6); r.p.linked && c.known() {
		return macText(c.b)
	}
	return ""
}

// asks checks that who opens the connection can find the receiver's MAC address: a port that gets no broadcast hears no ARP
// request, one that gets no multicast no neighbour solicitation. What the receiver itself has sent teaches the others its
// address; so, and by entries made by hand, it may be known all the same.
func (r *sweep) asks(in *schema.Link, out *device) *halt {
	p := &r.p
	if p.half == "reply" || p.framed || p.cast != unicast || in == nil {
		return nil
	}
	cast, word := toAll, "bcast_flood off: it hears no ARP request"
	if p.v6 {
		cast, word = toMany, "mcast_flood off: it hears no neighbour solicitation"
	}
	if floods(in, out.link, cast) {
		return nil
	}
	return unknownAt(out.link, word+"; who does not know its MAC address cannot reach it")
}

// understands checks that the machine behind a port takes a frame as it is tagged there. The sender of the request speaks with
// the tag it sent; another machine is known to when the forwarding database has heard it in that VLAN.
func (r *sweep) understands(b *fabric, out *device, tag, vid uint16, mac string) *halt {
	p := &r.p
	if p.half == "reply" && r.f.From == out.name {
		if tag == r.tagSent {
			return nil
		}
		return &halt{CodeTagged, out.link, fmt.Sprintf("the answer leaves by %s %s, the question came %s; its VLANs: %s", out.name, tagWords(tag), tagWords(r.tagSent), vlansText(out.link)), "tagged"}
	}
	if v := out.link.Facts; tag != 0 && guestLike(out) && v != nil && v.VLANs != nil && v.VLANs.PVID() == vid {
		return &halt{CodeTagged, out.link, fmt.Sprintf("frames leave by %s %s, though those that come without one are in that VLAN: Egress Untagged is missing; its VLANs: %s", out.name, tagWords(tag), v.VLANs), "tagged"}
	}
	if !guestLike(out) || p.framed || tag == 0 && !b.tagsToo(out.link) {
		return nil
	}
	if e := b.fdb[stationAt{mac, vid}]; mac != "" && e != nil && e.Link == out.name {
		return nil
	}
	return unknownAt(out.link, fmt.Sprintf("frames leave by it %s: whether the machine there takes them is not known; its VLANs: %s", tagWords(tag), vlansText(out.link)))
}

// tagsToo tells whether a port carries frames with and without a tag.
func (b *fabric) tagsToo(port *schema.Link) bool {
	return b.aware() && port.Facts != nil && port.Facts.VLANs != nil &&
		slices.ContainsFunc(port.Facts.VLANs.Ranges, func(r schema.VLANRange) bool { return !r.Untagged && !r.PVID })
}

func vlansText(l *schema.Link) string {
	if l.Facts == nil {
		return "unknown"
	}
	return l.Facts.VLANs.String()
}

func tagWords(tag uint16) string {
	if tag == 0 {
		return "without a tag"
	}
	return fmt.Sprintf("with the tag of VLAN %d", tag)
}

// leftBy notes where a frame went.
func (r *sweep) leftBy(br, l3, out *device, vid uint16) {
	r.arrived = arrival{out: l3, port: out, tag: r.tag, vid: vid}
	action := "out by " + out.name
	if vid != 0 {
		action += fmt.Sprintf(", in VLAN %d, %s", vid, tagWords(r.tag))
	}
	r.note(r.pc, station{stage: "bridge", ref: schema.LinkRef(br.name), rule: -1, text: br.text(), action: action})
	r.tag = 0
}
