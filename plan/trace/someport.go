package trace

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

// portKind are the settings by which a bridge treats frames of ports alike. Where it is not known behind which port a machine
// is, two ports of each kind stand for all.
type portKind struct {
	isolated, hairpin, learning, flood, mcast, bcast bool
	facts                                            schema.PortFacts
	tagged                                           bool
}

func kindOfPort(l *schema.Link, tag uint16) portKind {
	k := portKind{isolated: isolated(l), learning: true, flood: true, mcast: true, bcast: true, tagged: tag != 0}
	if p := l.Port; p != nil {
		k.hairpin, k.learning, k.flood = on(p.Hairpin), onUnlessOff(p.Learning), onUnlessOff(p.Flood)
		k.mcast, k.bcast = onUnlessOff(p.McastFlood), onUnlessOff(p.BcastFlood)
	}
	if l.Facts != nil && l.Facts.PortFacts != nil {
		k.facts = *l.Facts.PortFacts
	}
	return k
}

// somePorts are ports behind which a machine may be that takes part in a VLAN of a bridge: two of each kind.
func (w *Walker) somePorts(br *device, vid uint16) []*device {
	b := w.fabrics[br.name]
	n := map[portKind]int{}
	var out []*device
	for _, l := range b.ports {
		d := w.devices[l.Name]
		if d == nil || !d.up || !d.carrier || b.closed(l) != nil {
			continue
		}
		tag := uint16(0)
		if b.aware() {
			var h *halt
			if tag, h = b.member(l, vid); h != nil && h.code == CodeVLANOut {
				continue
			}
		}
		if k := kindOfPort(l, tag); n[k] < 2 {
			n[k]++
			out = append(out, d)
		}
	}
	return out
}

// comesBySome checks what a bridge does with a frame of a machine behind a port that is not known.
func (r *sweep) comesBySome(br *device, vid uint16) bool {
	b := r.w.fabrics[br.name]
	f := frame{}
	if c := r.senderMAC(br); c.len() == 6 && c.known() {
		f.src = macText(c.b)
	}
	ports := r.w.somePorts(br, vid)
	if len(ports) == 0 {
		return r.nobody(br, vid)
	}
	var sum tally
	for _, d := range ports {
		var h *halt
		if d.link.Facts != nil && d.link.Facts.PortFacts != nil {
			h = b.peculiar(d.link, f, vid)
		}
		sum.add(h)
	}
	return r.some(br, &sum, "the sender")
}

// leavesBySome checks a frame's way between two ports of a bridge of which one is not known, or both; nil in is the host.
func (r *sweep) leavesBySome(br, in, out *device, f frame, vid uint16) bool {
	b := r.w.fabrics[br.name]
	ins, outs := []*device{in}, []*device{out}
	if in != nil && in.unknown {
		ins = r.w.somePorts(br, vid)
	}
	who := "the sender"
	if out.unknown {
		outs = r.w.somePorts(br, vid)
		who = "the receiver"
	}
	if len(ins) == 0 || len(outs) == 0 {
		return r.nobody(br, vid)
	}
	var sum tally
	for _, i := range ins {
		var from *schema.Link
		if i != nil {
			from = i.link
		}
		for _, o := range outs {
			if i == o {
				continue
			}
			_, h := b.egress(from, o.link, f, vid)
			if h == nil {
				h = b.finds(from, o.link, f, vid)
			}
			if h == nil {
				h = r.asks(from, o)
			}
			sum.add(h)
		}
	}
	if sum.n == 0 && r.f.Anywhere {
		return r.unmodelled("bridge", schema.LinkRef(br.name), fmt.Sprintf(
			"%s is the only port of %s that is up: what two machines behind it send each other does not pass this host", outs[0].name, br.name))
	}
	return r.some(br, &sum, who)
}

// nobody ends the way of packets of machines behind a bridge that none can be behind. What a file expects of its networks holds
// for the guests to come, too.
func (r *sweep) nobody(br *device, vid uint16) bool {
	if !r.f.Anywhere {
		return true
	}
	text := "no port of " + br.name + " is up: nobody is behind it"
	if vid != 0 {
		text = fmt.Sprintf("no port of %s that is up takes part in VLAN %d: nobody is behind it there", br.name, vid)
	}
	return r.block(CodeNoCarrier, "bridge", schema.LinkRef(br.name), text, "no carrier")
}

// tally counts what stops frames at the ports that are tried.
type tally struct {
	n    int
	bad  int
	halt *halt // the first
}

func (t *tally) add(h *halt) {
	t.n++
	if h == nil {
		return
	}
	if t.bad++; t.halt == nil {
		t.halt = h
	}
}

// some ends the way where none of the ports lets frames pass, and lets it depend where only some do.
func (r *sweep) some(br *device, t *tally, who string) bool {
	switch t.bad {
	case 0:
		return true
	case t.n:
		return r.halted(t.halt)
	}
	return r.unmodelled("bridge", schema.LinkRef(br.name), fmt.Sprintf("behind which port of %s %s is, is not known: %s", br.name, who, t.halt.text))
}
