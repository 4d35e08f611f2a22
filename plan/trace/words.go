package trace

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// aspect is something of a packet that people have a word for, held in a row of variables.
type aspect struct {
	kind  aspectKind
	word  string // "in", "from", "dport" …
	first int    // variable
	bits  int
	names []string // of the values, for kinds that list them: interfaces
}

type aspectKind uint8

const (
	aspectIface aspectKind = iota // a number that says which of names
	aspectProto
	aspectState // one variable for each bit of "ct state"
	aspectAddr
	aspectPort
)

// anotherIface is the name of all interfaces that are in no list.
const anotherIface = "another interface"

// slab is one value of some aspects, and what is left of the set there.
type slab struct {
	at   []bdd.Node // a set of values for each aspect, in order
	rest bdd.Node
}

// slabs cuts a set of packets into products of values of the aspects, which are in the order of their variables and hold
// all variables of the set. They are disjoint. whole is false when there are more than most.
func slabs(s *bdd.Space, set bdd.Node, as []aspect, most int) (out []slab, whole bool) {
	if set == bdd.False {
		return nil, true
	}
	out = []slab{{rest: set}}
	whole = true
	for _, a := range as {
		var next []slab
		for _, b := range out {
			for _, part := range cut(s, b.rest, a) {
				if len(next) == most {
					whole = false
					break
				}
				next = append(next, slab{append(slices.Clip(b.at), part.at[0]), part.rest})
			}
		}
		out = next
	}
	return out, whole
}

// cut groups the values of the topmost aspect by what is left of the set there.
func cut(s *bdd.Space, set bdd.Node, a aspect) []slab {
	last := a.first + a.bits
	known := map[bdd.Node][]slab{}
	var walk func(n bdd.Node) []slab
	walk = func(n bdd.Node) []slab {
		if n == bdd.False {
			return nil
		}
		v, lo, hi, ok := s.Branch(n)
		if !ok || v >= last {
			return []slab{{[]bdd.Node{bdd.True}, n}}
		}
		if got, ok := known[n]; ok {
			return got
		}
		var out []slab
		for _, side := range []struct {
			n  bdd.Node
			is bdd.Node
		}{{lo, s.Not(s.Var(v))}, {hi, s.Var(v)}} {
			for _, b := range walk(side.n) {
				at := s.And(side.is, b.at[0])
				if i := slices.IndexFunc(out, func(o slab) bool { return o.rest == b.rest }); i >= 0 {
					out[i].at[0] = s.Or(out[i].at[0], at)
				} else {
					out = append(out, slab{[]bdd.Node{at}, b.rest})
				}
			}
		}
		known[n] = out
		return out
	}
	got := walk(set)
	slices.SortStableFunc(got, func(x, y slab) int { // the larger first
		switch dx, dy := s.Share(x.at[0]), s.Share(y.at[0]); {
		case dx > dy:
			return -1
		case dx < dy:
			return 1
		}
		return 0
	})
	return got
}

// sentence is the order in which Box.String says the aspects.
var sentence = []string{"in", "out", "from", "to", "sport", "dport", "ct state"}

// phrase says which packets a product holds, in the words of a rule; placed tells whether it names addresses.
func phrase(s *bdd.Space, as []aspect, at []bdd.Node) (said string, placed bool) {
	text := map[string]string{}
	for i, a := range as {
		text[a.word] = a.text(s, at[i])
	}
	proto, ports := text["proto"], text["sport"] != "" || text["dport"] != ""
	if strings.ContainsAny(proto, ",!") {
		proto = "proto " + proto
	}
	var w []string
	for _, word := range sentence {
		switch x := text[word]; {
		case word == "sport" && proto != "" && !ports:
			w = append(w, proto)
		case x == "":
		case word == "sport" && strings.HasPrefix(proto, "icmp"):
			w = append(w, proto+" "+icmpText(x))
		case strings.HasSuffix(word, "port"):
			w = append(w, cmp.Or(proto, "th")+" "+word+" "+x)
		default:
			w = append(w, word+" "+x)
		}
	}
	if len(w) == 0 {
		return "everything", false
	}
	return strings.Join(w, " "), text["from"] != "" || text["to"] != ""
}

