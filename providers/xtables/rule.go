package xtables

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
)

// Verdicts of a standard target are -verdict-1 (include/uapi/linux/netfilter.h), RETURN is -NF_REPEAT-1.
const (
	nfDrop   = 0
	nfAccept = 1
	nfQueue  = 3
	nfRepeat = 4
)

// Flags of struct ipt_ip and ip6t_ip6.
const (
	flagFrag = 1 // IPT_F_FRAG, IPv4 only

	invIn    = 0x01 // IPT_INV_VIA_IN
	invOut   = 0x02
	invSrc   = 0x08
	invDst   = 0x10
	invFrag  = 0x20
	invProto = 0x40
)

// rule decodes one entry into bytecode and into the text of iptables-legacy -S.
func (d *decoder) rule(e entry) *schema.Rule {
	r, w := d.newRule(), &d.writer
	r.Packets = d.newCounter(binary.NativeEndian.Uint64(e.b[d.counters:]))
	w.rule, w.words, w.exprs = r, w.words[:0], w.exprs[:0]
	d.head(w, e)
	d.matches(w, e)
	d.end(w, e)
	r.Text = strings.Join(w.words, " ")
	r.Exprs = d.keep(w.exprs)
	return r
}

// slab is how many rules, expressions or counters are made at a time: a host has thousands.
const slab = 256

// newRule is &schema.Rule{}.
func (d *decoder) newRule() *schema.Rule {
	if len(d.rules) == 0 {
		d.rules = make([]schema.Rule, slab)
	}
	r := &d.rules[0]
	d.rules = d.rules[1:]
	return r
}

// newCounter is new(n).
func (d *decoder) newCounter(n uint64) *uint64 {
	if len(d.packets) == 0 {
		d.packets = make([]uint64, slab)
	}
	c := &d.packets[0]
	*c = n
	d.packets = d.packets[1:]
	return c
}

// keep is slices.Clone(exprs).
func (d *decoder) keep(exprs []schema.Expr) []schema.Expr {
	n := len(exprs)
	if len(d.exprs) < n {
		d.exprs = make([]schema.Expr, max(n, slab))
	}
	out := d.exprs[:n:n]
	d.exprs = d.exprs[n:]
	copy(out, exprs)
	return out
}

// writer gathers the two forms of a rule.
type writer struct {
	rule  *schema.Rule
	words []string
	exprs []schema.Expr
}

func (w *writer) say(not bool, words ...string) {
	if not {
		w.words = append(w.words, "!")
	}
	w.words = append(w.words, words...)
}

func (w *writer) do(e ...schema.Expr) { w.exprs = append(w.exprs, e...) }

func op(not bool) string {
	if not {
		return "neq"
	}
	return "eq"
}

// head is what every entry has: addresses, interfaces, protocol, fragments.
func (d *decoder) head(w *writer, e entry) {
	b, n := e.b, d.addr
	inv := b[d.invflags]
	off := [2]uint32{12, 16} // of source and destination in the IP header
	if n == 16 {
		off = [2]uint32{8, 24}
	}
	d.address(w, "-s", inv&invSrc != 0, b[:n], b[2*n:3*n], off[0])
	d.address(w, "-d", inv&invDst != 0, b[n:2*n], b[3*n:4*n], off[1])
	i := 4 * n
	d.iface(w, "-i", "iifname", inv&invIn != 0, b[i:i+16], b[i+32:i+48])
	d.iface(w, "-o", "oifname", inv&invOut != 0, b[i+16:i+32], b[i+48:i+64])
	if p := binary.NativeEndian.Uint16(b[d.proto:]); p != 0 {
		w.say(inv&invProto != 0, "-p", xt.ProtocolName(byte(p)))
		w.do(schema.Expr{Name: "meta", Key: "l4proto", DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: op(inv&invProto != 0), Data: []byte{byte(p)}})
	}
	if n == 4 && b[d.flags]&flagFrag != 0 {
		not := inv&invFrag != 0
		w.say(not, "-f")
		w.do(
			schema.Expr{Name: "payload", Base: "network", Offset: 6, Len: 2, DReg: 1},
			schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: 2, Op: "bool", Data: []byte{0x1f, 0xff}, Data2: []byte{0, 0}},
			schema.Expr{Name: "cmp", SReg: 1, Op: op(!not), Data: []byte{0, 0}},
		)
	}
}

