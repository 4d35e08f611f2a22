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
	case "ct", "nat", "masq", "redir", "netmap", "connlimit":
		return true
	case "xtmatch":
		return slices.Contains([]string{"conntrack", "state", "connmark", "connbytes", "connlabel", "connlimit", "helper"}, e.Key)
	}
	return false
}

// opens says what conntrack makes of the first packet of a connection that it does not know: new, invalid, or untracked
// (net/netfilter/nf_conntrack_proto_*.c). Only a packet given to the last bit may be something else than new.
func (r *sweep) opens() int {
	p := &r.p
	if !p.framed {
		return bitNew
	}
	t := p.image.b[p.trans:]
	n := p.length - (p.trans - netOff) // what the network header carries
	switch p.proto {
	case protoTCP:
		if n < 20 || int(t[12]>>4)*4 < 20 || int(t[12]>>4)*4 > n || !tcpOpens(t[13]) {
			return bitInvalid
		}
	case protoUDP:
		if l := int(binary.BigEndian.Uint16(t[4:])); n < 8 || l < 8 || l > n {
			return bitInvalid
		}
	case protoLite: // a coverage of 0 is all of it
		if c := int(binary.BigEndian.Uint16(t[4:])); n < 8 || c != 0 && (c < 8 || c > n) {
			return bitInvalid
		}
	case protoICMP:
		if n < 8 || p.v6 || t[0] != 8 && t[0] != 13 && t[0] != 15 && t[0] != 17 {
			return bitInvalid
		}
	case protoICMPv6:
		return icmp6Opens(t[0], n)
	case protoSCTP:
		if n < 16 || !sctpOpens(t[12], binary.BigEndian.Uint32(t[4:])) {
			return bitInvalid
		}
	case protoNone:
		if p.v6 { // ipv6_skip_exthdr finds nothing there
			return bitInvalid
		}
	}
	return bitNew
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

// sctpOpens: chunks that change no state, such as data, belong to somebody; an INIT has no tag yet (sctp_new_state,
// nf_conntrack_sctp_packet).
func sctpOpens(chunk byte, tag uint32) bool {
	switch chunk {
	case 1:
		return tag == 0
	case 2, 4, 5, 6, 7, 8, 9, 10, 11, 14:
		return true
	}
	return false
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
