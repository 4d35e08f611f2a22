package plan

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Numbers of questions and answers: ICMPv6's (RFC 4861), and of ARP 1 and 2, as trace.Hop.Talk has them (RFC 826).
const (
	ndSolicit   = 135
	ndAdvertise = 136
)

// neighbourRoads are the ways for a question for a MAC address, or its answer, past a culprit: an exception for it on the link
// it is asked on, and nothing else. The rule itself stays.
func (h *healer) neighbourRoads(g *schema.Goal, res trace.Result, c culprit, owner Owner, sig signature) []road {
	a := neighbourAccept(g, res, c)
	switch {
	case a == nil:
		return []road{{title: "let neighbours be found", closed: "in a table of " + c.table.Family + " that its tool manages, no exception for it can be written"}}
	case dockerUser(c) != nil:
		return []road{{title: "accept " + a.talkWords() + " in DOCKER-USER, Docker's own door", drafts: h.door(c, dockerUser(c), []accept{*a}, g, res)}}
	case sig.owner != "":
		return []road{{title: "change it at its owner " + owner.Name, closed: "it belongs to " + owner.Name + ", which would write it again: it has to let " + a.talkWords() + " pass"}}
	case c.rule == nil:
		return h.beforePolicy(g, c, []accept{*a}, "accept "+a.talkWords())
	}
	del := road{title: "delete the rule by its full specification", drafts: h.deletion(g, c)}
	switch {
	case !plainTalk(c):
		del.closed = "it looks at more than the kind of a message: it may keep machines from answering for others"
	case !h.onNetworks(c):
		del.closed = "it is about more links than those of the file's networks"
	}
	return []road{del, {title: "an exception in front of it for " + a.talkWords(), drafts: h.exceptions(c, []accept{*a}, c.index, g)}}
}

// onNetworks tells whether a rule names the links it is about, and all of them are of networks of the file.
func (h *healer) onNetworks(c culprit) bool {
	box := trace.BoxOf(c.table, c.rule)
	for _, names := range [][]string{c.base.Devices, listed(box.IIF), listed(box.OIF)} {
		if len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return !h.ofNetwork(name) }) {
			return true
		}
	}
	return false
}

func listed(n trace.Names) []string {
	if n.Not {
		return nil
	}
	return n.List
}

// ofNetwork tells whether a link is a network's of the file, or a port of it that leads to a guest.
func (h *healer) ofNetwork(name string) bool {
	l := h.state.Link(name)
	return slices.ContainsFunc(h.r.Networks, func(n schema.Network) bool {
		return name == n.Device || l != nil && l.Master != nil && *l.Master == n.Device && !slices.Contains(n.Ports, name)
	})
}

