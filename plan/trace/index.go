package trace

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/vmnet/vmnet/plan/bdd"
)

// An index leaves out of a long chain the rules that compare a field with a constant which the packet cannot bear, given the
// bits of it that are known. Each field has the rules that a value lets match as a set of bits, kept by value; a rule is
// looked at where all fields let it (the bit vectors of Lakshman and Stiliadis, SIGCOMM 1998). What is left out would have
// matched no packet: it is not an approximation.
type index struct {
	fields []*indexField
}

const (
	indexFrom   = 32  // rules; shorter chains are quicker without
	mostFields  = 6   // of a chain
	fewTests    = 16  // rules that look at a field, for it to be worth the while
	mostAnswers = 512 // kept for a field
)

// indexField is what rules of a chain compare with constants.
type indexField struct {
	load    *op // any of those that load it
	size    int // in bytes, at most 16
	anyhow  []uint64
	buckets []bucket
	tests   int

	mu   sync.Mutex
	kept map[seen][]uint64
}

// seen is what is known of a field: the bits of known are those of value.
type seen struct{ value, known word }

// word is a field, flush left.
type word struct{ hi, lo uint64 }

func (a word) and(b word) word { return word{a.hi & b.hi, a.lo & b.lo} }
func (a word) or(b word) word  { return word{a.hi | b.hi, a.lo | b.lo} }
func (a word) not() word       { return word{^a.hi, ^a.lo} }
func (a word) compare(b word) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// above tells whether every bit set in a stands left of every one set in b.
func (a word) above(b word) bool {
	last := 128 // of a's bits, from the left
	switch {
	case a.lo != 0:
		last = 127 - bits.TrailingZeros64(a.lo)
	case a.hi != 0:
		last = 63 - bits.TrailingZeros64(a.hi)
	default:
		return true
	}
	first := 128
	switch {
	case b.hi != 0:
		first = bits.LeadingZeros64(b.hi)
	case b.lo != 0:
		first = 64 + bits.LeadingZeros64(b.lo)
	}
	return last < first
}

func wordOf(b []byte) word {
	var w [16]byte
	copy(w[:], b)
	return word{binary.BigEndian.Uint64(w[:8]), binary.BigEndian.Uint64(w[8:])}
}

// bucket holds the tests with one mask, by value.
type bucket struct {
	mask  word
	tests []test
}

type test struct {
	value word
	rule  int32
}

// find marks the rules of a bucket that a value lets match.
func (b *bucket) find(s seen, set []uint64) {
	fixed, free := b.mask.and(s.known), b.mask.and(s.known.not())
	want := s.value.and(fixed)
	if !fixed.above(free) {
		for _, t := range b.tests {
			if t.value.and(fixed) == want {
				set[t.rule>>6] |= 1 << (t.rule & 63)
			}
		}
		return
	}
	at, _ := slices.BinarySearchFunc(b.tests, want, func(t test, w word) int { return t.value.compare(w) })
	for end := want.or(free); at < len(b.tests) && b.tests[at].value.compare(end) <= 0; at++ {
		r := b.tests[at].rule
		set[r>>6] |= 1 << (r & 63)
	}
}

// let gives the rules that what is known of a field lets match.
func (f *indexField) let(s seen) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	set, ok := f.kept[s]
	if ok {
		return set
	}
	set = slices.Clone(f.anyhow)
	for i := range f.buckets {
		f.buckets[i].find(s, set)
	}
	if len(f.kept) >= mostAnswers {
		clear(f.kept)
	}
	f.kept[s] = set
	return set
}

// cursor goes through the rules of a chain that may match.
type cursor struct {
	sets  [mostFields][]uint64
	n     int
	rules int
}

// next is the first of them from i on, or the number of rules.
func (c *cursor) next(i int) int {
	if c.n == 0 {
		return i
	}
	for w := i >> 6; w<<6 < c.rules; w++ {
		is := ^uint64(0)
		for _, s := range c.sets[:c.n] {
			is &= s[w]
		}
		if w == i>>6 {
			is &= ^uint64(0) << (i & 63)
		}
		if is != 0 {
			return min(w<<6+bits.TrailingZeros64(is), c.rules)
		}
	}
	return c.rules
}

// mayMatch gives the rules of a chain that the packets at hand may match.
func (r *sweep) mayMatch(c *chain) cursor {
	out := cursor{rules: len(c.rules)}
	for _, f := range c.indexed().fields {
		if s, ok := r.seen(f); ok {
			out.sets[out.n] = f.let(s)
			out.n++
		}
	}
	return out
}

// seen is what is known of a field; ok is false for nothing.
func (r *sweep) seen(f *indexField) (s seen, ok bool) {
	o, p := f.load, &r.p
	switch {
	case o.code == opPayload:
		// What is behind the headers may not be there, and what is opened by looking at it is for a rule to open.
		if from, ok := r.offset(o); !ok || from+f.size > p.end {
			return seen{}, false
		}
	case o.e.Key == "iifname" && (p.inAny != nil || p.in != nil && p.in.unknown), o.e.Key == "oifname" && (p.outAny != nil || p.out != nil && p.out.unknown):
		return seen{}, false
	}
	if r.match(o) != bdd.True {
		return seen{}, false
	}
	at := int(o.dreg)
	s.known = wordOf(r.g.unk[at : at+f.size]).not()
	s.value = wordOf(r.g.b[at : at+f.size]).and(s.known)
	return s, s.known.and(f.span()) != word{}
}

// span has the bits of the field.
func (f *indexField) span() word {
	var ones [16]byte
	for i := range f.size {
		ones[i] = 0xff
	}
	return wordOf(ones[:])
}

// indexed makes the index of a chain when it is first asked for.
func (c *chain) indexed() *index {
	c.indexing.Do(func() { c.index = c.indexFrom(indexFrom, fewTests) })
	return c.index
}

// indexFrom is the index of a chain of so many rules, of fields that so many look at.
func (c *chain) indexFrom(rules, tests int) *index {
	if len(c.rules) < rules || c.rewrites {
		return &index{}
	}
	return &index{fields: (&indexer{c: c, few: tests, at: map[fieldKey]int{}}).fields()}
}

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
	tested := map[int]bool{}
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
		switch o.code { //nolint:exhaustive // the others write registers that are not followed
		case opCmp:
			if f, t, mask, ok := x.compared(o); ok && !tested[f] {
				tested[f] = true
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
	switch o.code { //nolint:exhaustive // the others load as much as 16 bytes
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
