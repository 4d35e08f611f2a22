package rtnl

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
	"github.com/vmnet/vmnet/schema"
)

// TestVLANsAgreeWithBridge reads random VLANs, and asks bridge(8) and ip(8) for the same, on a kernel that has them.
func TestVLANsAgreeWithBridge(t *testing.T) {
	guest.Run(t, func() {
		inHost(t, `
			link add br0 type bridge vlan_filtering 1 vlan_default_pvid 7 vlan_protocol 802.1ad
			link add br1 type bridge
			link add br2 type bridge vlan_filtering 1
			link add d0 type dummy
			link add d1 type dummy
			link add d2 type dummy
			link add d3 type dummy
			link set d0 master br0
			link set d1 master br0
			link set d2 master br2
			link set d3 master br1
			link set d1 type bridge_slave locked on neigh_suppress on backup_port d0
			link set d2 type bridge_slave vlan_tunnel on
			link add link br0 name br0.10 type vlan id 10
			link add link d3 name d3.20 type vlan id 20 protocol 802.1ad loose_binding on
			link add bond0 type bond mode active-backup
			link add d4 type dummy
			link set d4 master bond0
			link add red type vrf table 10
			bridge vlan add vid 2-4094 dev d2
			bridge vlan set vid 100 dev d2 state 4
		`, func(h *host) {
			seed := uint64(time.Now().UnixNano())
			h.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for range 3 {
				var lines []string
				for _, dev := range []string{"d0", "d1", "br0 self", "br2 self"} {
					for range r.IntN(4) {
						first := 1 + r.IntN(60)
						line := fmt.Sprintf("vlan add vid %d dev %s", first, dev)
						switch r.IntN(4) {
						case 0:
							line = fmt.Sprintf("vlan add vid %d-%d dev %s", first, first+1+r.IntN(20), dev)
						case 1:
							line += " pvid untagged"
						case 2:
							line += " pvid"
						}
						if r.IntN(2) == 0 && !strings.Contains(line, "untagged") {
							line += " untagged"
						}
						if r.IntN(5) == 0 {
							line = fmt.Sprintf("vlan del vid %d-%d dev %s", first, first+10, dev)
						}
						lines = append(lines, line)
					}
				}
				h.out("echo '" + strings.Join(lines, "\n") + "' | bridge -force -batch - 2>/dev/null; true")
				h.vlans()
			}
			h.tags()
		})
	})
}

// vlans compares Facts.VLANs with "bridge vlan show", VLAN by VLAN.
func (h *host) vlans() {
	h.Helper()
	s := h.read()
	var theirs, ours []string
	var list []struct {
		Ifname string
		Vlans  []struct {
			Vlan, VlanEnd uint16
			Flags         []string
			State         string
		}
	}
	if err := json.Unmarshal([]byte(h.out("bridge -d -j vlan show")), &list); err != nil {
		h.Fatal(err)
	}
	for _, l := range list {
		if on := s.Link(l.Ifname); on.Facts.VLANs == nil {
			if b := on.Bridge; b != nil && *b.VLANFilter {
				h.Errorf("%s: no VLANs were read", l.Ifname)
			}
			continue // of a bridge that does not filter
		}
		for _, v := range l.Vlans {
			for id := v.Vlan; id <= max(v.Vlan, v.VlanEnd); id++ {
				theirs = append(theirs, fmt.Sprint(l.Ifname, " ", id, " ", slices.Contains(v.Flags, "PVID"), " ", slices.Contains(v.Flags, "Egress Untagged"), " ", v.State))
			}
		}
	}
	for l := range schema.Each[*schema.Link](s) {
		if l.Facts.VLANs == nil {
			continue
		}
		for _, r := range l.Facts.VLANs.Ranges {
			for id := r.First; id <= r.Last; id++ {
				state := r.State
				if state == "" {
					state = "forwarding"
				}
				ours = append(ours, fmt.Sprint(l.Name, " ", id, " ", r.PVID, " ", r.Untagged, " ", state))
			}
		}
	}
	h.agree("VLANs", ours, theirs)
}

// tags checks the facts of single links.
func (h *host) tags() {
	h.Helper()
	s := h.read()
	for name, want := range map[string]schema.VLANTag{"br0.10": {ID: 10, Proto: "802.1Q"}, "d3.20": {ID: 20, Proto: "802.1ad", LooseBinding: true}} {
		l := s.Link(name)
		if l.Type != "vlan" || l.Facts.Tag == nil || *l.Facts.Tag != want {
			h.Errorf("%s: type %s, tag %+v, want %+v", name, l.Type, l.Facts.Tag, want)
		}
	}
	if s.Link("d3.20").Facts.ParentIndex != s.Link("d3").Facts.Index {
		h.Error("d3.20 is not over d3")
	}
	for name, want := range map[string]*schema.PortFacts{"d0": nil, "d1": {Locked: true, Backup: true}, "d2": {VLANTunnel: true}} {
		if d := cmp.Diff(want, s.Link(name).Facts.PortFacts); d != "" {
			h.Errorf("%s: %s", name, d)
		}
	}
	for name, want := range map[string]schema.BridgeFacts{
		"br0": {VLANProto: "802.1ad", DefaultPVID: 7}, "br1": {VLANProto: "802.1Q", DefaultPVID: 1}, "br2": {VLANProto: "802.1Q", DefaultPVID: 1},
	} {
		if d := cmp.Diff(&want, s.Link(name).Facts.BridgeFacts); d != "" {
			h.Errorf("%s: %s", name, d)
		}
	}
	if l := s.Link("d3"); l.Facts.VLANs != nil {
		h.Errorf("a port of a bridge that does not filter has VLANs: %s", l.Facts.VLANs)
	}
	if got := s.Link("bond0").Type + " " + *s.Link("d4").Master + " " + s.Link("red").Type; got != "bond bond0 vrf" {
		h.Errorf("got %q", got)
	}
}