// icmpText says ranges of ports as types and codes of ICMP, which stand in their place.
func icmpText(ports string) string {
	rest, not := strings.CutPrefix(ports, "!= ")
	var w []string
	for s := range strings.SplitSeq(rest, ",") {
		from, to, isRange := strings.Cut(s, "-")
		lo, err := strconv.ParseUint(from, 10, 16)
		hi := lo
		if isRange && err == nil {
			hi, err = strconv.ParseUint(to, 10, 16)
		}
		switch {
		case err != nil:
			w = append(w, s)
		case lo == hi:
			w = append(w, fmt.Sprintf("%d/%d", lo>>8, lo&0xff))
		case lo&0xff != 0 || hi&0xff != 0xff:
			w = append(w, fmt.Sprintf("%d/%d-%d/%d", lo>>8, lo&0xff, hi>>8, hi&0xff))
		case lo>>8 == hi>>8:
			w = append(w, strconv.FormatUint(lo>>8, 10))
		default:
			w = append(w, fmt.Sprintf("%d-%d", lo>>8, hi>>8))
		}
	}
	if not {
		return "type != " + strings.Join(w, ",")
	}
	return "type " + strings.Join(w, ",")
}

// text is a set of values, "" for all of them. Where the others are fewer it names those: "!= 22".
func (a aspect) text(s *bdd.Space, set bdd.Node) string {
	if set == bdd.True {
		return ""
	}
	switch a.kind {
	case aspectIface:
		return a.listed(len(a.names), func(i int) bool { return a.has(s, set, uint64(i)) }, func(i int) string { return a.names[i] })
	case aspectProto:
		return a.listed(256, func(i int) bool { return a.has(s, set, uint64(i)) }, func(i int) string { return protoName(uint8(i)) })
	case aspectState:
		return a.states(s, set)
	case aspectAddr, aspectPort:
	}
	in, more := a.ranges(s, set)
	if out, cut := a.ranges(s, s.Not(set)); !cut && (more || len(out) < len(in)) {
		return "!= " + a.ends(out, false)
	}
	return a.ends(in, more)
}

// has tells whether a value is in a set.
func (a aspect) has(s *bdd.Space, set bdd.Node, value uint64) bool {
	return s.Eval(set, func(v int) bool { return value>>(a.bits-1-(v-a.first))&1 == 1 })
}

// listed names the members among n values, or those that are not where they are fewer.
func (aspect) listed(n int, has func(int) bool, name func(int) string) string {
	var in, out []string
	for i := range n {
		if has(i) {
			in = append(in, name(i))
		} else {
			out = append(out, name(i))
		}
	}
	text := func(w []string) string { return list(w, func(x string) string { return x }) }
	switch {
	case len(out) == 0:
		return ""
	case len(out) < len(in), slices.Contains(in, anotherIface):
		return "!= " + text(out)
	}
	return text(in)
}

// states are those that some packet of the set has.
func (a aspect) states(s *bdd.Space, set bdd.Node) string {
	var mask, all uint32
	for i := range a.bits {
		if i == 4 || i == 5 { // IP_CT_IS_REPLY's, never seen by rules
			continue
		}
		all |= 1 << i
		if s.Eval(set, func(v int) bool { return v == a.first+i }) {
			mask |= 1 << i
		}
	}
	if mask == all {
		return ""
	}
	return ctText(mask)
}

// span is an interval of values.
type span struct{ lo, hi []byte }

// mostSpans bounds what is listed of one aspect.
const mostSpans = 8

// ranges lists a set of numbers as intervals, in order; more says that there are others.
func (a aspect) ranges(s *bdd.Space, set bdd.Node) (out []span, more bool) {
	value := make([]byte, a.bits/8)
	var walk func(n bdd.Node, i int) bool
	walk = func(n bdd.Node, i int) bool {
		if n == bdd.False {
			return true
		}
		v, lo, hi, ok := s.Branch(n)
		if !ok { // everything below
			end := slices.Clone(value)
			for k := i; k < a.bits; k++ {
				end[k/8] |= 0x80 >> (k % 8)
			}
			if k := len(out) - 1; k >= 0 && follows(out[k].hi, value) {
				out[k].hi = end
				return true
			}
			if len(out) == mostSpans {
				more = true
				return false
			}
			out = append(out, span{slices.Clone(value), end})
			return true
		}
		bit := byte(0x80 >> (i % 8))
		if v > a.first+i { // this bit does not matter, a later one does
			lo, hi = n, n
		}
		if !walk(lo, i+1) {
			return false
		}
		value[i/8] |= bit
		on := walk(hi, i+1)
		value[i/8] &^= bit
		return on
	}
	walk(set, 0)
	return out, more
}

