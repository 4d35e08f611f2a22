package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/vmnet/vmnet/plan/bdd"
)

// cells are bytes of which some bits are not constants but functions of the packet that is asked about. What is constant
// stays plain bytes: a walk of one packet costs what it would cost without sets.
type cells struct {
	b   []byte
	unk []byte // which bits are functions
	// n holds the functions, eight for each byte, the most significant bit first. A negative number -v-1 stands for
	// variable v, of which no node is made until somebody looks at it.
	n []bdd.Node
}

func newCells(n int) cells {
	b := make([]byte, 2*n)
	return cells{b: b[:n:n], unk: b[n:], n: make([]bdd.Node, 8*n)}
}

// at is a slice of cells, sharing the memory.
func (c cells) at(off, n int) cells {
	return cells{c.b[off : off+n], c.unk[off : off+n], c.n[8*off : 8*(off+n)]}
}

func (c cells) len() int { return len(c.b) }

// known tells whether every bit is a constant.
func (c cells) known() bool {
	for _, u := range c.unk {
		if u != 0 {
			return false
		}
	}
	return true
}

// bit gives the function of a bit, counted from the most significant bit of the first byte.
func (c cells) bit(s *bdd.Space, i int) bdd.Node {
	m := byte(0x80) >> (i & 7)
	switch k := i >> 3; {
	case c.unk[k]&m != 0:
		if c.n[i] < 0 {
			c.n[i] = s.Var(int(-c.n[i]) - 1)
		}
		return c.n[i]
	case c.b[k]&m != 0:
		return bdd.True
	}
	return bdd.False
}

func (c cells) setBit(i int, f bdd.Node) {
	m, k := byte(0x80)>>(i&7), i>>3
	c.b[k] &^= m
	c.unk[k] &^= m
	switch f {
	case bdd.False:
	case bdd.True:
		c.b[k] |= m
	default:
		c.unk[k] |= m
		c.n[i] = f
	}
}

// free makes the bits of the mask of byte k variables, of which bit 0 of the cells would be variable first.
func (c cells) free(k int, mask byte, first int) {
	c.b[k] &^= mask
	c.unk[k] |= mask
	for j := range 8 {
		if mask&(0x80>>j) != 0 {
			c.n[8*k+j] = bdd.Node(-(first + 8*k + j) - 1)
		}
	}
}

// freeAll makes every bit a variable, in order.
func (c cells) freeAll(first int) {
	for k := range c.b {
		c.free(k, 0xff, first)
	}
}

// vec is the cells as a vector of functions, in buf where there is room.
func (c cells) vec(s *bdd.Space, buf []bdd.Node) bdd.Vec {
	buf = buf[:0]
	for i := range 8 * len(c.b) {
		buf = append(buf, c.bit(s, i))
	}
	return buf
}

// put stores constants.
func (c cells) put(v []byte) {
	n := copy(c.b, v)
	clear(c.unk[:n])
}

// fill stores constants and zeroes the rest.
func (c cells) fill(v []byte) {
	n := copy(c.b, v)
	clear(c.b[n:])
	clear(c.unk)
}

func (c cells) zero() {
	clear(c.b)
	clear(c.unk)
}

// copyFrom copies as many cells as both have.
func (c cells) copyFrom(o cells) {
	copy(c.b, o.b)
	n := copy(c.unk, o.unk)
	for _, u := range o.unk[:n] {
		if u != 0 {
			copy(c.n[:8*n], o.n)
			return
		}
	}
}

// merge stores o where cond holds.
func (c cells) merge(s *bdd.Space, cond bdd.Node, o cells) {
	switch cond {
	case bdd.True:
		c.copyFrom(o)
		return
	case bdd.False:
		return
	}
	for k := range min(len(c.b), len(o.b)) {
		if c.unk[k]|o.unk[k] == 0 && c.b[k] == o.b[k] {
			continue
		}
		for i := 8 * k; i < 8*k+8; i++ {
			c.setBit(i, s.Ite(cond, o.bit(s, i), c.bit(s, i)))
		}
	}
}

// under makes constants of bits that are the same for all packets of pc. Bits that are variables are left.
func (c cells) under(x *space, pc bdd.Node) {
	for i := range 8 * c.len() {
		if c.unk[i>>3]&(0x80>>(i&7)) == 0 || c.n[i] < 0 {
			continue
		}
		f := c.n[i]
		if _, lo, hi, _ := x.Branch(f); lo == bdd.False && hi == bdd.True {
			continue
		}
		switch {
		case x.Implies(pc, f):
			c.setBit(i, bdd.True)
		case x.Disjoint(pc, f):
			c.setBit(i, bdd.False)
		}
	}
}

