// Package probe sends real packets for goals whose file asks for it (expect { probe = true }), from this host, and says what became
// of them: TCP connections, UDP datagrams, ICMP echoes.
//
// It changes nothing, needs no privilege for TCP and UDP, and decides nothing about rules: the static answer is package trace's. Read
// Probe first.
//
// # Why
//
// Packets of others cannot be sent from here: a packet with a guest's source address would take another way through the hooks (output
// instead of forward) and its answer would go to the guest. Such goals are named and never count as held.
//
// A TCP reset, and an ICMP port unreachable for UDP, come from a host that was reached or from a firewall that rejects in its name. Nothing
// in the packet tells them apart, so they prove neither that a flow passes nor that it does not. An ICMP error that answers a SYN is always
// somebody's rejection or a missing way: hosts answer closed ports with a reset (RFC 9293, 3.5.2). Silence proves nothing for UDP, where a
// service need not answer.
//
// One thread makes all sockets and waits for them: a socket belongs to the network namespace of the thread that makes it.
package probe
