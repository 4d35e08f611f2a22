// Package sim says what a State becomes when a Change is made to it: our model of the Linux network stack.
//
// It knows what the kernel refuses, which defaults it gives, and what it adds and takes away by itself: the connected
// route of an address, fe80::/64 of a link that comes up, everything that hangs on a link that goes. It does not talk to
// a kernel, knows no goals and no packets. Read Do first, then Cascade.
//
// # What is modelled
//
// Links of type bridge, veth, tap, tun, macvlan and dummy are made and deleted, all are changed; addresses, unicast and
// blackhole routes, policy rules, permanent neighbours, settings, nftables tables, single rules inside tables of others, and
// files. Duplicate address detection (RFC 4862) and a spanning tree are shown as they settle, without the seconds in
// between. What is not modelled is refused with ErrUnmodelled, never guessed.
//
// # Why
//
//   - The kernel is right: each rule here was seen on Linux 6.18 in a network namespace, and package hosttest runs the same
//     changes against sim and a kernel and compares whole states. Where the code follows a function of the kernel, the
//     comment names it.
//   - Everything goes through one journalled view of the State (type host), so that a change that fails halfway leaves
//     nothing behind and Cascade can look ahead without copying ten thousand links. (A clone per step was tried: it made
//     planning quadratic.)
//   - IPv4 routes that the kernel makes are computed as a set before and after, and the difference is applied. Following
//     fib_del_ifaddr line by line was longer, and wrong twice.
package sim
