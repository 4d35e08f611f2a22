package schema

import "fmt"

// Lost lists what a change destroys and its inverse does not bring back, in words; nil for a change that can be taken back.
// It is what vmnet reads and cannot write (LinkFacts), and what sets of nftables keep by themselves. live is the host before,
// with all that a change need not say.
func Lost(live *State, c Change) []string {
	switch before := c.Before.(type) {
	case *Table:
		return lostOfTable(before)
	case *Link:
		after, _ := c.After.(*Link)
		return lostOfLink(live, before, after)
	default: // written whole
		return nil
	}
}

// lostOfTable: a table is changed by making it anew.
func lostOfTable(t *Table) (lost []string) {
	for _, s := range t.Sets {
		if s.Flags&(SetTimeout|SetEval|SetObject) != 0 {
			lost = append(lost, "timeouts, rules or objects of set "+s.Name)
		}
	}
	return lost
}

func lostOfLink(live *State, before, after *Link) (lost []string) {
	was := live.Link(before.Name)
	if was == nil || was.Facts == nil {
		return nil
	}
	if m := before.Master; m != nil && *m != "" && (after == nil || after.Master != nil && *after.Master != *m) {
		lost = append(lost, lostOfPort(live.Link(*m), was.Facts)...)
	}
	if after != nil {
		return lost
	}
	if b := was.Bridge; b != nil {
		lost = append(lost, lostOfBridge(was.Facts, b.VLANFilter != nil && *b.VLANFilter)...)
	}
	for _, p := range was.Facts.Programs {
		lost = append(lost, "a program at "+p)
	}
	return lost
}

// lostOfPort: what a port gets when it comes back is what its bridge gives to new ports.
func lostOfPort(bridge *Link, f *LinkFacts) (lost []string) {
	pvid := uint16(defaultPVID)
	if bridge != nil && bridge.Facts != nil && bridge.Facts.BridgeFacts != nil {
		pvid = bridge.Facts.BridgeFacts.DefaultPVID
	}
	if f.VLANs != nil && !f.VLANs.fresh(pvid) {
		lost = append(lost, "its VLANs ("+f.VLANs.String()+")")
	}
	p := f.PortFacts
	if p == nil {
		return lost
	}
	for _, x := range []struct {
		set  bool
		name string
	}{{p.Locked, "locked"}, {p.ProxyARP, "proxy_arp"}, {p.VLANTunnel, "vlan_tunnel"}, {p.Backup, "backup_port"}} {
		if x.set {
			lost = append(lost, "its port setting "+x.name)
		}
	}
	if p.Settings != "" {
		lost = append(lost, "its port settings "+p.Settings)
	}
	return lost
}

// defaultPVID and defaultVLANProto are those of a new bridge (br_vlan_init in net/bridge/br_vlan.c).
const (
	defaultPVID      = 1
	defaultVLANProto = "802.1Q"
)

func lostOfBridge(f *LinkFacts, filters bool) (lost []string) {
	if filters && f.VLANs != nil && !f.VLANs.fresh(defaultPVID) {
		lost = append(lost, "its own VLANs ("+f.VLANs.String()+")")
	}
	b := f.BridgeFacts
	if b == nil {
		return lost
	}
	if filters && b.DefaultPVID != defaultPVID {
		lost = append(lost, fmt.Sprintf("its vlan_default_pvid %d", b.DefaultPVID))
	}
	if filters && b.VLANProto != defaultVLANProto {
		lost = append(lost, "its vlan_protocol "+b.VLANProto)
	}
	if filters && b.MST {
		lost = append(lost, "its setting mst_enabled")
	}
	if b.Settings != "" {
		lost = append(lost, "its settings "+b.Settings)
	}
	return lost
}

// fresh tells whether these are the VLANs of a new port, or a new bridge, where new ones get pvid; 0: none.
func (v *VLANs) fresh(pvid uint16) bool {
	if pvid == 0 {
		return len(v.Ranges) == 0
	}
	return len(v.Ranges) == 1 && v.Ranges[0] == VLANRange{First: pvid, Last: pvid, PVID: true, Untagged: true}
}
