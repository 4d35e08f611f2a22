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
	var last int // of the bits of a, from the left
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
