package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/xt"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// iptables writes a rule as iptables -S does, behind "-A CHAIN ". ok is false for a rule that iptables would not print, or
// would print wrongly.
func (p *printer) iptables(r *schema.Rule) (text string, ok bool) {
	w := &specWriter{ip6: p.table.Family == "ip6", exprs: r.Exprs, parts: p.lowered[r]}
	for w.i <= len(w.exprs) {
		if w.takePart() {
			continue
		}
		if w.i == len(w.exprs) {
			break
		}
		if !w.take() {
			return "", false
		}
	}
	return w.text(), true
}

// specWriter gathers the options of one rule.
type specWriter struct {
	ip6   bool
	exprs []schema.Expr
	parts []part
	i     int

	src, dst, in, out, proto, frag string
	protoNum                       int // -1 when not known
	matches                        []string
	header                         int // index in matches of the tcp or udp match of bytecode, plus one
	target                         string
}

func (w *specWriter) text() string {
	var words []string
	for _, s := range []string{w.src, w.dst, w.in, w.out, w.proto, w.frag} {
		if s != "" {
			words = append(words, s)
		}
	}
	words = append(words, w.matches...)
	if w.target != "" {
		words = append(words, w.target)
	}
	return strings.Join(words, " ")
}

// takePart takes a match or target of iptables, with all it was lowered to.
func (w *specWriter) takePart() bool {
	if len(w.parts) == 0 || w.parts[0].at != w.i {
		return false
	}
	part := w.parts[0]
	w.parts = w.parts[1:]
	w.i += part.n
	if part.target {
		w.target = "-j " + part.text
	} else {
		w.matches = append(w.matches, part.text)
	}
	return true
}

// next is the n-th expression from here on, nil at the end and where a match or target begins.
func (w *specWriter) next(n int) *schema.Expr {
	at := w.i + n
	if at >= len(w.exprs) || len(w.parts) > 0 && at >= w.parts[0].at {
		return nil
	}
	return &w.exprs[at]
}

// take takes what bytecode iptables-nft makes itself.
func (w *specWriter) take() bool {
	e := w.next(0)
	if e == nil {
		return false
	}
	switch e.Name {
	case "counter":
		w.i++
		return true
	case "immediate":
		return w.immediate(e)
	case "limit":
		w.i++
		return w.limit(e)
	case "log":
		w.i++
		return w.nflog(e)
	case "meta", "payload":
		return w.test(e)
	}
	return false
}

func (w *specWriter) immediate(e *schema.Expr) bool {
	if set := w.next(1); e.Verdict == nil && set != nil && set.Name == "meta" && set.Write && set.Key == "nftrace" {
		w.i += 2
		w.target = "-j TRACE"
		return true
	}
	w.i++
	switch v := e.Verdict; {
	case v == nil:
		return false
	case v.Kind == "jump":
		w.target = "-j " + v.Chain
	case v.Kind == "goto":
		w.target = "-g " + v.Chain
	case v.Kind == "accept", v.Kind == "drop", v.Kind == "return", v.Kind == "queue":
		w.target = "-j " + strings.ToUpper(v.Kind)
	default:
		return false
	}
	return true
}

// limit is the limit match, which iptables-nft writes as nft's own since 1.8.0.
func (w *specWriter) limit(e *schema.Expr) bool {
	d := exprDecoder{attrs: attrs{b: e.Opaque}, e: &schema.Expr{}, limits: limitExpr{unit: 1}}
	for d.next() {
		d.limit()
	}
	l := &d.limits
	units := map[uint64]string{1: "sec", 60: "min", 3600: "hour", 86400: "day"}
	if d.err != nil || l.bytes || l.over || units[l.unit] == "" {
		return false
	}
	s := fmt.Sprintf("-m limit --limit %d/%s", l.rate, units[l.unit])
	if l.burst != 5 {
		s += fmt.Sprintf(" --limit-burst %d", l.burst)
	}
	w.matches = append(w.matches, s)
	return true
}