func (d *decoder) address(w *writer, flag string, not bool, addr, mask []byte, off uint32) {
	if bytes.Count(mask, []byte{0}) == len(mask) && bytes.Count(addr, []byte{0}) == len(addr) && !not {
		return
	}
	w.say(not, flag, xt.Prefix(addr, mask))
	w.do(schema.Expr{Name: "payload", Base: "network", Offset: off, Len: uint32(len(addr)), DReg: 1})
	if bytes.Count(mask, []byte{0xff}) != len(mask) {
		w.do(schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(len(addr)), Op: "bool", Data: bytes.Clone(mask), Data2: make([]byte, len(addr))})
	}
	w.do(schema.Expr{Name: "cmp", SReg: 1, Op: op(not), Data: bytes.Clone(addr)})
}

// iface: the mask covers the name's end for an exact name, only the stem for "virbr+".
func (d *decoder) iface(w *writer, flag, key string, not bool, name, mask []byte) {
	covered := bytes.Count(mask, []byte{0xff})
	if covered == 0 {
		return
	}
	text, data := cstring(name), bytes.Clone(name)
	if covered <= len(text) {
		text, data = text[:covered]+"+", data[:covered]
	}
	w.say(not, flag, text)
	w.do(schema.Expr{Name: "meta", Key: key, DReg: 1}, schema.Expr{Name: "cmp", SReg: 1, Op: op(not), Data: data})
}

func (d *decoder) matches(w *writer, e entry) {
	end := int(binary.NativeEndian.Uint16(e.b[d.targetOffset:]))
	for at := d.size; at+32 <= end; {
		size := int(binary.NativeEndian.Uint16(e.b[at:]))
		if size < 32 || at+size > end {
			w.do(schema.Expr{Name: "xtmatch", Key: "?", Text: "[a match that cannot be read]", Opaque: bytes.Clone(e.b[at:end])})
			w.say(false, "[a match that cannot be read]")
			return
		}
		l := xt.Match(xt.Extension{
			Family: d.name, Name: cstring(e.b[at+2 : at+31]), Revision: uint32(e.b[at+31]), Info: e.b[at+32 : at+size : at+size],
			Sets: d.sets,
		})
		w.do(l.Exprs...)
		w.say(false, l.Text)
		if l.Comment != "" {
			w.rule.Comment = l.Comment
		}
		at += size
	}
}

func (d *decoder) end(w *writer, e entry) {
	w.do(schema.Expr{Name: "counter"})
	name, revision, data := d.target(e)
	if name != "" {
		l := xt.Target(xt.Extension{Family: d.name, Name: name, Revision: uint32(revision), Info: data, Sets: d.sets})
		w.do(l.Exprs...)
		w.say(false, "-j", l.Text)
		return
	}
	if len(data) < 4 {
		return
	}
	d.standard(w, e, int32(binary.NativeEndian.Uint32(data)))
}

func (d *decoder) standard(w *writer, e entry, v int32) {
	verdict := &schema.Verdict{}
	word := ""
	switch {
	case v >= 0 && uint32(v) == e.next: // falls through: a rule without a target
		return
	case v >= 0:
		verdict.Kind, verdict.Chain, word = "jump", d.userChain[uint32(v)], "-j"
		if e.b[d.flags]&d.gotoFlag != 0 {
			verdict.Kind, word = "goto", "-g"
		}
		w.say(false, word, verdict.Chain)
	default:
		var word string
		verdict.Kind, word = verdictName(-v - 1)
		w.say(false, "-j", word)
	}
	w.do(schema.Expr{Name: "immediate", Verdict: verdict})
}

// verdictName is a verdict in our words and in those of iptables.
func verdictName(n int32) (kind, word string) {
	switch n {
	case nfDrop:
		return "drop", "DROP"
	case nfAccept:
		return "accept", "ACCEPT"
	case nfQueue:
		return "queue", "QUEUE"
	case nfRepeat:
		return "return", "RETURN"
	}
	return "", ""
}
