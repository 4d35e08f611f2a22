package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// fabric is one bridge as its forwarding code sees it: pure answers about frames, for the walk to ask. Sources:
// net/bridge/br_input.c (br_handle_frame_finish), br_forward.c (should_deliver, br_flood), br_device.c (br_dev_xmit), br_vlan.c
// (__allowed_ingress, br_allowed_egress, br_handle_vlan).
type fabric struct {
	bridge *schema.Link
	ports  []*schema.Link // by name
	fdb    map[stationAt]*schema.FDBEntry
}

// stationAt is a key of the forwarding database: VLAN 0 in a bridge that does not filter by VLAN.
type stationAt struct {
	mac  string
	vlan uint16
}

// newFabrics collects what a state knows of its bridges, by name.
func newFabrics(s *schema.State) map[string]*fabric {
	all := map[string]*fabric{}
	for l := range schema.Each[*schema.Link](s) {
		if l.Type == "bridge" {
			all[l.Name] = &fabric{bridge: l, fdb: map[stationAt]*schema.FDBEntry{}}
		}
	}
	for l := range schema.Each[*schema.Link](s) {
		if l.Master != nil && all[*l.Master] != nil {
			all[*l.Master].ports = append(all[*l.Master].ports, l)
		}
	}
	for _, b := range all {
		slices.SortFunc(b.ports, func(x, y *schema.Link) int { return cmp.Compare(x.Name, y.Name) })
	}
	for e := range schema.Each[*schema.FDBEntry](s) {
		if b := all[e.Master]; b != nil {
			b.fdb[stationAt{e.MAC, e.VLAN}] = e
		}
	}
	return all
}

// frame is what a bridge looks at. Tag is the VLAN of an 802.1Q tag, 0 for none; a MAC address that is not known is ""; cast is
// unicast, toMany or toAll.
type frame struct {
	tag      uint16
	src, dst string
	cast     int
}

// halt is why a bridge takes a frame no further. With no code set it is not known whether it does.
type halt struct {
	code   string
	at     *schema.Link
	text   string
	action string
}

func unknownAt(l *schema.Link, why string) *halt { return &halt{at: l, text: l.Name + ": " + why} }

// aware tells whether the bridge filters by VLAN.
func (b *fabric) aware() bool {
	return b.bridge.Bridge != nil && on(b.bridge.Bridge.VLANFilter)
}

func on(v *bool) bool { return v != nil && *v }

// onUnlessOff is for switches that a new port has on.
func onUnlessOff(v *bool) bool { return v == nil || *v }

// admit lets a frame into the bridge by a port, or from the host for nil, and says which VLAN it is then in: 0 when the
// bridge does not look.
func (b *fabric) admit(in *schema.Link, f frame) (vid uint16, h *halt) {
	at := b.bridge
	if in != nil {
		at = in
		if h := b.closed(in); h != nil {
			return 0, h
		}
	}
	if b.aware() {
		if vid, h = b.ingress(at, f.tag); h != nil {
			return 0, h
		}
	}
	if in != nil && in.Facts != nil && in.Facts.PortFacts != nil {
		return vid, b.peculiar(in, f, vid)
	}
	return vid, nil
}

// closed checks the state of a port that is to carry a frame in or out.
func (b *fabric) closed(port *schema.Link) *halt {
	if f := b.bridge.Facts; f != nil && f.BridgeFacts != nil && f.BridgeFacts.MST {
		return unknownAt(port, "its state is that of a group of VLANs (MST)")
	}
	if port.Port == nil || port.Port.State == nil {
		return nil
	}
	if s := *port.Port.State; s != "forwarding" && s != "" {
		return &halt{CodePortState, port, port.String() + " state " + s, s}
	}
	return nil
}

