// Package trace says where packets go in a State, and which rule, route or setting decides.
//
// It is a pure function of a schema.State: nothing is sent, nothing is read. What it does not understand makes the answer
// "depends on this rule", never a guess. Read Ask first, which answers for every packet of a question, then Walk, for one.
//
//	guest port, uplink
//	  │ netdev ingress                                           netdev egress ▲
//	  ▼                                                                        │
//	bridge prerouting ─ br_netfilter? ─▶ forward ─────────────▶ bridge postrouting ◀─ bridge output
//	  │ bridge input                                                                     ▲
//	  ▼                                                                                  │
//	prerouting ──▶ route ──▶ forward ──────────────────────────────▶ postrouting ────────┘
//	raw -300         │ local address                                  nat 100 ▲
//	conntrack -200   ▼                                                        │
//	nat -100       input ──▶ the host ──▶ route ──▶ output ───────────────────┘
//
// Every base chain of nftables (ip, ip6, inet, bridge, netdev) and of iptables-legacy at a hook is run, in the order of
// priorities; an accept ends its own base chain only, a drop ends the packet. Sources, by stage: bridge and its detour
// net/bridge/br_input.c, br_forward.c, br_netfilter_hooks.c; routes net/ipv4/route.c, fib_frontend.c, fib_rules.c,
// net/ipv6/ip6_output.c; chains net/netfilter/nf_tables_core.c and the nft_*.c of each expression; NAT
// net/netfilter/nf_nat_core.c, nf_nat_masquerade.c, nf_nat_redirect.c; conntrack nf_conntrack_core.c and its protocols.
//
// # Sets of packets
//
// A packet is a byte image (parcel) in which every bit is a function (plan/bdd) of the packet as it was sent: a constant, or
// not. So are marks, and conntrack's entry. A sweep carries all packets for which its path condition holds through a hook at
// once; a rule takes what it stops out of the condition, and what it changes it changes where it matches. NAT puts other
// functions in the place of bits. Thus the answer to a request, and a later packet, are functions of the request too, and
// nothing is lost on the way. Where packets part because they go through other hooks (another route, another port of a
// bridge), each way is followed in a run of its own.
//
// What nobody asked about (a TTL, a length) and what nobody can foresee (limit, recent, time, the order of chains of equal
// priority, which port NAT takes) are variables too. A packet passes when it does so for all their values; when it depends,
// the first rule that makes a difference is named.
//
// # Neighbours
//
// Before a packet can leave by a link with ARP, its sender must know the MAC address of the next hop. Wherever a packet does so
// (host to guest, guest to its gateway, guest to guest), the question and its answer are walked too, through the hooks of arp,
// bridge, netdev and, as ICMPv6, ip6; and it is asked whether the host answers (arp_ignore, arp_filter). The host's neighbour
// table says whom it need not ask: permanent entries are known for good. Where an entry comes and goes, or the two have just
// talked, a drop makes it depend on how long that lasts (Result.Forgotten). What guests know is not in any State: who has not been
// heard by the host is taken to know nothing. Sources: net/ipv4/arp.c, net/ipv6/ndisc.c, net/bridge/br_arp_nd_proxy.c.
//
// # What opens
//
// Opened compares two states, hook by hook, over all packets there can be: interfaces, headers, marks and what conntrack says
// are all free. It finds the rules that differ, and runs both states over the packets those are about; of them nearly all
// other rules are known not to match. It does not follow packets from hook to hook, and says nothing of tagged frames.
//
// # What is not modelled
//
// Rules that a frame meets while it bears an 802.1Q tag, spanning trees of groups of VLANs, VRFs, Open vSwitch, macvtap
// guests, queues to programs and unknown targets: where a packet meets one of them the answer is Depends. A
// bond is one link: which of its slaves carries a packet is not asked. Not seen at all are what no State shows (tc, XDP and BPF, IPsec,
// clashes of NAT with connections that exist), and legacy ebtables.
//
// The packets of a flow are whole, with a hop limit that is enough: no fragments (where conntrack is in use it puts them together
// before rules of IP see them), no IP options, no extension headers. For a given frame that is a fragment, bears a tag, or asks for
// a route of its own the answer is Depends. A given frame is the first packet that conntrack sees: an ICMP error is not taken for
// one that is related to a connection.
//
// # Why
//
//   - 2026-11: one engine for one packet and for many. The engine before it ran one packet again for each thing it did not
//     know, and picked packets worth asking about by looking at rules: a packet nobody thought of was not asked about.
//   - 2025-11: the bytecode of rules runs over a real packet image, not over named fields: prefixes arrive as odd
//     slices of headers, and a field model would have to give up on them.
//   - 2025-11: NAT base chains run at -100 and 100 whatever their own priority: nf_nat_register_fn puts them into one
//     list behind a hook of the NAT core's own priority.
package trace
