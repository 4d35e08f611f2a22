package bdd

import (
	"cmp"
	"slices"
	"sort"
)

// Vec is a number, or a string of bits, most significant first, of which each bit is a function. Constants given as bytes
// are big endian; bits that a constant has no byte for are zero, and bits beyond those of the Vec do not count. Functions
// that make a Vec may return one given to them: a Vec is not changed once made.
type Vec []Node

// Vars is the n variables from first on.
func (s *Space) Vars(first, n int) Vec {
	v := make(Vec, n)
	for i := range v {
		v[i] = s.Var(first + i)
	}
	return v
}

// Const is the bits of bytes.
func Const(b []byte) Vec {
	v := make(Vec, 8*len(b))
	for i := range v {
		v[i] = bit(b, i)
	}
	return v
}

// ConstUint is the low bits of a number.
func ConstUint(n uint64, bits int) Vec {
	v := make(Vec, bits)
	for i := range v {
		v[i] = Node(n >> (bits - 1 - i) & 1)
	}
	return v
}

// bit is bit i of bytes, the most significant of the first byte being bit 0.
func bit(b []byte, i int) Node {
	if i/8 >= len(b) {
		return False
	}
	return Node(b[i/8] >> (7 - i%8) & 1)
}

// Known is the value of a Vec whose bits are all constants, in whole bytes filled up with zeros at the end.
func (v Vec) Known() (b []byte, ok bool) {
	for _, n := range v {
		if n > True {
			return nil, false
		}
	}
	b = make([]byte, (len(v)+7)/8)
	for i, n := range v {
		b[i/8] |= byte(n) << (7 - i%8)
	}
	return b, true
}

// EqConst is true where the number is that of the bytes.
func (s *Space) EqConst(v Vec, b []byte) Node { return s.Prefix(v, b, len(v)) }

// Prefix is true where the first bits are those of the bytes: an address in a prefix.
func (s *Space) Prefix(v Vec, b []byte, bits int) Node {
	bits = min(bits, len(v))
	rising, last, open := true, int32(leaf), false
	for i := bits - 1; i >= 0; i-- {
		n := v[i]
		if n <= True {
			if n != bit(b, i) {
				return False
			}
			continue
		}
		open = true
		x := &s.nodes[n]
		rising = rising && x.lo == False && x.hi == True && x.level < last
		last = x.level
	}
	switch {
	case !open:
		return True
	case !rising:
		return s.conjunction(v[:bits], b)
	}
	is := True
	for i := bits - 1; i >= 0; i-- { // plain variables: the cube from its last variable up
		if v[i] <= True {
			continue
		}
		if level := s.nodes[v[i]].level; bit(b, i) == True {
			is = s.make(level, False, is)
		} else {
			is = s.make(level, is, False)
		}
	}
	return is
}

// conjunction is Prefix for functions of any kind: the deepest first, so that plain variables in any order make a cube
// without detours.
func (s *Space) conjunction(v Vec, b []byte) Node {
	var order []int
	for i, n := range v {
		if n > True {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(s.nodes[v[y]].level, s.nodes[v[x]].level) })
	is := True
	for _, i := range order {
		if bit(b, i) == True {
			is = s.choose(v[i], is, False)
		} else {
			is = s.choose(v[i], False, is)
		}
		if is == False {
			break
		}
	}
	return is
}

// choose is Ite, quick where the condition is a constant or a variable tested before the rest.
func (s *Space) choose(c, a, b Node) Node {
	switch c {
	case False:
		return b
	case True:
		return a
	}
	n := &s.nodes[c]
	if n.lo == False && n.hi == True && n.level < s.nodes[a].level && n.level < s.nodes[b].level {
		return s.make(n.level, b, a)
	}
	return s.Ite(c, a, b)
}

// Eq is true where both are the same number. They have as many bits.
func (s *Space) Eq(a, b Vec) Node {
	for i := range a { // what constants settle needs no node
		if a[i]|b[i] <= True && a[i] != b[i] {
			return False
		}
	}
	is := True
	for i, x := range slices.Backward(a) {
		if x == b[i] {
			continue
		}
		if is = s.Diff(is, s.Xor(x, b[i])); is == False {
			return False
		}
	}
	return is
}

// LeqConst is true where the number is at most that of the bytes.
func (s *Space) LeqConst(v Vec, b []byte) Node {
	n := known(v)
	is := True
	for i := len(v) - 1; i >= n; i-- {
		if bit(b, i) == True {
			is = s.choose(v[i], is, True)
		} else {
			is = s.choose(v[i], False, is)
		}
	}
	return first(v[:n], b, True, is, False)
}

// GeqConst is true where the number is at least that of the bytes.
func (s *Space) GeqConst(v Vec, b []byte) Node {
	n := known(v)
	is := True
	for i := len(v) - 1; i >= n; i-- {
		if bit(b, i) == True {
			is = s.choose(v[i], is, False)
		} else {
			is = s.choose(v[i], True, is)
		}
	}
	return first(v[:n], b, False, is, True)
}

// known counts the constants at the head of a Vec.
func known(v Vec) int {
	for i, n := range v {
		if n > True {
			return i
		}
	}
	return len(v)
}

// first compares constant bits with bytes, as memcmp does.
func first(v Vec, b []byte, less, equal, greater Node) Node {
	for i, n := range v {
		if w := bit(b, i); n < w {
			return less
		} else if n > w {
			return greater
		}
	}
	return equal
}

// InRange is true where the number lies between two, both included.
func (s *Space) InRange(v Vec, lo, hi []byte) Node {
	is := s.LeqConst(v, hi)
	if is == False {
		return False
	}
	return s.And(is, s.GeqConst(v, lo))
}

// OneOf is true where the number lies in one of the intervals from lo[i] to hi[i], both included. They are sorted, do not
// overlap, and their ends have as many bytes as the Vec.
func (s *Space) OneOf(v Vec, lo, hi [][]byte) Node {
	return (&intervals{s, v, lo, hi}).within(0, 0, min(len(lo), len(hi)), false, false)
}

// intervals is one call of OneOf.
type intervals struct {
	s      *Space
	v      Vec
	lo, hi [][]byte
}

// within is the intervals from a up to b, all that meet the block of numbers whose first i bits are fixed. whole says that
// the first begins at or before the block, open that the last ends at or behind the block's end.
func (x *intervals) within(i, a, b int, whole, open bool) Node {
	switch {
	case a == b:
		return False
	case a+1 == b && whole && open, i == len(x.v):
		return True
	}
	// Those before l begin in the lower half of the block; those from r on end in the upper one.
	l := a + sort.Search(b-a, func(k int) bool { return !(k == 0 && whole) && bit(x.lo[a+k], i) == True })
	r := a + sort.Search(b-a, func(k int) bool { return a+k == b-1 && open || bit(x.hi[a+k], i) == True })
	both := r < l // one begins in the lower half and ends in the upper one
	below := func() Node { return x.within(i+1, a, l, whole, both) }
	above := func() Node { return x.within(i+1, r, b, both, open) }
	switch x.v[i] {
	case False:
		return below()
	case True:
		return above()
	}
	return x.s.choose(x.v[i], above(), below())
}

// Mux is a where c is true, else b, bit by bit. They have as many bits.
func (s *Space) Mux(c Node, a, b Vec) Vec {
	switch c {
	case True:
		return a
	case False:
		return b
	}
	v := make(Vec, len(a))
	for i := range v {
		v[i] = s.Ite(c, a[i], b[i])
	}
	return v
}