// plainTalk tells whether a rule does no more than drop messages of some kind on some links. One that looks at who sends them
// guards against those that answer for others.
func plainTalk(c culprit) bool {
	for i := range c.rule.Exprs {
		switch e := &c.rule.Exprs[i]; e.Name {
		case "cmp", "bitwise", "range", "counter":
		case "immediate":
			if e.Verdict == nil || e.Verdict.Kind != "drop" {
				return false
			}
		case "meta":
			if e.Write || !slices.Contains([]string{"iifname", "oifname", "iif", "oif", "protocol", "nfproto", "l4proto"}, e.Key) {
				return false
			}
		case "payload":
			if !kindOfMessage(e, c.table.Family) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// kindOfMessage tells whether a field says what a message is, not whose: the type of a frame, ARP's header before its addresses,
// the next header of IPv6, type and code of ICMPv6.
func kindOfMessage(e *schema.Expr, family string) bool {
	switch {
	case e.Write:
		return false
	case e.Base == "link":
		return e.Offset == 12 && e.Len == 2
	case e.Base == "network" && family == "ip6", e.Base == "network" && family == "inet":
		return e.Offset == 6 && e.Len == 1
	case e.Base == "network":
		return e.Offset+e.Len <= 8
	}
	return e.Base == "transport" && e.Offset+e.Len <= 2
}

// neighbourAccept is the rule that lets the blocked question or answer through; nil where the table takes none.
func neighbourAccept(g *schema.Goal, res trace.Result, c culprit) *accept {
	d := res.Decider
	a := accept{address: g.Address, talk: d.Talk, talk6: res.Flow.Dst.Is6()}
	if c.table.Family == "bridge" && c.table.Compat || c.table.Family == "arp" && a.talk6 {
		return nil // of ebtables
	}
	named := func(name string) string { // a port that is not known has none
		if strings.ContainsRune(name, ' ') {
			return ""
		}
		return name
	}
	switch c.base.Hook {
	case "forward":
		a.in, a.out = named(d.In), named(d.Out)
	case "input", "prerouting":
		a.in = named(d.In)
	case "output", "postrouting":
		a.out = named(d.Out)
	}
	return &a
}

// talkWords says what the accept lets through.
func (a accept) talkWords() string {
	what := map[byte]string{1: "questions", 2: "answers"}[a.talk]
	how := "ARP's "
	if a.talk6 {
		how = "neighbour discovery's "
	}
	if a.in != "" {
		what += " in " + a.in
	}
	if a.out != "" {
		what += " out " + a.out
	}
	return how + what
}

// talkNFT is what nft(8) prints for the message.
func (a accept) talkNFT() string {
	if a.talk6 {
		return "icmpv6 type " + map[byte]string{1: "nd-neighbor-solicit", 2: "nd-neighbor-advert"}[a.talk]
	}
	return "arp operation " + map[byte]string{1: "request", 2: "reply"}[a.talk]
}

// talkExprs are the bytecode of talkNFT.
func (a accept) talkExprs(t *schema.Table) []schema.Expr {
	var e []schema.Expr
	is := func(x schema.Expr, data []byte) {
		x.DReg = reg1
		e = append(e, x, schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: data})
	}
	if t.Family == "bridge" || t.Family == "netdev" {
		is(schema.Expr{Name: "meta", Key: "protocol"}, map[bool][]byte{true: {0x86, 0xdd}, false: {0x08, 0x06}}[a.talk6])
	}
	if !a.talk6 {
		is(schema.Expr{Name: "payload", Base: "network", Offset: 6, Len: 2}, binary.BigEndian.AppendUint16(nil, uint16(a.talk)))
		return e
	}
	if t.Family == "inet" {
		is(schema.Expr{Name: "meta", Key: "nfproto"}, []byte{10}) // NFPROTO_IPV6
	}
	is(schema.Expr{Name: "meta", Key: "l4proto"}, []byte{protoNumber("ipv6-icmp")})
	is(schema.Expr{Name: "payload", Base: "transport", Offset: 0, Len: 1}, []byte{a.talkType()})
	return e
}

// arptables prints the message as arptables-save does, with a jump to the chain that is the mark.
func (a accept) arptables(mark string) string {
	w := []string{"-j", mark}
	if a.in != "" {
		w = append(w, "-i", a.in)
	}
	if a.out != "" {
		w = append(w, "-o", a.out)
	}
	return strings.Join(append(w, "--opcode", strconv.Itoa(int(a.talk))), " ")
}

// arptExprs is the same in bytecode, as arptables-nft makes it.
func (a accept) arptExprs(mark string) []schema.Expr {
	e := append(a.ebtDevices(), schema.ArptablesFrame()...)
	e = append(e, schema.Expr{Name: "payload", Base: "network", Offset: 6, Len: 2, DReg: reg1}, equals(binary.BigEndian.AppendUint16(nil, uint16(a.talk))))
	return append(e, jumpTo(mark)...)
}

func (a accept) talkType() byte { return map[byte]byte{1: ndSolicit, 2: ndAdvertise}[a.talk] }

// talkIPTables is the message as ip6tables prints it.
func (a accept) talkIPTables() string {
	return fmt.Sprintf("-p ipv6-icmp -m icmp6 --icmpv6-type %d", a.talkType())
}

// neighbours are the messages without which nobody finds the MAC address of another, on the links of a goal's ends: who asks
// for the flow asks for them.
func (h *healer) neighbours(g *schema.Goal) []trace.Asked {
	nd := trace.Box{V6: true, Proto: "icmp", SPort: []schema.PortRange{{First: ndSolicit << 8, Last: ndAdvertise<<8 | 255}}, Exact: true} // type and code
	arp := trace.Box{V4: true, Exact: true}
	var out []trace.Asked
	add := func(name string, hook string, b trace.Box, on trace.Names) {
		b.IIF, b.OIF = on, on
		switch hook {
		case "prerouting", "input":
			b.OIF = trace.Names{}
		case "output", "postrouting":
			b.IIF = trace.Names{}
		}
		out = append(out, trace.Asked{Hook: name + hook, Box: b})
	}
	for _, e := range []schema.Endpoint{g.From, g.To} {
		if e.Kind == "host" {
			continue
		}
		for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} {
			add("", hook, nd, h.names(e))
			add("bridge ", hook, nd, h.ports(e))
			add("arp ", hook, arp, h.names(e))
			add("arp bridge ", hook, arp, h.ports(e))
		}
	}
	return out
}

// arpRoads make the host answer ARP again: the strictest setting of the link that does.
func (h *healer) arpRoads(g *schema.Goal, d *trace.Hop) []road {
	s, _ := h.state.Get(d.Ref).(*schema.Sysctl)
	_, link, name, ok := schema.SplitLinkSysctl(d.Ref.Name)
	if s == nil || !ok || name != "arp_ignore" && name != "arp_filter" {
		return nil
	}
	value := "0"
	if name == "arp_ignore" && (s.Value == "8" || s.Value == "2") {
		value = "1"
	}
	set := newDraft(s, &schema.Sysctl{Key: s.Key, Value: value})
	set.address, set.because = g.Address, fmt.Sprintf("%s asks for it: %s", g.Address, g.Name)
	r := road{title: "sysctl " + s.Key + "=" + value, drafts: []*draft{set}}
	switch {
	case h.r.Settings.Foreign == "report":
		r.closed = `foreign = "report" in the vmnet block: what others set is only named`
	case link == "all":
		r.closed = "it is about every link of the host"
	}
	return []road{r}
}
