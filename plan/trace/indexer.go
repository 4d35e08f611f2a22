package trace

import (
	"cmp"
	"slices"
)

// fieldKey tells fields apart.
type fieldKey struct {
	code      opcode
	base, off uint32
	size      int
	key       string
}

// indexer makes an index.
type indexer struct {
	c    *chain
	few  int // tests of a field, for it to be worth the while
	at   map[fieldKey]int
	all  []*indexField
	mask []map[word]int // of each field, its buckets
	held []held         // in registers, by the rule at hand
	last []int          // of each field, the last rule that compares it
}

// held is a field in a register, under a mask.
type held struct {
	at, size, field int
	mask            [16]byte
}

// fields reads the rules. A chain in which a rule looks at what it has not loaded itself has no index.
func (x *indexer) fields() []*indexField {
	for i := range x.c.rules {
		if !x.rule(i) {
			return nil
		}
	}
	slices.SortStableFunc(x.all, func(a, b *indexField) int { return -cmp.Compare(a.tests, b.tests) })
	out := x.all[:min(len(x.all), mostFields)]
	for k, f := range out {
		if f.tests < x.few {
			out = out[:k]
			break
		}
		f.finish(len(x.c.rules))
	}
	return slices.Clip(out)
}

func (f *indexField) finish(rules int) {
	f.kept = map[seen][]uint64{}
	f.anyhow = make([]uint64, (rules+63)/64)
	for i := range f.anyhow {
		f.anyhow[i] = ^uint64(0)
	}
	for k := range f.buckets {
		b := &f.buckets[k]
		slices.SortFunc(b.tests, func(s, t test) int { return s.value.compare(t.value) })
		for _, t := range b.tests {
			f.anyhow[t.rule>>6] &^= 1 << (t.rule & 63)
		}
	}
}

// rule reads what a rule compares with constants before it acts.
func (x *indexer) rule(i int) bool {
	x.held = x.held[:0]
	var loaded uint64 // bytes of the registers
	for k := x.c.rules[i].from; k < x.c.rules[i].to; k++ {
		o := &x.c.ops[k]
		for n, reg := range []uint8{o.sreg, o.sreg2, o.sreg3, o.sreg4} {
			if o.has>>n&1 != 0 && loaded>>reg&1 == 0 {
				return false
			}
		}
		if o.code >= opVerdict || o.code == opLookup && o.set.vmap && o.has&8 == 0 {
			return x.rest(k, x.c.rules[i].to, loaded)
		}
		switch o.code { // the others write registers that are not followed
		case opCmp:
			if f, t, mask, ok := x.compared(o); ok && x.last[f] != i {
				x.last[f] = i
				x.put(f, mask, test{t, int32(i)})
			}
			continue
		case opRange, opIn, opMaybe, opAny:
			if o.code == opAny { // its alternatives may write any
				x.held = x.held[:0]
			}
			continue
		case opBitwise:
			if !x.masked(o) {
				x.held = x.held[:0]
			}
		case opPayload, opMeta:
			if !x.loads(o) {
				x.held = x.held[:0]
			}
		case opLookup:
			if o.has&8 == 0 {
				continue
			}
			x.held = x.held[:0]
		default:
			x.held = x.held[:0]
		}
		loaded |= written(o)
	}
	return true
}

// rest goes through what a rule does once it matches, for registers it has not loaded.
func (x *indexer) rest(from, to int, loaded uint64) bool {
	for k := from; k < to; k++ {
		o := &x.c.ops[k]
		for n, reg := range []uint8{o.sreg, o.sreg2, o.sreg3, o.sreg4} {
			if o.has>>n&1 != 0 && loaded>>reg&1 == 0 {
				return false
			}
		}
		if o.code < opVerdict && (o.code != opLookup || o.has&8 != 0) {
			loaded |= written(o)
		}
	}
	return true
}

// written are the bytes of the registers that an op loads.
func written(o *op) uint64 {
	n := 16
	switch o.code {
	case opPayload, opBitwise, opExthdr, opOrder, opShift:
		n = (int(o.len) + 3) &^ 3
	case opImm:
		n = (len(o.data) + 3) &^ 3
	case opLookup:
		n = (o.set.dataLen + 3) &^ 3
	}
	return (uint64(1)<<min(n, 63) - 1) << o.dreg
}

// loads notes that a field is in a register.
func (x *indexer) loads(o *op) bool {
	k := fieldKey{code: o.code}
	switch {
	case o.code == opPayload && o.len <= 16:
		k.base, k.off, k.size = o.base, o.off, int(o.len)
	case o.code == opMeta && (o.e.Key == "iifname" || o.e.Key == "oifname"):
		k.key, k.size = o.e.Key, 16
	case o.code == opMeta && (o.e.Key == "l4proto" || o.e.Key == "nfproto"):
		k.key, k.size = o.e.Key, 1
	default:
		return false
	}
	if int(o.dreg)+k.size > regBytes {
		return false
	}
	f, ok := x.at[k]
	if !ok {
		f = len(x.all)
		x.at[k] = f
		x.all = append(x.all, &indexField{load: o, size: k.size})
		x.mask = append(x.mask, map[word]int{})
		x.last = append(x.last, -1)
	}
	h := held{at: int(o.dreg), size: k.size, field: f}
	for i := range h.size {
		h.mask[i] = 0xff
	}
	x.hold(h)
	return true
}

// hold puts a field into a register, over what was there.
func (x *indexer) hold(h held) {
	x.held = slices.DeleteFunc(x.held, func(o held) bool { return o.at < (h.at+h.size+3)&^3 && h.at < (o.at+o.size+3)&^3 })
	x.held = append(x.held, h)
}

// masked is a bitwise AND of a field.
func (x *indexer) masked(o *op) bool {
	n := int(o.len)
	i := slices.IndexFunc(x.held, func(h held) bool { return h.at == int(o.sreg) && h.size == n })
	if i < 0 || slices.ContainsFunc(o.data2, func(b byte) bool { return b != 0 }) {
		return false
	}
	h := x.held[i]
	h.at = int(o.dreg)
	for k := range n {
		h.mask[k] &= o.data[k]
	}
	x.hold(h)
	return true
}

// compared is a comparison of a field with a constant.
func (x *indexer) compared(o *op) (field int, value, mask word, ok bool) {
	if o.cmp != cmpEq {
		return 0, word{}, word{}, false
	}
	from, n := int(o.sreg), len(o.data)
	i := slices.IndexFunc(x.held, func(h held) bool { return h.at <= from && from+n <= h.at+h.size })
	if i < 0 {
		return 0, word{}, word{}, false
	}
	h := x.held[i]
	var v, m [16]byte
	for k, b := range o.data {
		at := from - h.at + k
		v[at], m[at] = b, h.mask[at]
	}
	value, mask = wordOf(v[:]), wordOf(m[:])
	return h.field, value, mask, value.and(mask) == value
}

// put adds a test to its field.
func (x *indexer) put(field int, mask word, t test) {
	f := x.all[field]
	i, ok := x.mask[field][mask]
	if !ok {
		i = len(f.buckets)
		x.mask[field][mask] = i
		f.buckets = append(f.buckets, bucket{mask: mask})
	}
	f.buckets[i].tests = append(f.buckets[i].tests, t)
	f.tests++
}
