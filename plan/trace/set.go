package trace

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// hit is an element of a set, and for which packets the key leads to it. Of a verdict map one element stands for all with
// the same verdict.
type hit struct {
	elem int
	cond bdd.Node
}

// hits asks a verdict map.
func (r *sweep) hits(s *set, key cells, o *op) []hit {
	if s.dynamic { // what it holds comes and goes
		var out []hit
		rest := bdd.True
		for _, i := range s.distinct(s.everyElement()) {
			c := r.x.And(rest, r.unknown(unsure{o, i}))
			rest = r.x.Diff(rest, c)
			out = append(out, hit{i, c})
		}
		return out
	}
	if key.known() {
		if i := s.find(key.b); i >= 0 {
			return []hit{{i, bdd.True}}
		}
		return nil
	}
	var out []hit
	for _, i := range s.distinct(s.everyElement()) {
		v := *s.s.Elements[i].Verdict
		c := r.member(s, key, 1+i, func(k int) bool { x := s.s.Elements[k].Verdict; return x != nil && *x == v })
		out = append(out, hit{i, c})
	}
	if s.all >= 0 {
		out = append(out, hit{s.all, r.x.Not(r.member(s, key, 0, nil))})
	}
	return out
}

// unsure tells the questions of one op apart.
type unsure struct {
	o *op
	n int
}

type unsureOf struct {
	what any
	n    int
}

func (s *set) everyElement() []int {
	out := make([]int, 0, len(s.s.Elements))
	for i := range s.s.Elements {
		if !s.s.Elements[i].CatchAll {
			out = append(out, i)
		}
	}
	return out
}

// contains is a lookup without a verdict map: membership, and the data of a map.
func (r *sweep) contains(o *op) bdd.Node {
	s := o.set
	key := r.g.at(int(o.sreg), s.keyLen)
	data := o.has&8 != 0
	n := min(s.dataLen, regBytes-int(o.dreg))
	switch {
	case s.dynamic:
		if data {
			r.blur(r.reg(o.dreg, n), o)
		}
		return r.signed(o, r.unknown(o))
	case key.known():
		i := s.find(key.b)
		if i >= 0 && data {
			r.load(o.dreg, s.s.Elements[i].Data)
		}
		return r.signed(o, boolean(i >= 0))
	}
	in := r.member(s, key, 0, nil)
	if data {
		key = r.copyOf(key)
		g := r.reg(o.dreg, (n+3)&^3)
		g.zero()
		for j := range 8 * n {
			bit := func(k int) bool {
				d := s.s.Elements[k].Data
				return j/8 < len(d) && d[j/8]&(0x80>>(j&7)) != 0
			}
			f := r.member(s, key, -1-j, bit)
			if s.all >= 0 && bit(s.all) {
				f = r.x.Or(f, r.x.Not(in))
			}
			g.setBit(j, f)
		}
	}
	if s.all >= 0 {
		in = bdd.True
	}
	return r.signed(o, in)
}

func (r *sweep) copyOf(c cells) cells {
	out := newCells(c.len())
	out.copyFrom(c)
	return out
}

// member tells for which packets the key leads to one of the elements that want says (nil: all), the catch-all apart. The
// answer is kept under the number which.
func (r *sweep) member(s *set, key cells, which int, want func(elem int) bool) bdd.Node {
	vec := key.vec(r.x.Space, r.x.buf[:])
	var room [4 * 32 * 8]byte // enough for two addresses of IPv6
	name := appendVec(room[:0], vec)
	if f, ok := r.members[memberKey{s, which, string(name)}]; ok {
		return f
	}
	vec = slices.Clone(vec)
	k := memberKey{s, which, string(name)}
	f := r.plainMember(s, key, vec, want)
	if len(s.linear) > 0 {
		rest := bdd.True
		if want != nil { // what an earlier element holds a later one does not get
			rest = r.x.Not(r.plainMember(s, key, vec, nil))
		}
		for _, i := range s.linear {
			m := r.x.And(rest, r.meets(s, i, key))
			if want == nil || want(i) {
				f = r.x.Or(f, m)
			}
			rest = r.x.Diff(rest, m)
		}
	}
	r.members[k] = f
	return f
}

func vecKey(v bdd.Vec) string { return string(appendVec(make([]byte, 0, 4*len(v)), v)) }

func appendVec(b []byte, v bdd.Vec) []byte {
	for _, n := range v {
		b = binary.NativeEndian.AppendUint32(b, uint32(n))
	}
	return b
}