// follows tells whether b is a plus one.
func follows(a, b []byte) bool {
	carry := byte(1)
	for i, x := range slices.Backward(a) {
		sum := x + carry
		if sum != b[i] {
			return false
		}
		if sum != 0 {
			carry = 0
		}
	}
	return carry == 0
}

// ends prints intervals as prefixes or ports.
func (a aspect) ends(in []span, more bool) string {
	var w []string
	for _, x := range in {
		switch {
		case a.kind == aspectPort:
			w = append(w, schema.PortRange{First: binary.BigEndian.Uint16(x.lo), Last: binary.BigEndian.Uint16(x.hi)}.String())
		default:
			w = append(w, addrSpan(x))
		}
	}
	text := strings.Join(w, ",")
	if more {
		text += ",…"
	}
	return text
}

// addrSpan is an interval of addresses: a prefix where it is one.
func addrSpan(x span) string {
	lo, _ := netip.AddrFromSlice(x.lo)
	hi, _ := netip.AddrFromSlice(x.hi)
	switch p := (addrRange{lo, hi}).prefixes(); {
	case lo == hi:
		return lo.String()
	case len(p) == 1:
		return p[0].String()
	}
	return lo.String() + "-" + hi.String()
}

// witness is one packet of a set: an ordinary one where there is.
func witness(s *bdd.Space, as []aspect, set bdd.Node) string {
	plain := map[int]bool{}
	prefer := func(a aspect, value []byte) {
		for i := range a.bits {
			plain[a.first+i] = value[i/8]&(0x80>>(i%8)) != 0
		}
	}
	narrow := func(a aspect, values ...byte) {
		for _, v := range values {
			if one := s.And(set, s.EqConst(s.Vars(a.first, a.bits), []byte{v})); one != bdd.False {
				set = one
				return
			}
		}
	}
	for _, a := range as {
		switch {
		case a.kind == aspectProto:
			narrow(a, protoTCP, protoUDP, protoICMP, protoICMPv6)
		case a.kind == aspectState:
			prefer(a, []byte{0x80 >> bitNew})
		case a.kind == aspectAddr && a.bits == 32:
			prefer(a, map[string][]byte{"from": {192, 0, 2, 1}, "to": {198, 51, 100, 1}}[a.word])
		case a.kind == aspectAddr:
			v := [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}
			if a.word == "to" {
				v[5] = 1
			}
			prefer(a, v[:])
		case a.kind == aspectPort && a.word == "sport":
			prefer(a, binary.BigEndian.AppendUint16(nil, clientPort))
		case a.kind == aspectPort:
			prefer(a, []byte{0, 22})
		}
	}
	got, ok := s.Pick(set, func(v int) bool { return plain[v] })
	if !ok {
		return ""
	}
	return packetText(as, func(v int) bool {
		if value, ok := got[v]; ok {
			return value
		}
		return plain[v]
	})
}

// packetText is a packet in words.
func packetText(as []aspect, value func(v int) bool) string {
	var v view
	for _, a := range as {
		raw := make([]byte, (a.bits+7)/8)
		for i := range a.bits {
			if value(a.first + i) {
				raw[i/8] |= 0x80 >> (i % 8)
			}
		}
		addr, _ := netip.AddrFromSlice(raw)
		switch {
		case a.kind == aspectIface:
			k := 0
			for i := range a.bits {
				k = k<<1 | int(raw[i/8]>>(7-i%8)&1)
			}
			name := strconv.Itoa(k)
			if k < len(a.names) {
				name = a.names[k]
			}
			if a.word == "in" {
				v.in = name
			} else {
				v.out = name
			}
		case a.kind == aspectProto:
			v.proto = raw[0]
		case a.kind == aspectState:
			for i := range a.bits {
				if raw[0]&(0x80>>i) != 0 {
					v.state |= 1 << i
				}
			}
		case a.kind == aspectAddr && a.word == "from":
			v.src = addr
		case a.kind == aspectAddr:
			v.dst = addr
		case a.word == "sport":
			v.sport = binary.BigEndian.Uint16(raw)
		case a.word == "dport":
			v.dport = binary.BigEndian.Uint16(raw)
		}
	}
	return v.String()
}