// nflog is the NFLOG target.
func (w *specWriter) nflog(e *schema.Expr) bool {
	var prefix, rest string
	group := false
	a := attrs{b: e.Opaque}
	for a.next() {
		switch a.typ {
		case unix.NFTA_LOG_PREFIX:
			prefix = " --nflog-prefix " + iptspec.Quote(a.str())
		case unix.NFTA_LOG_GROUP:
			group = true
			if n := a.u16(); n != 0 {
				rest += fmt.Sprintf(" --nflog-group %d", n)
			}
		case unix.NFTA_LOG_SNAPLEN: // there only when it was asked for
			rest += fmt.Sprintf(" --nflog-size %d", a.u32())
		case unix.NFTA_LOG_QTHRESHOLD:
			if n := a.u16(); n != 0 {
				rest += fmt.Sprintf(" --nflog-threshold %d", n)
			}
		default:
			return false
		}
	}
	w.target = "-j NFLOG" + prefix + rest
	return group && a.err == nil
}

// tested is a load, perhaps under a mask, with its comparison.
type tested struct {
	load     *schema.Expr
	mask     []byte
	not      bool
	from, to []byte // to is nil for a single value
}

func (w *specWriter) test(load *schema.Expr) bool {
	t, ok := w.tested(load)
	if !ok {
		return false
	}
	if load.Name == "meta" {
		return w.meta(t)
	}
	return w.payload(t)
}

// tested takes a load and what follows up to the comparison.
func (w *specWriter) tested(load *schema.Expr) (t tested, ok bool) {
	t.load = load
	n := 1
	if b := w.next(n); b != nil && b.Name == "bitwise" {
		if b.Op != "bool" || b.SReg != load.DReg || b.DReg != load.DReg || len(bytes.Trim(b.Data2, "\x00")) != 0 {
			return t, false
		}
		t.mask = b.Data
		n++
	}
	c := w.next(n)
	if c == nil || c.SReg != load.DReg {
		return t, false
	}
	n++
	switch {
	case c.Name == "range":
		t.not, t.from, t.to = c.Op == "neq", c.Data, c.Data2
	case c.Name == "cmp" && (c.Op == "eq" || c.Op == "neq"):
		t.not, t.from = c.Op == "neq", c.Data
	case c.Name == "cmp" && c.Op == "gte" && w.upper(load, n) != nil:
		t.from, t.to = c.Data, w.upper(load, n).Data
		n++
	case c.Name == "cmp" && load.Name == "payload" && load.Base == "transport" && len(c.Data) == 2:
		t.openRange(c) // a range that ends at 0 or 65535
	default:
		return t, false
	}
	w.i += n
	return t, len(t.from) > 0
}

// upper is the "<= to" that follows a ">= from", nil when there is none.
func (w *specWriter) upper(load *schema.Expr, n int) *schema.Expr {
	to := w.next(n)
	if to == nil || to.Name != "cmp" || to.Op != "lte" || to.SReg != load.DReg {
		return nil
	}
	return to
}

// openRange writes a single bound of a port as the range it stands for.
func (t *tested) openRange(c *schema.Expr) {
	t.not = c.Op == "lt" || c.Op == "gt"
	if c.Op == "gte" || c.Op == "lt" {
		t.from, t.to = c.Data, []byte{0xff, 0xff}
	} else {
		t.from, t.to = []byte{0, 0}, c.Data
	}
}

func option(not bool, name, value string) string {
	if not {
		return "! " + name + " " + value
	}
	return name + " " + value
}

func (w *specWriter) meta(t tested) bool {
	switch t.load.Key {
	case "iifname":
		return t.mask == nil && t.to == nil && set(&w.in, option(t.not, "-i", linkPattern(t.from)))
	case "oifname":
		return t.mask == nil && t.to == nil && set(&w.out, option(t.not, "-o", linkPattern(t.from)))
	case "l4proto":
		return t.mask == nil && t.to == nil && len(t.from) == 1 && w.protocol(t)
	case "mark":
		if t.to != nil || len(t.from) != 4 {
			return false
		}
		m := uint32(0xffffffff)
		if t.mask != nil {
			m = hostU32(t.mask)
		}
		w.matches = append(w.matches, "-m mark "+option(t.not, "--mark", xt.Mark(hostU32(t.from), m)))
		return true
	case "pkttype":
		names := []string{"unicast", "broadcast", "multicast"}
		if t.to != nil || t.mask != nil || len(t.from) != 1 || int(t.from[0]) >= len(names) {
			return false
		}
		w.matches = append(w.matches, "-m pkttype "+option(t.not, "--pkt-type", names[t.from[0]]))
		return true
	}
	return false
}