// ingress is __allowed_ingress: which VLAN a frame is in that comes by a port, or from the bridge itself.
func (b *fabric) ingress(at *schema.Link, tag uint16) (uint16, *halt) {
	vlans, h := b.vlansOf(at)
	if h != nil {
		return 0, h
	}
	vid := tag
	if tag == 0 {
		if vid = vlans.PVID(); vid == 0 {
			return 0, &halt{CodeVLANIn, at, at.Name + " has no PVID: frames without a tag are not taken; its VLANs: " + vlans.String(), "no PVID"}
		}
	}
	r, ok := vlans.Find(vid)
	if !ok {
		return 0, &halt{CodeVLANIn, at, fmt.Sprintf("%s is not in VLAN %d; its VLANs: %s", at.Name, vid, vlans), fmt.Sprintf("VLAN %d not allowed", vid)}
	}
	if at == b.bridge && r.State == "learning" { // br_dev_xmit does not ask again, as br_handle_frame_finish does
		return vid, nil
	}
	return vid, vlanClosed(at, r, vid)
}

// vlansOf are the VLANs of a port or of the bridge itself. A kind of tag that frames of guests do not bear is not followed.
func (b *fabric) vlansOf(l *schema.Link) (*schema.VLANs, *halt) {
	if l.Facts == nil || l.Facts.VLANs == nil {
		return nil, unknownAt(l, "vlan_filtering is on in "+b.bridge.Name+", and its VLANs are not known")
	}
	if f := b.bridge.Facts; f != nil && f.BridgeFacts != nil && f.BridgeFacts.VLANProto != "802.1Q" {
		return nil, unknownAt(b.bridge, "its VLANs are those of "+f.BridgeFacts.VLANProto+" tags")
	}
	return l.Facts.VLANs, nil
}

// vlanClosed is br_vlan_state_allowed.
func vlanClosed(at *schema.Link, r schema.VLANRange, vid uint16) *halt {
	if r.State == "" {
		return nil
	}
	return &halt{CodePortState, at, fmt.Sprintf("%s VLAN %d state %s", at.Name, vid, r.State), r.State}
}

// peculiar are the switches of a port that few have.
func (b *fabric) peculiar(in *schema.Link, f frame, vid uint16) *halt {
	switch p := in.Facts.PortFacts; {
	case p.VLANTunnel:
		return unknownAt(in, "vlan_tunnel on: which VLAN a frame is in, its tunnel key says")
	case !p.Locked:
		return nil
	}
	who := f.src
	if who == "" {
		who = "nobody"
		for at, e := range b.fdb {
			if at.vlan == vid && e.Link == in.Name && e.State != "permanent" {
				return unknownAt(in, "locked: only senders that are known behind it may use it")
			}
		}
	} else if e := b.fdb[stationAt{f.src, vid}]; e != nil && e.Link == in.Name && e.State != "permanent" {
		return nil
	} else {
		who += " is not"
	}
	return &halt{CodeLocked, in, in.Name + " is locked, and in the forwarding database " + strings.Replace(who, "nobody", "nobody is", 1) + " behind it", "locked"}
}

// egress is should_deliver and br_handle_vlan: whether a frame that is in a VLAN may leave by a port, and with which tag. In
// is nil for a frame of the host.
func (b *fabric) egress(in, out *schema.Link, f frame, vid uint16) (tag uint16, h *halt) {
	if in == out && !(out.Port != nil && on(out.Port.Hairpin)) {
		return 0, &halt{CodePortState, out, out.String() + " hairpin off", "hairpin off"}
	}
	if h := b.closed(out); h != nil {
		return 0, h
	}
	if in != nil && isolated(in) && isolated(out) {
		return 0, &halt{CodeIsolated, out, "both " + in.Name + " and " + out.Name + " are isolated", "isolated"}
	}
	if !b.aware() {
		return f.tag, nil
	}
	return b.member(out, vid)
}

func isolated(l *schema.Link) bool { return l.Port != nil && on(l.Port.Isolated) }

