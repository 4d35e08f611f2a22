// Package trace says where packets go in a State, and which rule, route or setting decides.
//
// It is a pure function of a schema.State: nothing is sent, nothing is read. This first form walks one packet at a time
// (its request, its reply, and the established request); what it does not understand makes the answer "depends on this
// rule", never a guess. Read Walk first; Query.Flows finds the packets worth walking.
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
// # What is unknown
//
// A packet is a byte image in which every bit is known or unknown (a TTL, a checksum, the length): a rule that looks at
// an unknown bit may match. So may a rule with a match nobody can foresee (limit, recent, time, a match of iptables that
// is not lowered). Where such a rule would do something, both ways are followed to the end; if they end alike, the
// question did not matter, else the answer is Depends, with that rule as Decider.
//
// # What is not modelled
//
// VLAN-aware bridges, VRFs, bonds and Open vSwitch, macvtap guests, rules for ARP, queues to programs and unknown targets:
// where a packet meets one of them the answer is Depends. Not seen at all are what no State shows (tc, XDP and BPF, IPsec,
// flow tables, clashes of NAT with connections that exist), legacy ebtables, and the neighbour discovery of IPv6: a rule
// that drops its ICMPv6 messages, and nothing else, is not found.
//
// # Why
//
//   - 2025-11: the bytecode of rules runs over a real packet image, not over named fields: prefixes arrive as odd
//     slices of headers, and a field model would have to give up on them.
//   - 2025-11: NAT base chains run at -100 and 100 whatever their own priority: nf_nat_register_fn puts them into one
//     list behind a hook of the NAT core's own priority.
package trace
