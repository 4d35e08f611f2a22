// Package rtnl reads and changes what rtnetlink(7) knows of a network namespace: links, addresses, routes, policy
// rules, neighbours and forwarding databases.
//
// It decides nothing, and it does not configure nftables, sysctls or daemons. Read Provider first, then one file for
// each kind of object: decode… turns a kernel message into the schema's type, encode… the other way.
//
// # Why
//
//   - Own transport (conn.go) and decoders, no library: dumps through vishvananda/netlink or mdlayher/netlink cost 2.5
//     times as much as the kernel's own work and lose attributes the schema holds. BenchmarkReadLinks shows the ratio.
//   - One socket, opened in the caller's network namespace and kept: a thread that changes namespaces later changes
//     nothing here.
//   - A dump that the kernel marks as interrupted is asked for again, and never used in part (dump in conn.go).
//   - Each Do reads the one object back first and refuses when it is not as the Change says. What the kernel reports
//     but vmnet does not understand (a route's encapsulation, a rule's DSCP) is carried along in a field Other, so that
//     deleting and creating again restores it.
package rtnl
