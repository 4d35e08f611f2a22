package trace_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// trunk is a host with a VLAN-aware bridge: guests a and b in VLAN 10, c in 20, an uplink that carries both and 1 untagged.
// The host is in VLAN 10 by br0.10 and in 1 by br0 itself.
const trunk = `
link br0 type bridge vlan_filtering vlan 1pu vlan 10
link br0.10 type vlan id 10 over br0
link eno1 master br0 vlan 1pu vlan 10 vlan 20
link a type tap master br0 vlan 10pu
link b type tap master br0 vlan 10pu
link c type tap master br0 vlan 20pu
addr 192.0.2.10/24 dev br0
addr 10.20.0.1/24 dev br0.10
route default via 192.0.2.1 dev br0
sysctl net.ipv4.ip_forward=1
sysctl net.bridge.bridge-nf-call-iptables=0
`

func TestWalkVLANs(t *testing.T) {
	t.Parallel()
	const (
		aToB    = "a>b tcp 10.20.0.11:40000 > 10.20.0.12:80"
		aToC    = "a>c tcp 10.20.0.11:40000 > 10.20.0.13:80"
		aToHost = "a>host udp 10.20.0.11:40000 > 10.20.0.1:53"
		hostToA = "host>a tcp 10.20.0.1:40000 > 10.20.0.11:22"
		lanToA  = "eno1>a tcp 10.20.0.99:40000 > 10.20.0.11:22"
		out     = "a>br0 tcp 10.20.0.11:40000 > 203.0.113.10:443"
	)
	for _, c := range []struct{ name, state, flow, want string }{
		{"one VLAN", trunk, aToB, "pass"},
		{"two VLANs", trunk, aToC, "block request VN209"},
		{"the host by its 802.1q link", trunk, aToHost, "pass"},
		{"and back", trunk, hostToA, "pass"},
		{"the host by the bridge itself", trunk, "eno1>host tcp 192.0.2.99:40000 > 192.0.2.10:22", "pass"},
		{"routed out of the VLAN", trunk, out, "pass"},
		{"the trunk carries the VLAN", trunk, lanToA, "pass"},
		{"out by the trunk", trunk, "c>eno1 tcp 10.30.0.13:40000 > 203.0.113.10:443", "pass"},
		{"a stranger to the bridge's VLANs", trunk + "link a type tap master br0 vlan 30pu", aToHost, "depends request bridge: br0 in VLAN 30 has no address: how a guest reaches the host's other addresses is not for this host to know"},
		{"unknown VLANs", trunk + "link a type tap master br0", aToB, "depends request bridge: a: vlan_filtering is on in br0, and its VLANs are not known"},

		// A wrong PVID; the bridge itself lacks the VLAN; the trunk does; no untagging.
		{"a wrong PVID", trunk + "link b type tap master br0 vlan 1pu", aToB, "block request VN209"},
		{"no PVID", trunk + "link a type tap master br0 vlan 1u", aToB, "block request VN208"},
		{"the bridge itself is not in the VLAN", trunk + "link br0 type bridge vlan_filtering vlan 1pu", aToHost, "block request VN209"},
		{"and cannot send there", trunk + "link br0 type bridge vlan_filtering vlan 1pu", hostToA, "block request VN208"},
		{"nor is it when it has the address itself", trunk + "link a type tap master br0 vlan 30pu", "a>host udp 192.0.2.20:40000 > 192.0.2.10:53", "block request VN209"},
		{"it is, without an 802.1q link", trunk + "link br0 type bridge vlan_filtering vlan 1pu vlan 30\nlink a type tap master br0 vlan 30pu", "a>host udp 192.0.2.20:40000 > 192.0.2.10:53", "block request VN210"},
		{"the VLAN comes up without a tag", trunk + "link br0 type bridge vlan_filtering vlan 1pu vlan 10u", aToHost, "pass"}, // in by br0, out by br0.10
		{"the trunk does not carry the VLAN", trunk + "link eno1 master br0 vlan 1pu", "c>eno1 tcp 10.30.0.13:40000 > 203.0.113.10:443", "block request VN209"},
		{"a port that gets its frames tagged", trunk + "link b type tap master br0 vlan 10p", aToB, "block request VN210"},
		{"and answers to it", trunk + "link a type tap master br0 vlan 10p", aToB, "block reply VN210"},
		{"a guest that may take tags", trunk + "link b type tap master br0 vlan 1pu vlan 10", aToB, "depends request bridge: b: frames leave by it with the tag of VLAN 10: whether the machine there takes them is not known; its VLANs: 1 PVID Egress Untagged, 10"},
		{"a guest that is known to", trunk + `
			link b type tap master br0 vlan 1pu vlan 10
			neigh 10.20.0.12 52:54:00:00:00:0b dev br0.10
			fdb 52:54:00:00:00:0b dev b vlan 10`, aToB, "pass"},
		{"the 802.1q link is down", trunk + "link br0.10 type vlan id 10 over br0 down", aToHost, "block request VN102"},

		// The tags that rules would see.
		{"rules for bridged frames", trunk + `
			*bridge f
			:forward filter forward 0 drop`, aToB, "block request bridge f forward: policy drop"},
		{"rules for tagged frames", trunk + `
			*bridge f
			:forward filter forward 0 drop`, "c>eno1 tcp 10.30.0.13:40000 > 203.0.113.10:443", "depends request bridge f forward: rules for a frame with the tag of VLAN 20"},
		{"br_netfilter shows what has no tag", trunk + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			sysctl net.bridge.bridge-nf-filter-vlan-tagged=0
			*filter
			:FORWARD DROP`, aToB, "block request ip filter FORWARD: policy drop"},
		{"br_netfilter does not see what has", trunk + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			sysctl net.bridge.bridge-nf-filter-vlan-tagged=0
			*filter
			:FORWARD DROP`, "c>eno1 tcp 10.30.0.13:40000 > 203.0.113.10:443", "pass"},
		{"unless it is told to", trunk + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			sysctl net.bridge.bridge-nf-filter-vlan-tagged=1
			*filter
			:FORWARD DROP`, "eno1>c tcp 10.30.0.99:40000 > 10.30.0.13:80", "depends request bridge: br_netfilter and a frame with the tag of VLAN 20"},

		// Flooding and learning, with or without VLANs.
		{"no flooding to a port that learns", lab + "link vnet2 type tap master virbr-lab noflood", peers, "pass"},
		{"no flooding and no learning", lab + "link vnet2 type tap master virbr-lab noflood nolearn\nneigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab", peers, "block request VN211"},
		{"but an entry", lab + "link vnet2 type tap master virbr-lab noflood nolearn\nneigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet2 static", peers, "pass"},
		{"an entry that leads elsewhere", lab + "link vnet3 type tap master virbr-lab\nneigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet3 static", peers, "pass"}, // it comes over when the guest speaks
		{"one that stays", lab + "link vnet3 type tap master virbr-lab\nneigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet3 static sticky", peers, "block request VN213"},
		{"the host takes its frames", lab + "neigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet2 permanent", peers, "block request VN213"},
		{"the answers to it", lab + "neigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet2 permanent", "vnet2>vnet1 tcp 10.20.0.12:40000 > 10.20.0.11:80", "block reply VN213"},
		{"the host's own get there", lab + "neigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet2 permanent", "host>vnet2 tcp 10.20.0.1:40000 > 10.20.0.12:22", "pass"},
		{"or where the entry is", lab + "neigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet1 permanent", "host>vnet2 tcp 10.20.0.1:40000 > 10.20.0.12:22", "block request VN213"},
		{"a port that does not learn", lab + "link vnet2 type tap master virbr-lab nolearn\nlink vnet3 type tap master virbr-lab\nneigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab\nfdb 52:54:00:00:00:0b dev vnet3 static", peers, "block request VN213"},
		{"a VLAN in which a guest is not heard", trunk + "link a type tap master br0 vlan 30pu\nlink b type tap master br0 vlan 10pu vlan 30u noflood", aToB, "depends request bridge: b: flood off, and what is behind it is not learned in VLAN 30"},
		{"no broadcast", lab + "link vnet2 type tap master virbr-lab nobcast", peers, "depends request bridge: vnet2: bcast_flood off: it hears no ARP request; who does not know its MAC address cannot reach it"},
		{"but of the host", lab + "link vnet1 type tap master virbr-lab nobcast", ssh, "pass"},
		{"a locked port", lab + "link vnet1 type tap master virbr-lab locked\nneigh 10.20.0.11 52:54:00:00:00:0a dev virbr-lab", peers, "block request VN212"},

		// 802.1q links over a card, and bonds.
		{"an 802.1q uplink", lab + `
			link eno1.5 type vlan id 5 over eno1
			addr 198.51.100.10/24 dev eno1.5`, "vnet1>eno1.5 tcp 10.20.0.11:40000 > 198.51.100.1:443", "pass"},
		{"its card is down", lab + `
			link eno1 down
			link eno1.5 type vlan id 5 over eno1
			addr 198.51.100.10/24 dev eno1.5`, "vnet1>eno1.5 tcp 10.20.0.11:40000 > 198.51.100.1:443", "block request VN102"},
		{"an 802.1q link as a port", lab + `
			link eno1.5 type vlan id 5 over eno1 master virbr-lab`, "vnet1>eno1.5 tcp 10.20.0.11:40000 > 10.20.0.99:443", "pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := trace.Walk(parseState(t, c.state), parseFlow(t, c.flow))
			if got := say(r); got != c.want {
				t.Errorf("%s\n got %s\nwant %s\n%s", c.flow, got, c.want, show(r))
			}
		})
	}
}

// What the host routes to an 802.1q link over a bridge is behind the ports that are in its VLAN; behind c is
// nobody that the host knows of.
func TestAskBehindVLANs(t *testing.T) {
	t.Parallel()
	w := trace.New(parseState(t, trunk))
	for from, want := range map[string]trace.Verdict{"a": trace.Pass, "c": trace.Depends} {
		got := w.Ask(trace.Query{From: from, Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("10.20.0.1"), Service: schema.Service{Proto: "tcp"}})
		if got.Verdict != want {
			t.Errorf("from anybody behind %s to the host: %q, want %q", from, got.Verdict, want)
		}
	}
}
