package trace

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/vmnet/vmnet/schema"
)

// answer3 is a match's answer: no, maybe, yes.
type answer3 uint8

const (
	no answer3 = iota
	maybe
	yes
)

func not(a answer3) answer3 { return yes - a }

func sure(b bool) answer3 {
	if b {
		return yes
	}
	return no
}

// regs are the registers of nf_tables: bytes, and which of their bits are unknown.
type regs struct {
	b, unk [regBytes]byte
}

// put stores a value and zeroes the rest of its last word (nft_reg_store8, strscpy_pad).
func (g *regs) put(at uint8, v []byte) {
	n := copy(g.b[at:], v)
	clear(g.unk[int(at) : int(at)+n])
	for n%4 != 0 && int(at)+n < regBytes {
		g.b[int(at)+n], g.unk[int(at)+n] = 0, 0
		n++
	}
}

func (g *regs) put32(at uint8, w word) {
	binary.NativeEndian.PutUint32(g.b[at:], w.v)
	binary.NativeEndian.PutUint32(g.unk[at:], w.unk)
}

func (g *regs) put8(at uint8, v byte)    { g.put(at, []byte{v}) }
func (g *regs) put16(at uint8, v uint16) { g.put(at, binary.BigEndian.AppendUint16(nil, v)) }

// blur makes n bytes unknown.
func (g *regs) blur(at, n uint8) {
	end := min(int(at)+int(n), regBytes)
	fillUnknown(g.unk[at:end])
}

func (g *regs) get32(at uint8) word {
	return word{binary.NativeEndian.Uint32(g.b[at:]), binary.NativeEndian.Uint32(g.unk[at:])}
}

// known tells whether all bits of a range are known.
func (g *regs) known(at uint8, n int) bool {
	for _, u := range g.unk[at : int(at)+n] {
		if u != 0 {
			return false
		}
	}
	return true
}

// order compares partly known bytes with known ones, as memcmp does: -1, 0, 1, and whether that is certain. Where it is
// not, differs says that they cannot be equal.
func order(b, unk, data []byte) (c int, certain, differs bool) {
	for i := range data {
		if unk[i] == 0 {
			if b[i] == data[i] {
				continue
			}
			if c == 0 && !certain {
				if b[i] < data[i] {
					c = -1
				} else {
					c = 1
				}
			}
			return c, true, true
		}
		lo, hi := b[i]&^unk[i], b[i]|unk[i]
		switch {
		case hi < data[i]:
			return -1, true, true
		case lo > data[i]:
			return 1, true, true
		}
		// It may be either; only a known difference further on can still rule equality out.
		differs = (b[i]^data[i])&^unk[i] != 0
		for j := i + 1; j < len(data) && !differs; j++ {
			differs = (b[j]^data[j])&^unk[j] != 0
		}
		return 0, false, differs
	}
	return 0, true, false
}

func compare(kind uint8, b, unk, data []byte) answer3 {
	c, certain, differs := order(b, unk, data)
	if !certain {
		if differs && kind == cmpEq {
			return no
		}
		if differs && kind == cmpNeq {
			return yes
		}
		return maybe
	}
	switch kind {
	case cmpEq:
		return sure(c == 0)
	case cmpNeq:
		return sure(c != 0)
	case cmpLt:
		return sure(c < 0)
	case cmpLte:
		return sure(c <= 0)
	case cmpGt:
		return sure(c > 0)
	}
	return sure(c >= 0)
}

func both(a, b answer3) answer3 { return min(a, b) }

func within(b, unk, from, to []byte) answer3 {
	return both(compare(cmpGte, b, unk, from), compare(cmpLte, b, unk, to))
}

func (r *run) cmp(o *op) answer3 {
	n := len(o.data)
	b := r.g.b[o.sreg:]
	if r.g.known(o.sreg, n) {
		if o.cmp == cmpEq { // nearly all there are
			return sure(bytes.Equal(b[:n], o.data))
		}
	}
	return compare(o.cmp, b[:n], r.g.unk[o.sreg:][:n], o.data)
}

func (r *run) inRange(o *op) answer3 {
	n := len(o.data)
	a := within(r.g.b[o.sreg:][:n], r.g.unk[o.sreg:][:n], o.data, o.data2)
	if o.neg {
		return not(a)
	}
	return a
}

// in is a lowered list of ranges: multiport and the like.
func (r *run) in(o *op) answer3 {
	n := int(o.e.Len)
	a := no
	for _, x := range o.e.Ranges {
		if len(x[0]) == n && len(x[1]) == n {
			a = max(a, within(r.g.b[o.sreg:][:n], r.g.unk[o.sreg:][:n], x[0], x[1]))
		} else {
			a = max(a, maybe)
		}
	}
	if o.neg {
		return not(a)
	}
	return a
}

// bitwise is dst = (src & mask) ^ xor: what the mask hides is known to be nothing.
func (r *run) bitwise(o *op) {
	g := &r.g
	for i := range int(o.len) {
		s := int(o.sreg) + i
		d := int(o.dreg) + i
		g.b[d] = g.b[s]&o.data[i] ^ o.data2[i]
		g.unk[d] = g.unk[s] & o.data[i]
	}
}