// member checks that a port, or the bridge itself, is in a VLAN; its frames leave there with the tag returned.
func (b *fabric) member(l *schema.Link, vid uint16) (tag uint16, h *halt) {
	vlans, h := b.vlansOf(l)
	if h != nil {
		return 0, h
	}
	r, ok := vlans.Find(vid)
	if !ok {
		return 0, &halt{CodeVLANOut, l, fmt.Sprintf("%s is not in VLAN %d, in which the frame is; its VLANs: %s", l.Name, vid, vlans), fmt.Sprintf("not in VLAN %d", vid)}
	}
	if r.Untagged {
		return 0, vlanClosed(l, r, vid)
	}
	return vid, vlanClosed(l, r, vid)
}

// up is br_pass_frame_up: a frame for the host, and the tag with which it gets to the bridge's own link.
func (b *fabric) up(f frame, vid uint16) (tag uint16, h *halt) {
	if !b.aware() {
		return f.tag, nil
	}
	tag, h = b.member(b.bridge, vid)
	if h != nil && h.code == CodeVLANOut && b.bridge.Facts.BridgeFacts != nil && b.bridge.Facts.BridgeFacts.Promisc {
		return 0, unknownAt(b.bridge, h.text+"; but somebody listens to all its frames, which lets them up")
	}
	return tag, h
}

// floods tells whether a frame whose receiver the bridge does not know is sent to a port (br_flood). The host's own broadcast
// and multicast frames are, whatever the switches say.
func floods(in, out *schema.Link, cast int) bool {
	if out.Facts != nil && out.Facts.PortFacts != nil && out.Facts.PortFacts.ProxyARP {
		return false
	}
	p := out.Port
	switch {
	case p == nil:
		return true
	case cast == unicast:
		return onUnlessOff(p.Flood)
	case in == nil:
		return true
	case cast == toMany:
		return onUnlessOff(p.McastFlood)
	}
	return onUnlessOff(p.BcastFlood)
}

// exit is a port that a frame leaves by.
type exit struct {
	port *schema.Link
	tag  uint16
}

// delivery is where the bridge takes a frame, as its forwarding database is now.
type delivery struct {
	exits []exit
	up    bool // to the host
	upTag uint16
	stop  *halt // at the way in; then there is nothing else
}

// deliver takes a frame that a port receives, or the host sends (nil), through the bridge. A multicast frame is taken for one
// whose group nobody joined: which groups are joined (the MDB) is no part of a State.
func (b *fabric) deliver(in *schema.Link, f frame) delivery {
	vid, h := b.admit(in, f)
	if h != nil {
		return delivery{stop: h}
	}
	var d delivery
	targets := b.ports
	known := false
	if f.cast == unicast {
		if e := b.fdb[stationAt{f.dst, vid}]; e != nil {
			known = true
			if e.State == "permanent" && (in != nil || e.Link == b.bridge.Name) {
				targets = nil
				d.up = in != nil
			} else {
				targets = slices.DeleteFunc(slices.Clone(b.ports), func(l *schema.Link) bool { return l.Name != e.Link })
			}
		}
	} else {
		d.up = in != nil
	}
	for _, out := range targets {
		if !known && !floods(in, out, f.cast) {
			continue
		}
		if tag, h := b.egress(in, out, f, vid); h == nil {
			d.exits = append(d.exits, exit{out, tag})
		}
	}
	if d.up {
		if d.upTag, h = b.up(f, vid); h != nil {
			d.up = false
		}
	}
	return d
}

