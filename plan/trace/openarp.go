package trace

import "github.com/vmnet/vmnet/plan/bdd"

// arpStages are the parts of hooks that see ARP: of the arp family, of bridges and of devices. Their names begin with "arp". The
// forward hook of the arp family is that of arptables-legacy, whose rules cannot be read.
func (o *opener) arpStages(add func(st stage, a, b [][]entry)) {
	for h := range hooks {
		name := hookNames[h]
		if h == input || h == output {
			add(stage{name: "arp " + name, hook: h, arp: true}, o.before.arp[h], o.after.arp[h])
		}
		add(stage{name: "arp bridge " + name, hook: h, arp: true, bridged: true}, o.before.bridge[h], o.after.bridge[h])
	}
	for _, dev := range bothKeys(o.before.ingress, o.after.ingress) {
		add(stage{name: "arp ingress " + dev, hook: prerouting, arp: true, dev: dev}, o.before.ingress[dev], o.after.ingress[dev])
	}
	for _, dev := range bothKeys(o.before.egress, o.after.egress) {
		add(stage{name: "arp egress " + dev, hook: postrouting, arp: true, dev: dev}, o.before.egress[dev], o.after.egress[dev])
	}
}

// anyARP makes of a packet of which every bit is free one of ARP: the sender's address is its source, the target's its
// destination.
func (p *parcel) anyARP() {
	p.talk = 1
	p.image.at(12, 2).put([]byte{0x08, 0x06})
	h := p.image.at(netOff, imageCells-netOff)
	h.freeAll(varRest + 8*netOff)
	h.put([]byte{0, 1, 8, 0, 6, 4, 0})
	h.at(arpSenderIP, 4).freeAll(varSrc)
	h.at(arpTargetIP, 4).freeAll(varDst)
	p.trans, p.end = netOff+arpLen, netOff+arpLen
	p.layer4.zero()
	p.ct, p.has, p.answer, p.state = nil, bdd.False, bdd.False, [stateBits]bdd.Node{}
}
