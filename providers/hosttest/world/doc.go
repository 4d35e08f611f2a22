// Package world builds a small world of network namespaces in which the real kernel can be tried without a risk: a host, the
// LAN with its router and a server of the internet behind it, and guests attached as virtual machines would be.
//
//	            server 203.0.113.10  2001:db8:113::10
//	               │
//	LAN ── router 192.0.2.1  2001:db8:2::1
//	               │
//	            eno1 192.0.2.10  2001:db8:2::10
//	host ──────────┤
//	        vnet0  │  vnet1 …          (free: bridges are made by whoever tests)
//	          │        │
//	guests   eth0     eth0
//
// It runs no external command and needs no privilege beyond a user namespace. Real packets go through it: Node.Dial, Node.UDP
// and Node.Ping ask, Node.Serve answers with the address the question seemed to come from.
//
// Tests begin with Main in TestMain, which puts the test binary into namespaces of its own, and run each in a fresh host
// with InNewHost. Programs (vmnet demo) use Enter. Build the world itself with New.
//
// This is not part of what vmnet does to a host: only tests and the demo import it.
package world
