package trace

import (
	"encoding/binary"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// tracks tells for which families a table makes conntrack look at packets: the first rule that needs it brings its hooks, in
// use or not (nf_ct_netns_get in net/netfilter/nf_conntrack_proto.c). Without them no chain of type nat is run
// (nf_nat_inet_fn).
func tracks(t *schema.Table) (v4, v6 bool) {
	all4, all6 := familyMatches(t.Family, false) || t.Family == "bridge", familyMatches(t.Family, true) || t.Family == "bridge"
	for _, c := range t.Chains {
		for _, ru := range c.Rules {
			for i := range ru.Exprs {
				e := &ru.Exprs[i]
				if !needsConntrack(e) {
					continue
				}
				v4 = v4 || all4 && !(e.Name == "nat" && e.Family == "ip6")
				v6 = v6 || all6 && !(e.Name == "nat" && e.Family == "ip")
			}
			if v4 == all4 && v6 == all6 {
				return v4, v6
			}
		}
	}
	return v4, v6
}

func needsConntrack(e *schema.Expr) bool {
	switch e.Name {
	case "ct", "nat", "masq", "redir", "netmap", "connlimit", "flow_offload":
		return true
	case "xtmatch":
		return slices.Contains([]string{"conntrack", "state", "connmark", "connbytes", "connlabel", "connlimit", "helper"}, e.Key)
	}
	return false
}

// opens says what conntrack makes of the first packet of a connection that it does not know: new, invalid, or untracked
// (net/netfilter/nf_conntrack_proto_*.c); known is false where what decides lies beyond what is kept of a packet. Only a packet
// given to the last bit may be something else than new.
func (r *sweep) opens() (state int, known bool) {
	p := &r.p
	if !p.framed {
		return bitNew, true
	}
	t := p.image.b[p.trans:]
	n := p.length - (p.trans - netOff) // what the network header carries
	switch p.proto {
	case protoTCP:
		if n < 20 || int(t[12]>>4)*4 < 20 || int(t[12]>>4)*4 > n || !tcpOpens(t[13]) {
			return bitInvalid, true
		}
	case protoUDP:
		if l := int(binary.BigEndian.Uint16(t[4:])); n < 8 || l < 8 || l > n {
			return bitInvalid, true
		}
	case protoLite: // a coverage of 0 is all of it
		if c := int(binary.BigEndian.Uint16(t[4:])); n < 8 || c != 0 && (c < 8 || c > n) {
			return bitInvalid, true
		}
	case protoICMP:
		if n < 8 || p.v6 || t[0] != 8 && t[0] != 13 && t[0] != 15 && t[0] != 17 {
			return bitInvalid, true
		}
	case protoICMPv6:
		return icmp6Opens(t[0], n), true
	case protoSCTP:
		opens, known := sctpOpens(p.image.b[p.trans:p.end], n)
		if !opens {
			return bitInvalid, known
		}
	case protoNone:
		if p.v6 { // ipv6_skip_exthdr finds nothing there
			return bitInvalid, true
		}
	}
	return bitNew, true
}

// tcpOpens is tcp_valid_flags and the column of tcp_conntracks for no connection: a SYN, or an ACK of a connection that
// began unseen (nf_conntrack_tcp_loose).
func tcpOpens(flags byte) bool {
	const fin, syn, rst, ack, urg = 1, 2, 4, 16, 32
	switch flags & (fin | syn | rst | ack | urg) {
	case syn, syn | urg, ack, ack | urg:
		return true
	}
	return false
}

// Chunks of SCTP (RFC 9260, section 3.2).
const (
	sctpInit             = 1
	sctpInitAck          = 2
	sctpHeartbeat        = 4
	sctpHeartbeatAck     = 5
	sctpAbort            = 6
	sctpShutdown         = 7
	sctpShutdownAck      = 8
	sctpError            = 9
	sctpCookieEcho       = 10
	sctpCookieAck        = 11
	sctpShutdownComplete = 14
)

// sctpOpens tells whether a packet of n bytes, of which t are kept, begins a connection (nf_conntrack_sctp_packet in
// net/netfilter/nf_conntrack_proto_sctp.c); known is false where that stands in bytes that are not kept.
func sctpOpens(t []byte, n int) (opens, known bool) {
	tag := binary.BigEndian.Uint32(t[4:])
	var has [256]bool
	at := 12
	for alone, count := false, 0; at+4 <= n; count++ {
		if at+4 > len(t) {
			return false, false
		}
		kind, size := t[at], int(binary.BigEndian.Uint16(t[at+2:]))
		first := kind == sctpCookieAck || kind == sctpCookieEcho
		alone = alone || kind == sctpInit || kind == sctpInitAck || kind == sctpShutdownComplete
		if size == 0 || count > 0 && (first || alone) { // do_basic_checks
			return false, true
		}
		if alone && at+20 > n { // struct sctp_inithdr; SHUTDOWN COMPLETE opens nothing anyway
			return false, true
		}
		has[kind] = true
		at += (size + 3) &^ 3
	}
	return at > 12 && sctpBegins(&has) && sctpTagged(&has, tag), true
}

// sctpBegins: what ends an association, or belongs to one, such as data, begins none (sctp_new).
func sctpBegins(has *[256]bool) bool {
	for kind, is := range has {
		if !is {
			continue
		}
		switch kind {
		case sctpInit, sctpInitAck, sctpHeartbeat, sctpHeartbeatAck, sctpShutdown, sctpShutdownAck, sctpError, sctpCookieEcho:
		default:
			return false
		}
	}
	return true
}

// sctpTagged: an INIT has no tag yet, and no side has told the other one; a HEARTBEAT is believed.
func sctpTagged(has *[256]bool, tag uint32) bool {
	switch {
	case tag == 0:
		return true
	case has[sctpInit]:
		return false
	case has[sctpHeartbeat]:
		return true
	}
	return (has[sctpShutdownAck] || has[sctpHeartbeatAck]) && !has[sctpCookieEcho]
}

// icmp6Opens: neighbour discovery and multicast listeners are left alone (noct_valid_new).
func icmp6Opens(kind byte, n int) int {
	switch {
	case n < 8:
		return bitInvalid
	case kind == 128 || kind == 139:
		return bitNew
	case kind >= 130 && kind <= 136 || kind == 143 || kind == 151 || kind == 152:
		return bitUntracked
	}
	return bitInvalid
}