// plainMember asks for the single keys and the sorted intervals.
func (r *sweep) plainMember(s *set, key cells, vec bdd.Vec, want func(elem int) bool) bdd.Node {
	if len(s.fields) > 0 {
		var all []bdd.Node
		for i := range s.s.Elements {
			e := &s.s.Elements[i]
			if !e.CatchAll && len(e.Key) <= s.keyLen && !slices.Contains(s.linear, i) && (want == nil || want(i)) {
				all = append(all, r.meets(s, i, key))
			}
		}
		return r.any(all)
	}
	type interval struct{ lo, hi []byte }
	var in []interval
	for k, i := range s.exact {
		if want == nil || want(i) {
			in = append(in, interval{[]byte(k), []byte(k)})
		}
	}
	for _, i := range s.sorted {
		e := &s.s.Elements[i]
		if want == nil || want(i) {
			in = append(in, interval{padded(e.Key, s.keyLen, 0), padded(e.KeyEnd, s.keyLen, 0xff)})
		}
	}
	slices.SortFunc(in, func(a, b interval) int { return bytes.Compare(a.lo, b.lo) })
	lo, hi := make([][]byte, 0, len(in)), make([][]byte, 0, len(in))
	for _, x := range in {
		if n := len(hi); n > 0 && bytes.Compare(hi[n-1], x.lo) >= 0 { // overlapping: one covers the other's begin
			if bytes.Compare(hi[n-1], x.hi) < 0 {
				hi[n-1] = x.hi
			}
			continue
		}
		if bytes.Compare(x.lo, x.hi) <= 0 {
			lo, hi = append(lo, x.lo), append(hi, x.hi)
		}
	}
	return r.x.OneOf(vec, lo, hi)
}

func padded(b []byte, n int, with byte) []byte {
	if len(b) >= n {
		return b[:n]
	}
	out := make([]byte, n)
	copy(out, b)
	for i := len(b); i < n; i++ {
		out[i] = with
	}
	return out
}

// any is the union of many, pairwise so that the diagrams grow evenly.
func (r *sweep) any(fs []bdd.Node) bdd.Node {
	for len(fs) > 1 {
		half := fs[:0]
		for i := 0; i < len(fs); i += 2 {
			if i+1 < len(fs) {
				half = append(half, r.x.Or(fs[i], fs[i+1]))
			} else {
				half = append(half, fs[i])
			}
		}
		fs = half
	}
	if len(fs) == 0 {
		return bdd.False
	}
	return fs[0]
}

// meets tells for which packets a key lies in an element, field by field for a concatenation.
func (r *sweep) meets(s *set, i int, key cells) bdd.Node {
	e := &s.s.Elements[i]
	end := e.KeyEnd
	if len(end) == 0 {
		end = e.Key
	}
	if len(s.fields) == 0 {
		f := [2]int{0, s.keyLen}
		return key.within(r.x, slice(e.Key, f), slice(end, f))
	}
	a := bdd.True
	for _, f := range s.fields {
		lo, hi := slice(e.Key, f), slice(end, f)
		var m bdd.Node
		if bytes.Equal(lo, hi) {
			m = key.at(f[0], f[1]).equal(r.x, lo)
		} else {
			m = key.at(f[0], f[1]).within(r.x, lo, hi)
		}
		if a = r.x.And(a, m); a == bdd.False {
			return a
		}
	}
	return a
}

// find asks with a known key.
func (s *set) find(key []byte) int {
	if i, ok := s.exact[string(key)]; ok {
		return i
	}
	el := s.s.Elements
	lo, hi := 0, len(s.sorted)
	for lo < hi { // the last that starts at or before the key
		m := (lo + hi) / 2
		if bytes.Compare(el[s.sorted[m]].Key, key) <= 0 {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo > 0 {
		if i := s.sorted[lo-1]; bytes.Compare(key[:len(el[i].KeyEnd)], el[i].KeyEnd) <= 0 {
			return i
		}
	}
	for _, i := range s.linear {
		if s.holds(&el[i], key) {
			return i
		}
	}
	return s.all
}

// holds tells whether a key lies in an element, field by field for a concatenation.
func (s *set) holds(e *schema.Element, key []byte) bool {
	end := e.KeyEnd
	if len(end) == 0 {
		end = e.Key
	}
	fields := s.fields
	if len(fields) == 0 {
		fields = [][2]int{{0, s.keyLen}}
	}
	for _, f := range fields {
		v := key[f[0] : f[0]+f[1]]
		if bytes.Compare(v, slice(e.Key, f)) < 0 || bytes.Compare(v, slice(end, f)) > 0 {
			return false
		}
	}
	return true
}

// slice cuts a field out of a key, padded with zeros where the key is short.
func slice(k []byte, f [2]int) []byte {
	if f[0]+f[1] <= len(k) {
		return k[f[0] : f[0]+f[1]]
	}
	out := make([]byte, f[1])
	if f[0] < len(k) {
		copy(out, k[f[0]:])
	}
	return out
}