// set sets an option that stands at most once.
func set(field *string, value string) bool {
	if *field != "" {
		return false
	}
	*field = value
	return true
}

// linkPattern writes a device; a comparison that ends before the name's zero is a prefix: "eth+".
func linkPattern(b []byte) string {
	if found := bytes.Contains(b, []byte{0}); found || len(b) == unix.IFNAMSIZ {
		return cString(b)
	}
	return string(b) + "+"
}

func (w *specWriter) protocol(t tested) bool {
	w.protoNum = -1
	if !t.not {
		w.protoNum = int(t.from[0])
	}
	return set(&w.proto, option(t.not, "-p", xt.ProtocolName(t.from[0])))
}

func (w *specWriter) payload(t tested) bool {
	l := t.load
	switch l.Base {
	case "network":
		return w.network(t)
	case "transport":
		if w.protoNum != unix.IPPROTO_TCP && w.protoNum != unix.IPPROTO_UDP {
			return false
		}
		return w.transport(t)
	}
	return false
}

func (w *specWriter) network(t tested) bool {
	off, n := t.load.Offset, t.load.Len
	src, dst, length, proto := uint32(12), uint32(16), uint32(4), uint32(9)
	if w.ip6 {
		src, dst, length, proto = 8, 24, 16, 6
	}
	switch {
	case off == proto && n == 1 && t.to == nil && t.mask == nil:
		return w.protocol(t)
	case !w.ip6 && off == 6 && n == 2 && bytes.Equal(t.mask, []byte{0x1f, 0xff}) && t.to == nil && bytes.Equal(t.from, []byte{0, 0}):
		if t.not {
			return set(&w.frag, "-f")
		}
		return set(&w.frag, "! -f")
	case t.to != nil || n > length:
		return false
	case off == src:
		a, ok := w.address(t)
		return ok && set(&w.src, option(t.not, "-s", a))
	case off == dst:
		a, ok := w.address(t)
		return ok && set(&w.dst, option(t.not, "-d", a))
	}
	return false
}

// address writes an address with its prefix: a comparison of its first bytes, or under a mask.
func (w *specWriter) address(t tested) (string, bool) {
	length := 4
	if w.ip6 {
		length = 16
	}
	full := make([]byte, length)
	copy(full, t.from)
	m := bytes.Repeat([]byte{0xff}, len(t.from))
	if t.mask != nil {
		m = t.mask
	}
	if len(m) != len(t.from) {
		return "", false
	}
	m = append(bytes.Clone(m), make([]byte, length-len(m))...)
	return xt.Prefix(full, m), true
}

// transport is the tcp or udp match: iptables-nft writes its ports and flags as bytecode since 1.8.8.
func (w *specWriter) transport(t tested) bool {
	name := "udp"
	if w.protoNum == unix.IPPROTO_TCP {
		name = "tcp"
	}
	var s string
	switch off := t.load.Offset; {
	case (off == 0 || off == 2) && t.load.Len == 2 && t.mask == nil && len(t.from) == 2:
		opt := "--sport"
		if off == 2 {
			opt = "--dport"
		}
		v := strconv.FormatUint(uint64(binary.BigEndian.Uint16(t.from)), 10)
		if len(t.to) == 2 {
			v += fmt.Sprintf(":%d", binary.BigEndian.Uint16(t.to))
		}
		s = option(t.not, opt, v)
	case off == 0 && t.load.Len == 4 && t.mask == nil && t.to == nil && !t.not && len(t.from) == 4: // both ports in one comparison
		s = fmt.Sprintf("--sport %d --dport %d", binary.BigEndian.Uint16(t.from), binary.BigEndian.Uint16(t.from[2:]))
	case name == "tcp" && off == 13 && t.load.Len == 1 && t.to == nil && len(t.from) == 1:
		m := byte(0xff)
		if len(t.mask) == 1 {
			m = t.mask[0]
		}
		s = option(t.not, "--tcp-flags", xt.TCPFlags(m)+" "+xt.TCPFlags(t.from[0]))
	default:
		return false
	}
	if w.header == 0 {
		w.matches = append(w.matches, "-m "+name)
		w.header = len(w.matches)
	}
	w.matches[w.header-1] += " " + s
	return true
}