// addr is the address the cells hold, if it is a constant.
func (c cells) addr() (netip.Addr, bool) {
	if !c.known() {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(c.b)
}

// u16 is the number the cells hold in network order, if it is a constant.
func (c cells) u16() (uint16, bool) { return binary.BigEndian.Uint16(c.b), c.known() }

// value is what the cells hold for one assignment of the variables.
func (c cells) value(s *bdd.Space, of func(v int) bool) []byte {
	out := bytes.Clone(c.b)
	for i := range 8 * len(c.b) {
		if m := byte(0x80) >> (i & 7); c.unk[i>>3]&m != 0 {
			if s.Eval(c.bit(s, i), of) {
				out[i>>3] |= m
			} else {
				out[i>>3] &^= m
			}
		}
	}
	return out
}

// hostBit is where bit k (the least significant is 0) of a 32-bit word of the host's byte order lies in its cells.
func hostBit(k int) int {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return k&^7 + 7 - k&7
	}
	return 31 - k
}

// equal tells where the cells hold a value.
func (c cells) equal(x *space, v []byte) bdd.Node {
	plain := true
	for i, b := range v {
		if u := c.unk[i]; u != 0 {
			plain = false
			if (b^c.b[i])&^u != 0 {
				return bdd.False
			}
		} else if b != c.b[i] {
			return bdd.False
		}
	}
	if plain {
		return bdd.True
	}
	return x.EqConst(c.at(0, len(v)).vec(x.Space, x.buf[:]), v)
}

// space is a bdd.Space with room for vectors.
type space struct {
	*bdd.Space
	buf, buf2 [8 * 128]bdd.Node
}

// same tells where two runs of cells hold the same value.
func (c cells) same(x *space, o cells) bdd.Node {
	if c.known() && o.known() {
		return boolean(bytes.Equal(c.b, o.b))
	}
	return x.Eq(c.vec(x.Space, x.buf[:]), o.vec(x.Space, x.buf2[:]))
}

func boolean(b bool) bdd.Node {
	if b {
		return bdd.True
	}
	return bdd.False
}

// compare tells where the cells stand in a relation to a value, as memcmp orders them.
func (c cells) compare(x *space, kind uint8, v []byte) bdd.Node {
	c = c.at(0, len(v))
	switch kind {
	case cmpEq:
		return c.equal(x, v)
	case cmpNeq:
		return x.Not(c.equal(x, v))
	}
	if c.known() {
		d := bytes.Compare(c.b, v)
		return boolean(kind == cmpLt && d < 0 || kind == cmpLte && d <= 0 || kind == cmpGt && d > 0 || kind == cmpGte && d >= 0)
	}
	vec := c.vec(x.Space, x.buf[:])
	switch kind {
	case cmpLt:
		return x.Not(x.GeqConst(vec, v))
	case cmpLte:
		return x.LeqConst(vec, v)
	case cmpGt:
		return x.Not(x.LeqConst(vec, v))
	}
	return x.GeqConst(vec, v)
}

// masked tells where the bits of a mask, of the first byte, are those of a value.
func (c cells) masked(x *space, mask, v byte) bdd.Node {
	f := bdd.True
	for i := range 8 {
		if m := byte(0x80) >> i; mask&m != 0 {
			b := c.bit(x.Space, i)
			if v&m == 0 {
				b = x.Not(b)
			}
			f = x.And(f, b)
		}
	}
	return f
}

// within tells where the cells lie in an interval, both ends included.
func (c cells) within(x *space, lo, hi []byte) bdd.Node {
	c = c.at(0, len(lo))
	if c.known() {
		return boolean(bytes.Compare(c.b, lo) >= 0 && bytes.Compare(c.b, hi) <= 0)
	}
	return x.InRange(c.vec(x.Space, x.buf[:]), lo, hi)
}

// in tells where an address lies in a prefix.
func (c cells) in(x *space, p netip.Prefix) bdd.Node {
	if p.Addr().BitLen() != 8*len(c.b) || !p.IsValid() {
		return bdd.False
	}
	whole := p.Addr().As16()
	a := whole[16-len(c.b):]
	plain := true
	for i := range a {
		m := byte(0xff)
		if left := p.Bits() - 8*i; left <= 0 {
			break
		} else if left < 8 {
			m <<= 8 - left
		}
		u := c.unk[i] & m
		if (a[i]^c.b[i])&m&^u != 0 {
			return bdd.False
		}
		plain = plain && u == 0
	}
	if plain {
		return bdd.True
	}
	return x.Prefix(c.at(0, (p.Bits()+7)/8).vec(x.Space, x.buf[:]), a, p.Bits())
}

// subtractOne counts down, from 0 to the highest number.
func (c cells) subtractOne(x *space) {
	if c.known() {
		for k := c.len() - 1; k >= 0; k-- {
			c.b[k]--
			if c.b[k] != 0xff {
				return
			}
		}
		return
	}
	borrow := bdd.True
	for i := 8*c.len() - 1; i >= 0; i-- {
		b := c.bit(x.Space, i)
		c.setBit(i, x.Xor(b, borrow))
		borrow = x.Diff(borrow, b)
	}
}

// invert turns every bit round.
func (c cells) invert(x *space) {
	for i := range 8 * c.len() {
		c.setBit(i, x.Not(c.bit(x.Space, i)))
	}
}

// constant makes cells of bytes.
func constant(b []byte) cells {
	c := newCells(len(b))
	c.put(b)
	return c
}
