package nft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// lookup takes "KEY @set", "KEY { … }", "KEY vmap …", and keeps "KEY map …" for what uses its result.
func (w *ruleText) lookup(e *schema.Expr) bool {
	s := w.table.SetNamed(e.Set)
	if s == nil || len(e.Opaque) > 0 {
		return false
	}
	fields, ok := w.keyFields(e.SReg, s)
	if !ok {
		return false
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.text)
	}
	rhs := "@" + s.Name
	if s.Flags&schema.SetAnonymous != 0 {
		if rhs, ok = w.elements(s, fields); !ok {
			return false
		}
	}
	key := strings.Join(names, " . ")
	switch {
	case s.Flags&schema.SetMap == 0 && e.Op == "neq":
		w.say("%s != %s", key, rhs)
	case s.Flags&schema.SetMap == 0:
		w.say("%s %s", key, rhs)
	case s.DataType == schema.VerdictType:
		w.say("%s vmap %s", key, rhs)
	default:
		return w.store(e.DReg, &cell{text: key + " map " + rhs, typ: s.DataType, joined: s.DataType>>typeBits != 0})
	}
	return true
}

// keyFields are the fields whose values, one after the other, are looked up.
func (w *ruleText) keyFields(reg uint32, s *schema.Set) ([]field, bool) {
	return w.fieldsAt(reg, int(s.KeyLen))
}

// fieldsAt are the fields in the registers from reg on that fill n bytes.
func (w *ruleText) fieldsAt(reg uint32, n int) ([]field, bool) {
	var fields []field
	start := registerWord(reg)
	if start < 0 {
		return nil, false
	}
	for pos := 0; pos < n; {
		i := start + pos/4
		if i >= len(w.regs) || w.regs[i] == nil {
			return nil, false
		}
		f, ok := w.field(w.regs[i])
		size := int(loadLen(w.regs[i].load))
		if !ok || f.mask != nil || f.prefix != 0 || size == 0 {
			return nil, false
		}
		f.size = size
		fields = append(fields, f)
		pos += (size + 3) &^ 3
	}
	return fields, len(fields) > 0
}

func fieldNames(fields []field) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.text)
	}
	return strings.Join(names, " . ")
}

// loadLen is how many bytes an expression puts into its register.
func loadLen(l *schema.Expr) uint32 {
	if l == nil {
		return 0
	}
	if l.Name == "payload" || l.Name == "exthdr" {
		return l.Len
	}
	switch l.Key {
	case "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind", "sdifname", "helper":
		return 16
	case "bytes", "packets", "avgpkt":
		return 8
	case "ipsec", "day", "l3proto":
		return 1
	case "l4proto", "nfproto", "pkttype", "direction":
		return 1
	case "protocol":
		if l.Name == "ct" {
			return 1
		}
		return 2
	case "iiftype", "oiftype", "proto_src", "proto_dst":
		return 2
	case "saddr", "daddr":
		if l.Name == "ct" && l.Family == "ip6" {
			return 16
		}
		return 4
	}
	if l.Name == "fib" && l.Op == "oifname" {
		return 16
	}
	return 4
}

// elements writes the elements of a nameless set, in nft's order: by the value of the key.
func (w *ruleText) elements(s *schema.Set, fields []field) (string, bool) {
	sorted := slices.Clone(s.Elements)
	slices.SortStableFunc(sorted, func(a, b schema.Element) int { return compareElements(&a, &b, fields) })
	var list []string
	for i := range sorted {
		text, ok := w.element(s, &sorted[i], fields)
		if !ok {
			return "", false
		}
		list = append(list, text)
	}
	if len(list) == 0 {
		return "", false
	}
	return "{ " + strings.Join(list, ", ") + " }", true
}

// keyPart cuts the part of a key that belongs to a field.
func keyPart(key []byte, f field) (part, rest []byte) {
	n := int(typeLen(f.typ))
	if f.typ == typeInteger || f.typ == typeExists {
		n = 4
	}
	if f.size != 0 {
		n = f.size
	}
	if n == 0 || n > len(key) {
		n = len(key)
	}
	return key[:n], key[min((n+3)&^3, len(key)):]
}

func compareElements(a, b *schema.Element, fields []field) int {
	if a.CatchAll != b.CatchAll { // the one for all others stands last
		if a.CatchAll {
			return 1
		}
		return -1
	}
	return compareKeys(a.Key, b.Key, fields)
}