// shift moves words of the host's byte order, carrying between them (nft_bitwise_eval_lshift, _rshift).
func (r *run) shift(o *op) {
	n := binary.NativeEndian.Uint32(o.data) & 31
	words := (int(o.len) + 3) / 4
	for _, half := range []*[regBytes]byte{&r.g.b, &r.g.unk} {
		var carry uint32
		for i := range words {
			k := i
			if !o.neg {
				k = words - 1 - i
			}
			v := binary.NativeEndian.Uint32(half[int(o.sreg)+4*k:])
			var out uint32
			if o.neg {
				out, carry = carry|v>>n, v<<(32-n)
			} else {
				out, carry = v<<n|carry, v>>(32-n)
			}
			binary.NativeEndian.PutUint32(half[int(o.dreg)+4*k:], out)
		}
	}
}

// swap is byteorder: on a little-endian host both directions turn the bytes of each element around.
func (r *run) swap(o *op) {
	size := int(o.e.Size)
	turn := binary.NativeEndian.Uint16([]byte{1, 0}) == 1
	for _, half := range []*[regBytes]byte{&r.g.b, &r.g.unk} {
		for i := 0; i+size <= int(o.len); i += size {
			s, d := half[int(o.sreg)+i:], half[int(o.dreg)+i:]
			v := [8]byte(append(append([]byte(nil), s[:size]...), make([]byte, 8-size)...))
			for j := range size {
				if turn {
					d[j] = v[size-1-j]
				} else {
					d[j] = v[j]
				}
			}
		}
	}
}

// payload loads a slice of the packet. What lies beyond the headers may or may not be there.
func (r *run) payload(o *op) answer3 {
	p := &r.p
	at := linkOff
	switch o.base {
	case 0:
		if !p.linked {
			return no
		}
	case 1:
		at = netOff
	case 2:
		at = p.transOff()
	}
	from := at + int(min(o.off, 1<<16))
	to := from + int(o.len)
	if to > p.end {
		r.g.blur(o.dreg, o.len)
		return maybe
	}
	n := int(o.len)
	copy(r.g.b[o.dreg:], p.b[from:to])
	copy(r.g.unk[o.dreg:], p.unk[from:to])
	for d := int(o.dreg) + n; n%4 != 0; n, d = n+1, d+1 {
		r.g.b[d], r.g.unk[d] = 0, 0
	}
	return yes
}

// lookup asks a set. It gives the element met (-1: none), or, when that is not certain, all that may be.
func (r *run) lookup(s *set, at uint8) (hit int, others []int, certain bool) {
	key := r.g.b[at:][:s.keyLen]
	if s.dynamic {
		for i := range s.s.Elements {
			others = append(others, i)
		}
		return -1, others, false
	}
	if r.g.known(at, s.keyLen) {
		return s.find(key), nil, true
	}
	unk := r.g.unk[at:][:s.keyLen]
	for i := range s.s.Elements {
		e := &s.s.Elements[i]
		if e.CatchAll {
			continue
		}
		switch s.meets(e, key, unk) {
		case yes:
			return i, nil, true
		case maybe:
			others = append(others, i)
		}
	}
	if len(others) == 0 {
		return s.all, nil, true
	}
	return -1, others, false
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
	var none [regBytes]byte
	for _, i := range s.linear {
		if s.meets(&el[i], key, none[:len(key)]) == yes {
			return i
		}
	}
	return s.all
}

// meets tells whether a key lies in an element, field by field for a concatenation.
func (s *set) meets(e *schema.Element, key, unk []byte) answer3 {
	end := e.KeyEnd
	if len(end) == 0 {
		end = e.Key
	}
	fields := s.fields
	if len(fields) == 0 {
		fields = [][2]int{{0, s.keyLen}}
	}
	a := yes
	for _, f := range fields {
		from, to := slice(e.Key, f), slice(end, f)
		a = both(a, within(key[f[0]:f[0]+f[1]], unk[f[0]:f[0]+f[1]], from, to))
		if a == no {
			return no
		}
	}
	return a
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

// contains is a lookup without a verdict map: membership, or the data of a map.
func (r *run) contains(o *op) answer3 {
	hit, others, certain := r.lookup(o.set, o.sreg)
	var a answer3
	switch {
	case !certain:
		a = maybe
		if o.has&8 != 0 {
			r.g.blur(o.dreg, uint8(min(o.set.dataLen, regBytes)))
		}
		_ = others
	case hit >= 0:
		a = yes
		if o.has&8 != 0 {
			r.g.put(o.dreg, o.set.s.Elements[hit].Data)
		}
	}
	if o.neg {
		return not(a)
	}
	return a
}

func markEqual(m word, want, mask uint32) answer3 {
	if (m.v^want)&mask&^m.unk != 0 {
		return no
	}
	if bits.OnesCount32(m.unk&mask) > 0 {
		return maybe
	}
	return yes
}
