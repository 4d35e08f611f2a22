// Package ruleset turns the networks, forwards and policies of a configuration into our own nftables table, in the terms of
// schema.Table: bytecode, as the kernel gives it back when it is read.
//
// It touches no host and prints no text. Read Tables first.
//
// # The table inet vmnet
//
// Its rules are few and do not depend on what the file holds; networks, guests and forwards are elements of sets and maps.
// So a packet meets the same handful of rules on a host with one network and on one with a thousand. (Policies are the
// exception: they are an ordered list, walked by the first packet of a connection only.)
//
//	raw_prerouting   -300  127.0.0.0/8 must not come in from guests: route_localnet is on where forwards lead
//	nat_prerouting   -100  a packet to an address of this host, to a forwarded port: DNAT by map
//	nat_output       -100  the same for connections that the host itself makes
//	filter_forward      0  MSS clamp · established · policies · what the modes imply
//	filter_input        0  policies to the host (only with a deny)
//	filter_output       0  policies from the host (only with a deny)
//	nat_postrouting   100  masquerade: localhost, hairpin, then guests to the outside
//
// The sets, each with a twin for IPv6 where it holds addresses:
//
//	guest_links       devices of nat and host_only networks
//	host_only_links   of host_only networks
//	same_link         device . device: traffic that stays in one network, unless it is isolated
//	nat4              subnets that are masqueraded wherever the route leads
//	nat_uplink4       device . subnet: those that are masqueraded on a declared uplink only
//	forward4          protocol . port of the host : address . port of the guest
//	forwarded4        address . protocol . port: where forwards lead, after DNAT
//	forward_links     devices behind which forwards lead
//	hairpin4          device . subnet: who reaches a forward from the guest's own network
//	lan4              subnets of bridge networks: not "outside" for a policy
//
// # Why
//
//   - Priority filter (0) for our filter chains. A drop is final in every base chain and an accept only in its own, so the
//     place among others decides nothing about who gets through (nft(8), "VERDICT STATEMENT"); 0 is where people look.
//   - The clamp stands before "established": the SYN-ACK, which tells the guest what it may send, is established already.
//     It looks at both directions, for clamping the SYN alone leaves uploads to stall.
//   - A forward opens exactly its target: status dnat and address, protocol and port. A bare "ct status dnat accept" would
//     also let through what anybody else's DNAT leads into the network.
//   - Nothing is masqueraded that leaves by a guest network's own device. With br_netfilter, frames that one guest sends to
//     another meet nat_postrouting with the bridge as output device; rewriting those is a classic.
//   - A guest that asks the host for a forward to itself gets its own frame back. With br_netfilter the bridge sends it, and
//     only to a port in hairpin mode; that mode is not ours to set here, for it hands guests their own broadcasts too.
//   - No bridge table. Traffic inside one bridge passes here only while net.bridge.bridge-nf-call-iptables is 1.
//   - No anonymous sets: their names are given by the kernel, and a plan right after an apply could not be empty.
package ruleset