func compareKeys(a, b []byte, fields []field) int {
	for _, f := range fields {
		var x, y []byte
		if len(fields) == 1 {
			x, y = a, b
		} else {
			x, a = keyPart(a, f)
			y, b = keyPart(b, f)
		}
		if !f.big && isLittleEndian() {
			x, y = slices.Clone(x), slices.Clone(y)
			slices.Reverse(x)
			slices.Reverse(y)
		}
		if c := bytes.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func (w *ruleText) element(s *schema.Set, e *schema.Element, fields []field) (string, bool) {
	key, ok := w.elementKey(s, e, fields)
	if !ok || e.Timeout != 0 || e.Comment != "" {
		return "", false
	}
	switch {
	case e.Verdict != nil:
		return key + " : " + verdictText(e.Verdict), true
	case s.Flags&schema.SetMap != 0:
		data, ok := w.elementData(s, e)
		return key + " : " + data, ok
	}
	return key, true
}

// elementData writes the data of a map; a concatenation field by field.
func (w *ruleText) elementData(s *schema.Set, e *schema.Element) (string, bool) {
	var types []uint32
	for t := s.DataType; t != 0; t >>= typeBits {
		types = append(types, t&(1<<typeBits-1))
	}
	slices.Reverse(types)
	var list []string
	rest := []byte(e.Data)
	for _, t := range types {
		part, next := keyPart(rest, field{typ: t})
		if len(types) == 1 {
			part = rest
		}
		v, ok := w.value(t, part, byteOrder(t) != byteorderHost && (len(types) > 1 || !hostData(s)))
		if !ok {
			return "", false
		}
		list, rest = append(list, v), next
	}
	return strings.Join(list, " . "), len(list) > 0
}

// hostData tells whether nft noted that the data of a map is in the order of the machine.
func hostData(s *schema.Set) bool {
	for b := []byte(s.UserData); len(b) >= 2 && len(b) >= 2+int(b[1]); b = b[2+int(b[1]):] {
		if b[0] == udataSetDataBO && b[1] == 4 {
			return hostU32(b[2:6]) == byteorderHost
		}
	}
	return false
}

func (w *ruleText) elementKey(s *schema.Set, e *schema.Element, fields []field) (string, bool) {
	if e.CatchAll {
		return "*", true
	}
	var list []string
	from, to := []byte(e.Key), []byte(e.KeyEnd)
	for _, f := range fields {
		a, b := from, to
		if len(fields) > 1 {
			a, from = keyPart(from, f)
			if len(to) > 0 {
				b, to = keyPart(to, f)
			}
		}
		if s.Flags&schema.SetInterval != 0 {
			f.big = true // intervals are kept in network order
		}
		text, ok := w.keyRange(f, a, b)
		if !ok {
			return "", false
		}
		list = append(list, text)
	}
	return strings.Join(list, " . "), true
}

// keyRange writes one field of a key: a value, a prefix or a range.
func (w *ruleText) keyRange(f field, from, to []byte) (string, bool) {
	if f.typ == typeIfName && f.big {
		return linkRange(from, to)
	}
	if len(to) == 0 || bytes.Equal(from, to) {
		return w.value(f.typ, f.unshift(from), f.big)
	}
	a, ok := w.bound(f, from)
	if !ok {
		return "", false
	}
	if f.typ == typeIPAddr || f.typ == typeIP6Addr {
		if n, ok := prefixOf(from, to); ok {
			return fmt.Sprintf("%s/%d", a, n), true
		}
	}
	b, ok := w.bound(f, to)
	return a + "-" + b, ok
}

// linkRange writes the names of links that an interval covers: one, or a prefix "eth*".
func linkRange(from, to []byte) (string, bool) {
	name := cString(from)
	if len(to) == 0 || bytes.Equal(from, to) {
		return quoted(name), true
	}
	rest := to[min(len(name), len(to)):]
	if !bytes.HasPrefix(to, []byte(name)) || bytes.Count(rest, []byte{0xff}) != len(rest) {
		return "", false
	}
	return quoted(name + "*"), true
}

// prefixOf is the length of the prefix that a range covers exactly.
func prefixOf(from, to []byte) (int, bool) {
	m := make([]byte, len(from))
	for i := range from {
		m[i] = ^(from[i] ^ to[i])
		if from[i]&m[i] != from[i] {
			return 0, false
		}
	}
	return maskOnes(m)
}

// dynset takes "update @set { KEY … }".
func (w *ruleText) dynset(e *schema.Expr) bool {
	s := w.table.SetNamed(e.Set)
	if s == nil || s.Flags&schema.SetAnonymous != 0 || s.Flags&schema.SetMap != 0 || e.SReg2 != 0 {
		return false
	}
	fields, ok := w.keyFields(e.SReg, s)
	if !ok {
		return false
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.text)
	}
	var what strings.Builder
	what.WriteString(strings.Join(names, " . "))
	a := attrs{b: e.Opaque}
	for a.next() {
		switch a.typ {
		case unix.NFTA_DYNSET_TIMEOUT:
			if ms := a.u64(); ms != 0 {
				what.WriteString(" timeout " + duration(ms))
			}
		case unix.NFTA_DYNSET_EXPR:
			name, data, err := splitExpression(a.val)
			if err != nil {
				return false
			}
			inner, err := decodeExpr(name, data)
			if err != nil {
				return false
			}
			x := &ruleText{}
			x.reset(w.printer, nil)
			if !x.statement(&inner) || inner.Name == "dynset" {
				return false
			}
			what.WriteString(" " + strings.Join(x.stmts, " "))
		case nftaDynsetExpressions:
			return false
		}
	}
	w.say("%s @%s { %s }", e.Op, e.Set, what.String())
	return a.err == nil
}

// duration writes milliseconds as nft does: "1h30m", "1s500ms".
func duration(ms uint64) string {
	var s strings.Builder
	for _, u := range []struct {
		name string
		ms   uint64
	}{{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}} {
		if n := ms / u.ms; n > 0 {
			fmt.Fprintf(&s, "%d%s", n, u.name)
			ms %= u.ms
		}
	}
	if s.String() == "" {
		return "0s"
	}
	return s.String()
}
