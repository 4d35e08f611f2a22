package trace_test

import (
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// lab is a host with an uplink and two guests in a NAT network.
const lab = `
link eno1
link virbr-lab type bridge
link vnet1 type tap master virbr-lab
link vnet2 type tap master virbr-lab
addr 192.0.2.10/24 dev eno1
addr 10.20.0.1/24 dev virbr-lab
route default via 192.0.2.1 dev eno1
sysctl net.ipv4.ip_forward=1
`

// masq is what makes it one.
const masq = `
*nat
-A POSTROUTING -s 10.20.0.0/24 ! -d 10.20.0.0/24 -j MASQUERADE
`

// flows often asked.
const (
	out    = "vnet1>eno1 tcp 10.20.0.11:40000 > 203.0.113.10:443"
	in     = "eno1>vnet1 tcp 203.0.113.10:40000 > 10.20.0.11:443"
	toHost = "vnet1>host udp 10.20.0.11:40000 > 10.20.0.1:53"
	ssh    = "host>vnet1 tcp 10.20.0.1:40000 > 10.20.0.11:22"
	peers  = "vnet1>vnet2 tcp 10.20.0.11:40000 > 10.20.0.12:80"
)

func TestWalk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, state, flow, want string }{
		{"routed out, masqueraded", lab + masq, out, "pass"},
		{"guest to host", lab, toHost, "pass"},
		{"host to guest", lab, ssh, "pass"},
		{"guest to guest", lab, peers, "pass"},
		{"host to itself", lab, "host>host tcp 192.0.2.10:40000 > 192.0.2.10:80", "pass"},
		{"the host chooses its address", lab, "host>vnet1 tcp any > 10.20.0.11:22", "pass"},

		// Flow tables: they take over what conntrack has confirmed, and rules see no more of it.
		{"handed over", lab + "\n*filter\n-A FORWARD --flow-add ft\n" + masq, out, "pass"},
		{"no first packet is handed over", lab + "\n*filter\n:FORWARD DROP\n-A FORWARD --flow-add ft -j ACCEPT\n" + masq, out, "block request ip filter FORWARD: policy drop"},
		{
			"a drop of what was handed over", lab + "\n*filter\n-A FORWARD --flow-add ft\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP\n" + masq, out,
			"depends reply ip filter FORWARD: -m conntrack --ctstate ESTABLISHED -j DROP",
		},
		{"a drop before it is handed over", lab + "\n*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP\n-A FORWARD --flow-add ft\n" + masq, out, "block reply ip filter FORWARD: -m conntrack --ctstate ESTABLISHED -j DROP"},

		// The founding article's two rules.
		{
			"article: a persisted FORWARD drop", `
			link eno1
			link br0 type bridge
			link vnet0 type tap master br0
			addr 192.0.2.10/24 dev eno1
			addr 192.168.1.1/24 dev br0
			route default via 192.0.2.1 dev eno1
			sysctl net.ipv4.ip_forward=1
			*filter
			-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP`,
			"eno1>vnet0 tcp 203.0.113.10:40000 > 192.168.1.100:22",
			"block request ip filter FORWARD: -d 192.168.1.100 -p tcp --dport 22 -j DROP",
		},
		{
			"article: a stateless INPUT drop hits the answer", lab + `
			*filter legacy
			-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP`,
			ssh, "block reply legacy ip filter INPUT: -s 10.0.0.0/8 -p tcp --sport 22 -j DROP",
		},
		{
			"article: an accept for what is established above it heals", lab + `
			*filter
			-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP`,
			ssh, "pass",
		},

		// Chains.
		{
			"an accept in one table does not undo a drop in another", lab + `
			*inet own
			:fwd filter forward -10 accept
			-A fwd -i virbr-lab -j ACCEPT
			*filter
			:FORWARD DROP`,
			out, "block request ip filter FORWARD: policy drop",
		},
		{
			"legacy beside nft", lab + `
			*filter
			-A FORWARD -j ACCEPT
			*filter legacy
			:FORWARD DROP`,
			out, "block request legacy ip filter FORWARD: policy drop",
		},
		{
			"dormant tables do not run", lab + `
			*inet x dormant
			:fwd filter forward 0 drop`,
			out, "pass",
		},
		{
			"jump, return, goto", lab + `
			*filter
			:FORWARD DROP
			:A
			:B
			-A FORWARD -j A
			-A A -p udp -j DROP
			-A A -j RETURN
			-A FORWARD -g B
			-A FORWARD -j DROP
			-A B -p tcp -j ACCEPT`,
			out, "pass",
		},
		{
			"goto comes back to the policy", lab + `
			*filter
			:FORWARD DROP
			:B
			-A FORWARD -g B
			-A FORWARD -j ACCEPT
			-A B -p udp -j ACCEPT`,
			out, "block request ip filter FORWARD: policy drop",
		},
		{
			"the answer needs an accept too", lab + `
			*filter
			:FORWARD DROP
			-A FORWARD -i virbr-lab -j ACCEPT`,
			out, "block reply ip filter FORWARD: policy drop",
		},
		{
			"with both it passes", lab + masq + `
			*filter
			:FORWARD DROP
			-A FORWARD -i virbr-lab -j ACCEPT
			-A FORWARD -o virbr-lab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
			out, "pass",
		},
		{
			"a later packet can die where the first passed", lab + `
			*filter
			-A FORWARD -i virbr-lab -m conntrack --ctstate ESTABLISHED -j DROP`,
			out, "block established ip filter FORWARD: -i virbr-lab -m conntrack --ctstate ESTABLISHED -j DROP",
		},
		{
			"reject", lab + `
			*filter
			-A FORWARD -i virbr+ -o eno1 -j REJECT`,
			out, "block request ip filter FORWARD: -i virbr+ -o eno1 -j REJECT",
		},
		{
			"IPv6 rules do not see IPv4", lab + `
			*ip6 filter
			:FORWARD DROP`,
			out, "pass",
		},
		{
			"inet tables see both", lab + `
			*inet x
			:f filter forward 0 accept
			-A f -s fd00::/8 -j DROP
			-A f -s 10.20.0.0/24 -j DROP`,
			out, "block request inet x f: -s 10.20.0.0/24 -j DROP",
		},

		// Unknowns.
		{
			"a limit that accepts before a drop", lab + `
			*filter
			:FORWARD DROP
			-A FORWARD -m limit -j ACCEPT`,
			out, "depends request ip filter FORWARD: -m limit -j ACCEPT",
		},
		{
			"a limit that only logs", lab + `
			*filter
			-A FORWARD -m limit -j LOG`,
			out, "pass",
		},
		{
			"both ways end alike", lab + `
			*filter
			:FORWARD DROP
			-A FORWARD -m recent -j DROP`,
			out, "block request ip filter FORWARD: policy drop",
		},
		{
			"an unknown match behind a known miss", lab + `
			*filter
			-A FORWARD -m recent -s 10.99.0.0/16 -j DROP`,
			out, "pass",
		},
		{
			"two independent unknowns", lab + `
			*filter
			-A FORWARD -m limit -j RETURN
			-A FORWARD -m recent -j DROP`,
			out, "depends request ip filter FORWARD: -m recent -j DROP",
		},
		{
			"a queue", lab + `
			*filter
			-A FORWARD -p tcp -j QUEUE`,
			out, "depends request ip filter FORWARD: -p tcp -j QUEUE",
		},

		// Marks.
		{
			"a mark set early is seen late", lab + `
			*mangle
			-A PREROUTING -i virbr-lab -j MARK --set-mark 0x10
			*filter
			-A FORWARD -m mark --mark 0x10 -j DROP`,
			out, "block request ip filter FORWARD: -m mark --mark 0x10 -j DROP",
		},
		{
			"a mark routes", lab + `
			rule 100 fwmark 0x10 blackhole
			*mangle
			-A PREROUTING -i virbr-lab -j MARK --set-mark 0x10`,
			out, "block request VN304",
		},
		{
			"a mark re-routes the host's own packets", lab + `
			rule 100 fwmark 0x10 blackhole
			*mangle legacy
			-A OUTPUT -p tcp -j MARK --set-mark 0x10`,
			ssh, "block request VN304",
		},
		{
			"writers and readers of equal priority", lab + `
			*inet a
			:f filter forward 0 accept
			-A f -j MARK --set-mark 1
			*inet b
			:f filter forward 0 accept
			-A f -m mark --mark 1 -j DROP`,
			out, "depends request inet a f: the order of inet a f, inet b f is not known: their priorities are equal",
		},

		// NAT.
		{
			"a forward", lab + `
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},
		{
			"later hooks see the new port", lab + `
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22
			*filter
			-A FORWARD -p tcp --dport 22 -j DROP`,
			"eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22",
			"block request ip filter FORWARD: -p tcp --dport 22 -j DROP",
		},
		{
			"status dnat", lab + `
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22
			*filter
			:FORWARD DROP
			-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT`,
			"eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},
		{"no forward: the host answers itself", lab, "eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "block request VN451"},
		{
			"a forward to the wrong guest", lab + `
			*nat
			-A PREROUTING -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22`,
			"eno1>virbr-lab tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "block request VN451",
		},
		{
			"the first mapping wins, by priority of chains", lab + `
			*inet a
			:pre nat prerouting -90 accept
			-A pre -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22
			*inet b
			:pre nat prerouting -101 accept
			-A pre -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"eno1>virbr-lab tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},
		{
			"equal NAT chains that both map", lab + `
			*inet a
			:pre nat prerouting -100 accept
			-A pre -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22
			*nat
			-A PREROUTING -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"eno1>virbr-lab tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22",
			"depends request inet a pre: the order of inet a pre, ip nat PREROUTING is not known: their priorities are equal",
		},
		{
			"equal NAT chains of which one maps", lab + `
			*inet a
			:pre nat prerouting -100 accept
			-A pre -p tcp --dport 2223 -j DNAT --to 10.20.0.12:22
			*nat
			-A PREROUTING -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"eno1>virbr-lab tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},
		{
			"forward from the host itself", lab + `
			*nat
			-A OUTPUT -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"host>vnet1 tcp 192.0.2.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},
		{
			"forward from localhost without route_localnet", lab + `
			*nat
			-A OUTPUT -d 127.0.0.1 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22
			-A POSTROUTING -s 127.0.0.1 -j MASQUERADE`,
			"host>vnet1 tcp 127.0.0.1:40000 > 127.0.0.1:2222 want 10.20.0.11:22", "block request VN305",
		},
		{
			"and with it", lab + `
			sysctl net.ipv4.conf.virbr-lab.route_localnet=1
			*nat
			-A OUTPUT -d 127.0.0.1 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22
			-A POSTROUTING -s 127.0.0.1 -j MASQUERADE`,
			"host>vnet1 tcp 127.0.0.1:40000 > 127.0.0.1:2222 want 10.20.0.11:22", "pass",
		},
		{
			"hairpin without masquerade: the answer passes the host by", lab + `
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22`,
			"vnet1>vnet2 tcp 10.20.0.11:40000 > 192.0.2.10:2222 want 10.20.0.12:22", "block reply VN452",
		},
		{
			"hairpin with masquerade", lab + `
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22
			-A POSTROUTING -s 10.20.0.0/24 -o virbr-lab -j MASQUERADE`,
			"vnet1>vnet2 tcp 10.20.0.11:40000 > 192.0.2.10:2222 want 10.20.0.12:22", "pass",
		},
		{
			"br_netfilter lends conntrack to the hairpin", lab + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			*nat
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.12:22`,
			"vnet1>vnet2 tcp 10.20.0.11:40000 > 192.0.2.10:2222 want 10.20.0.12:22", "pass",
		},
		{
			"snat to a pool: every choice alike", lab + `
			*nat
			-A POSTROUTING -s 10.20.0.0/24 -o eno1 -j SNAT --to 192.0.2.10-192.0.2.12`,
			out, "pass",
		},
		{
			"masquerade without an address anywhere else drops", `
			link eno1
			link br0 type bridge
			link vnet1 type tap master br0
			addr 10.20.0.1/24 dev br0
			route default dev eno1
			sysctl net.ipv4.ip_forward=1
			*nat
			-A POSTROUTING -o eno1 -j MASQUERADE`,
			out, "pass",
		}, // the kernel takes br0's
		{
			"notrack: nothing is established", lab + `
			*raw
			-A PREROUTING -j NOTRACK
			*filter
			:FORWARD DROP
			-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT`,
			out, "block request ip filter FORWARD: policy drop",
		},
		{
			"redirect", lab + `
			*nat
			-A PREROUTING -i virbr-lab -p tcp --dport 80 -j REDIRECT --to-ports 3128
			*filter
			-A INPUT -p tcp --dport 3128 -j DROP`,
			"vnet1>host tcp 10.20.0.11:40000 > 203.0.113.10:80", "block request ip filter INPUT: -p tcp --dport 3128 -j DROP",
		},
		{
			"docker: addrtype", lab + `
			*nat
			:DOCKER
			-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
			-A DOCKER -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22`,
			"eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.10:2222 want 10.20.0.11:22", "pass",
		},

		// br_netfilter.
		{"bridged, hidden from FORWARD", lab + `
			sysctl net.bridge.bridge-nf-call-iptables=0
			*filter
			:FORWARD DROP`, peers, "pass"},
		{"bridged, shown to FORWARD", lab + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			*filter
			:FORWARD DROP`, peers, "block request ip filter FORWARD: policy drop"},
		{"both interfaces are the bridge then", lab + `
			sysctl net.bridge.bridge-nf-call-iptables=1
			*filter
			:FORWARD DROP
			-A FORWARD -i virbr-lab -o virbr-lab -j ACCEPT`, peers, "pass"},
		{"per bridge", `
			link br0 type bridge nf_call_iptables
			link vnet1 type tap master br0
			link vnet2 type tap master br0
			sysctl net.bridge.bridge-nf-call-iptables=0
			*filter
			:FORWARD DROP`, peers, "block request ip filter FORWARD: policy drop"},
		{"the bridge family sees ports", lab + `
			*bridge x
			:f filter forward -200 accept
			-A f -i vnet1 -o vnet2 -j DROP`, peers, "block request bridge x f: -i vnet1 -o vnet2 -j DROP"},
		{"the bridge family on the way to the host", lab + `
			*bridge x
			:f filter input -200 accept
			-A f -i vnet1 -j DROP`, toHost, "block request bridge x f: -i vnet1 -j DROP"},
		{"and from it", lab + `
			*bridge x
			:f filter output -200 accept
			-A f -o vnet1 -j DROP`, ssh, "block request bridge x f: -o vnet1 -j DROP"},
		{"netdev ingress", lab + `
			*netdev x
			:i filter ingress 0 accept vnet1
			-A i -p udp -j DROP`, toHost, "block request netdev x i: -p udp -j DROP"},
		{"a vmap", lab + `
			*inet x
			:f filter forward 0 drop
			-A f --vmap none`, out, "block request inet x f: policy drop"},

		// What no rule makes.
		{"forwarding off", lab + "sysctl net.ipv4.ip_forward=0\nsysctl net.ipv4.conf.virbr-lab.forwarding=0", out, "block request VN301"},
		{"bridged needs no forwarding", lab + "sysctl net.ipv4.ip_forward=0", peers, "pass"},
		{"no route", `
			link eno1
			addr 192.0.2.10/24 dev eno1
			sysctl net.ipv4.ip_forward=1`, "host>eno1 tcp 192.0.2.10:40000 > 203.0.113.10:443", "block request VN302"},
		{"blackhole", lab + "route 203.0.113.0/24 type blackhole", out, "block request VN304"},
		{"a rule that prohibits", lab + "rule 10 from 10.20.0.0/24 prohibit", out, "block request VN304"},
		{"a table of its own", lab + "rule 10 from 10.20.0.0/24 lookup 100\nroute 203.0.113.0/24 type unreachable table 100", out, "block request VN304"},
		{"suppressed", lab + "rule 10 lookup 254 suppress 0\nrule 11 lookup 100\nroute 0.0.0.0/0 type blackhole table 100", out, "block request VN304"},
		{"a rule for users", lab + "rule 10 uidrange 0-10 blackhole", ssh, "depends request route: 10: from all uidrange 0-10 blackhole"},
		{"the metric decides", lab + "route 203.0.113.0/24 type blackhole metric 10\nroute 203.0.113.0/24 via 192.0.2.1 dev eno1 metric 5", out, "pass"},
		{"rp_filter strict", lab + "sysctl net.ipv4.conf.all.rp_filter=1\nroute 10.20.0.11/32 dev eno1", out, "block request VN303"},
		{"rp_filter loose", lab + "sysctl net.ipv4.conf.all.rp_filter=2\nroute 10.20.0.11/32 dev eno1", "vnet1>host udp 10.20.0.11:40000 > 10.20.0.1:53", "block reply VN302"},
		{"a packet from outside with our own address", lab, "eno1>host tcp 10.20.0.1:40000 > 192.0.2.10:22", "block request VN305"},
		{"localhost on the wire", lab, "eno1>host tcp 203.0.113.10:40000 > 127.0.0.1:22", "block request VN305"},
		{"an address the host does not have", lab, "host>eno1 tcp 192.0.2.11:40000 > 203.0.113.10:443", "block request VN306"},
		{"routed elsewhere", lab + "link eth9\nroute 203.0.113.0/24 dev eth9", out, "block request VN302"},
		{"uplink down", lab + "link eno1 down", out, "block request VN102"},
		{"no carrier", lab + "link eno1 nocarrier", out, "block request VN103"},
		{"no such link", lab, "vnet9>eno1 tcp 10.20.0.11:40000 > 203.0.113.10:443", "block request VN101"},
		{"bridge down", lab + "link virbr-lab type bridge down", toHost, "block request VN201"},
		{"port without its bridge", lab + "link vnet1 type tap", toHost, "block request VN202"},
		{"port without its bridge, the other way", lab + "link vnet1 type tap", ssh, "block request VN202"},
		{"port in another bridge", lab + "link br9 type bridge\nlink vnet1 type tap master br9", ssh, "block request VN202"},
		{"port down", lab + "link vnet1 type tap master virbr-lab down", toHost, "block request VN203"},
		{"both isolated", lab + "link vnet1 type tap master virbr-lab isolated\nlink vnet2 type tap master virbr-lab isolated", peers, "block request VN204"},
		{"one isolated", lab + "link vnet1 type tap master virbr-lab isolated", peers, "pass"},
		{"blocked by STP", lab + "link vnet1 type tap master virbr-lab state blocking", toHost, "block request VN205"},
		{"STP at the far port", lab + "link vnet2 type tap master virbr-lab state learning", peers, "block request VN205"},
		{"no IPv6", "link eno1\naddr 2001:db8::10/64 dev eno1\nsysctl net.ipv6.conf.eno1.disable_ipv6=1", "eno1>host tcp [2001:db8::1]:40000 > [2001:db8::10]:22", "block request VN311"},
		{"IPv6 forwarding off", `
			link eno1
			link br0 type bridge
			addr 2001:db8:1::1/64 dev br0
			addr 2001:db8::10/64 dev eno1
			route default6 via 2001:db8::1 dev eno1
			sysctl net.ipv6.conf.all.forwarding=0`, "br0>eno1 tcp [2001:db8:1::11]:40000 > [2001:db8:99::1]:443", "block request VN301"},
		{"IPv6 out", `
			link eno1
			link br0 type bridge
			addr 2001:db8:1::1/64 dev br0
			addr 2001:db8::10/64 dev eno1
			route default6 via 2001:db8::1 dev eno1
			sysctl net.ipv6.conf.all.forwarding=1
			*ip6 filter
			:FORWARD DROP
			-A FORWARD -s 2001:db8:1::/64 -j ACCEPT
			-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT`, "br0>eno1 icmp 2001:db8:1::11 > 2001:db8:99::1", "pass"},

		// A bridge on the LAN.
		{"a bridged guest and the outside", `
			link br0 type bridge
			link eno1 master br0
			link vnet1 type tap master br0
			addr 192.0.2.10/24 dev br0
			route default via 192.0.2.1 dev br0`, "vnet1>eno1 tcp 192.0.2.50:40000 > 203.0.113.10:443", "pass"},
		{"a bridged guest and the outside behind br_netfilter", `
			link br0 type bridge
			link eno1 master br0
			link vnet1 type tap master br0
			addr 192.0.2.10/24 dev br0
			route default via 192.0.2.1 dev br0
			sysctl net.bridge.bridge-nf-call-iptables=1
			*filter
			:FORWARD DROP`, "eno1>vnet1 tcp 203.0.113.10:40000 > 192.0.2.50:443", "block request ip filter FORWARD: policy drop"},
		{"rules for ARP", lab + `
			*arp filter
			:INPUT filter input 0 drop`, out, "block resolution arp filter INPUT: policy drop"},
		{"DHCP", lab, "vnet1>host udp 0.0.0.0:68 > 255.255.255.255:67", "pass"},
		{"DHCP dropped", lab + `
			*filter
			:INPUT DROP`, "vnet1>host udp 0.0.0.0:68 > 255.255.255.255:67", "block request ip filter INPUT: policy drop"},
		{"DHCP answers dropped", lab + `
			*filter
			-A OUTPUT -p udp --sport 67 -j DROP`, "vnet1>host udp 0.0.0.0:68 > 255.255.255.255:67", "block reply ip filter OUTPUT: -p udp --sport 67 -j DROP"},
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

func TestBlindIsNeverSure(t *testing.T) {
	t.Parallel()
	s := parseState(t, lab+masq)
	s.Blind = []string{"nftables"}
	if got, want := say(trace.Walk(s, parseFlow(t, out))), "depends request local: rules that could not be read (nftables)"; got != want {
		t.Errorf("blind: got %q, want %q", got, want)
	}
	s = parseState(t, lab+"link vnet1 type tap master virbr-lab down")
	s.Blind = []string{"nftables"}
	if got, want := say(trace.Walk(s, parseFlow(t, out))), "block request VN203"; got != want {
		t.Errorf("blind, port down: got %q, want %q", got, want)
	}
}

func TestHopsTellTheWay(t *testing.T) {
	t.Parallel()
	r := trace.Walk(parseState(t, lab+masq), parseFlow(t, out))
	var got []string
	for _, h := range r.Hops {
		got = append(got, h.Half+" "+h.Stage+" "+h.Action+" | "+h.Packet)
	}
	want := []string{
		"request link in | 10.20.0.11:40000 > 203.0.113.10:443 tcp in vnet1",
		"request route forward | 10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1",
		"request nat masquerade as 192.0.2.10 | 10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1",
		"request link out | 192.0.2.10:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1",
		"reply link in | 203.0.113.10:443 > 192.0.2.10:40000 tcp in eno1",
		"reply route forward | 203.0.113.10:443 > 10.20.0.11:40000 tcp established in eno1 out virbr-lab",
		"reply bridge out by vnet1 | 203.0.113.10:443 > 10.20.0.11:40000 tcp established out virbr-lab",
		"established link in | 10.20.0.11:40000 > 203.0.113.10:443 tcp in vnet1",
		"established route forward | 10.20.0.11:40000 > 203.0.113.10:443 tcp established in virbr-lab out eno1",
		"established link out | 192.0.2.10:40000 > 203.0.113.10:443 tcp established in virbr-lab out eno1",
	}
	if len(got) != len(want) {
		t.Fatalf("%d hops, want %d:\n%s", len(got), len(want), show(r))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("hop %d\n got %s\nwant %s", i, got[i], want[i])
		}
	}
}

// TestZone: what a rule puts into another zone of conntrack is another connection than the one that is followed.
func TestZone(t *testing.T) {
	t.Parallel()
	s := parseState(t, lab+masq+"\n*inet z\n:pre filter prerouting -300 accept\n-A pre -i virbr-lab -j ACCEPT")
	rule := s.Get(schema.TableRef("inet", "z")).(*schema.Table).Chain("pre").Rules[0]
	rule.Text, rule.Exprs = "ct zone set 7", []schema.Expr{
		{Name: "immediate", DReg: 1, Data: []byte{7, 0}}, {Name: "ct", Key: "zone", SReg: 1, Write: true},
	}
	if got, want := say(trace.Walk(s, parseFlow(t, out))), "depends request inet z pre: ct zone set 7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