// finds tells whether a frame for a machine that is behind a port gets to that port, as far as the forwarding database and
// flooding decide. Who takes part in a connection has spoken: a port that learns knows it, and even a static entry for it
// has come over from another port, unless it is sticky (br_fdb_update).
func (b *fabric) finds(in, out *schema.Link, f frame, vid uint16) *halt {
	if f.cast != unicast {
		return b.spread(in, out, f.cast)
	}
	learned := b.hears(out, vid)
	switch e := b.fdb[stationAt{f.dst, vid}]; {
	case f.dst == "":
		if !learned && b.fixedElsewhere(out, vid) {
			return unknownAt(out, "learning off, and static entries of the forwarding database lead to other ports: whether one of them is for this machine is not known")
		}
	case e == nil, e.State == "permanent" && e.Link == b.bridge.Name: // the bridge's own addresses, which a change of one moves
	case e.State == "permanent" && in != nil:
		return &halt{CodeElsewhere, out, fmt.Sprintf("%s takes frames for %s itself (permanent entry of its forwarding database, on %s)", b.bridge.Name, f.dst, e.Link), "for the host"}
	case e.Link == out.Name:
		return nil
	case e.State == "permanent": // br_dev_xmit forwards to where it is; nobody's speaking moves it (br_fdb_update)
		return &halt{CodeElsewhere, out, fmt.Sprintf("%s sends frames for %s to %s (permanent entry of its forwarding database)", b.bridge.Name, f.dst, e.Link), "sent to " + e.Link}
	case e.Sticky || e.State == "static" && !learned:
		return &halt{CodeElsewhere, out, fmt.Sprintf("%s sends frames for %s to %s (static entry of its forwarding database)", b.bridge.Name, f.dst, e.Link), "sent to " + e.Link}
	case !learned:
		return unknownAt(out, fmt.Sprintf("learning off, and %s was heard behind %s", f.dst, e.Link))
	}
	if learned || floods(in, out, unicast) {
		return nil
	}
	h := &halt{CodeNoFlood, out, fmt.Sprintf("%s: flood off, and what is behind it is not learned in %s", out.Name, vlanWords(vid)), "not flooded"}
	if f.dst == "" {
		h.code = "" // an entry may be there
	}
	return h
}

func vlanWords(vid uint16) string {
	if vid == 0 {
		return "this bridge"
	}
	return fmt.Sprintf("VLAN %d", vid)
}

// spread is finds for a frame for many: a group may have been joined.
func (b *fabric) spread(in, out *schema.Link, cast int) *halt {
	switch {
	case floods(in, out, cast):
		return nil
	case cast == toMany:
		return unknownAt(out, "mcast_flood off: it gets the groups that were joined behind it")
	}
	return &halt{CodeNoFlood, out, out.Name + ": bcast_flood off", "not flooded"}
}

// hears tells whether the bridge learns the machine behind a port in a VLAN: it speaks in that of the port's PVID, or with
// the tag of another that it gets with one.
func (b *fabric) hears(out *schema.Link, vid uint16) bool {
	if out.Port != nil && !onUnlessOff(out.Port.Learning) {
		return false
	}
	if !b.aware() || out.Facts == nil || out.Facts.VLANs == nil {
		return true
	}
	r, ok := out.Facts.VLANs.Find(vid)
	return ok && (r.PVID || !r.Untagged)
}

// fixedElsewhere tells whether static entries of a VLAN lead to other ports.
func (b *fabric) fixedElsewhere(out *schema.Link, vid uint16) bool {
	for at, e := range b.fdb {
		if at.vlan == vid && e.State == "static" && e.Link != out.Name {
			return true
		}
	}
	return false
}

// senderTags are the tags with which a machine behind a port may send: none where the port has a PVID, and the VLANs that
// leave the port tagged. Where its MAC address was learned in one of them, those decide; what an administrator entered is no
// evidence of what the machine does.
func (b *fabric) senderTags(port *schema.Link, mac string) []uint16 {
	if port.Facts == nil || port.Facts.VLANs == nil {
		return []uint16{0}
	}
	var tags, heard []uint16
	may := func(tag, vid uint16) {
		tags = append(tags, tag)
		e := b.fdb[stationAt{strings.ToLower(mac), vid}]
		if mac != "" && e != nil && e.Link == port.Name && e.State != "permanent" && e.State != "static" {
			heard = append(heard, tag)
		}
	}
	pvid := port.Facts.VLANs.PVID()
	if pvid != 0 {
		may(0, pvid)
	}
	for _, r := range port.Facts.VLANs.Ranges {
		for id := r.First; id <= r.Last; id++ {
			if !r.Untagged && id != pvid {
				may(id, id)
			}
		}
	}
	switch {
	case len(heard) > 0:
		return heard
	case len(tags) == 0:
		return []uint16{0}
	}
	return tags
}
