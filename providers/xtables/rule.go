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
	r := &schema.Rule{Packets: new(binary.NativeEndian.Uint64(e.b[d.counters:]))}
	w := &writer{rule: r}
	d.head(w, e)
	d.matches(w, e)
	d.end(w, e)
	r.Text = strings.Join(w.words, " ")
	return r
}

// writer gathers the two forms of a rule.
type writer struct {
	rule  *schema.Rule
	words []string
}

func (w *writer) say(not bool, words ...string) {
	if not {
		w.words = append(w.words, "!")
	}
	w.words = append(w.words, words...)
}

func (w *writer) do(e ...schema.Expr) { w.rule.Exprs = append(w.rule.Exprs, e...) }

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
	off := map[int][2]uint32{4: {12, 16}, 16: {8, 24}}[n] // of source and destination in the IP header
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
			Family: d.name, Name: cstring(e.b[at+2 : at+31]), Revision: uint32(e.b[at+31]), Info: bytes.Clone(e.b[at+32 : at+size]),
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
		l := xt.Target(xt.Extension{Family: d.name, Name: name, Revision: uint32(revision), Info: bytes.Clone(data)})
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
		kinds := map[int32][2]string{nfDrop: {"drop", "DROP"}, nfAccept: {"accept", "ACCEPT"}, nfQueue: {"queue", "QUEUE"}, nfRepeat: {"return", "RETURN"}}
		k := kinds[-v-1]
		verdict.Kind = k[0]
		w.say(false, "-j", k[1])
	}
	w.do(schema.Expr{Name: "immediate", Verdict: verdict})
}
