package trace

// Neighbour discovery (RFC 4861, 4.3 and 4.4): types of ICMPv6, and where the target's address lies behind the IPv6 header.
const (
	ndSolicit   = 135
	ndAdvertise = 136
	ndTarget    = 8
	ndLen       = 32 // with the option that bears the sender's MAC address
)

// utterND makes a neighbour solicitation to the address that all share who may have the target (RFC 4291, 2.7.1), or the
// advertisement that answers it. Conntrack does not look at them (icmpv6_error).
func (r *sweep) utterND(t *talk) {
	p := &r.p
	p.proto, p.trans, p.end = protoICMPv6, netOff+40, netOff+40+ndLen
	p.image.at(12, 2).put([]byte{0x86, 0xdd})
	p.layer4.put([]byte{protoICMPv6})
	h := p.image.at(netOff, 40+ndLen)
	h.put([]byte{0x60, 0, 0, 0, 0, ndLen, protoICMPv6, 255})
	icmp := h.at(40, ndLen)
	r.fixed(icmp.at(2, 2), "checksum")
	icmp.at(ndTarget, 16).copyFrom(t.of)
	if p.talk == 1 {
		icmp.put([]byte{ndSolicit})
		icmp.at(24, 2).put([]byte{1, 1}) // ND_OPT_SOURCE_LL_ADDR
		icmp.at(26, 6).copyFrom(t.byMAC)
		p.src().copyFrom(t.by)
		p.dst().put([]byte{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff})
		p.dst().at(13, 3).copyFrom(t.of.at(13, 3))
		mac := newCells(6)
		mac.put([]byte{0x33, 0x33, 0xff})
		mac.at(3, 3).copyFrom(t.of.at(13, 3))
		p.setMACs(t.byMAC, mac)
		p.cast = toMany
		return
	}
	icmp.put([]byte{ndAdvertise})
	icmp.at(4, 1).put([]byte{0x40})  // solicited
	icmp.free(4, 0xa0, r.flagsOf(t)) // router, override: as the sender likes
	icmp.at(24, 2).put([]byte{2, 1}) // ND_OPT_TARGET_LL_ADDR
	icmp.at(26, 6).copyFrom(t.ofMAC)
	p.src().copyFrom(t.of)
	p.dst().copyFrom(t.by)
	p.setMACs(t.ofMAC, t.byMAC)
}

// flagsOf is the first variable of what the sender of an advertisement chooses.
func (r *sweep) flagsOf(t *talk) int {
	k := unknownKey{"flags of " + t.owner.name, Resolution, 0}
	v, ok := r.softs[k]
	if !ok {
		v = r.soft(8 * 8)
		r.softs[k] = v
	}
	return v
}
