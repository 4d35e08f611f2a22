package bdd

import (
	"bytes"
	"cmp"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// bits of the vectors under test: two bytes, of constants, plain variables in rising and in other order, and functions.
const bits = 16

// vec makes a Vec and what it is for an assignment of 12 variables.
func (d *dice) vec() (Vec, func(row int) []byte) {
	v := make(Vec, bits)
	kind := d.r.IntN(5)
	next := 0
	for i := range v {
		switch {
		case kind == 0 || kind == 1 && d.r.IntN(2) == 0 || next >= 12:
			v[i] = Node(d.r.IntN(2))
		case kind == 3: // plain variables, in any order, possibly twice
			v[i] = d.s.Var(d.r.IntN(12))
		case kind == 4:
			v[i] = d.pair(2).n
		default:
			v[i] = d.s.Var(next)
			next++
		}
	}
	return v, func(row int) []byte { return d.value(v, row) }
}

func (d *dice) value(v Vec, row int) []byte {
	b := make([]byte, (len(v)+7)/8)
	for i, n := range v {
		if d.s.Eval(n, func(x int) bool { return row>>x&1 == 1 }) {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return b
}

func (d *dice) bytes() []byte { return []byte{byte(d.r.Uint32()), byte(d.r.Uint32())} }

// near gives a constant that is likely to meet the vector.
func (d *dice) near(value func(int) []byte) []byte {
	if d.r.IntN(3) == 0 {
		return d.bytes()
	}
	b := value(d.r.IntN(1 << 12))
	if d.r.IntN(2) == 0 {
		b[d.r.IntN(2)] ^= 1 << d.r.IntN(8)
	}
	return b
}

// rows are the assignments looked at.
func (d *dice) rows(check func(row int)) {
	for range 200 {
		check(d.r.IntN(1 << 12))
	}
}

func (d *dice) is(n Node, row int) bool {
	return d.s.Eval(n, func(x int) bool { return row>>x&1 == 1 })
}

func vectors(t *testing.T, check func(t *testing.T, d *dice, v Vec, value func(int) []byte)) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := &dice{rand.New(rand.NewPCG(seed, 0)), New(0)}
	for i := range 1500 {
		if i%50 == 0 {
			d.s.Reset()
		}
		v, value := d.vec()
		if check(t, d, v, value); t.Failed() {
			return
		}
	}
}

func TestCompareWithConstants(t *testing.T) {
	vectors(t, func(t *testing.T, d *dice, v Vec, value func(int) []byte) {
		s, b, e := d.s, d.near(value), d.near(value)
		if bytes.Compare(b, e) > 0 {
			b, e = e, b
		}
		n := d.r.IntN(bits + 1)
		eq, leq, geq, in, pre := s.EqConst(v, b), s.LeqConst(v, b), s.GeqConst(v, b), s.InRange(v, b, e), s.Prefix(v, b, n)
		d.rows(func(row int) {
			x := value(row)
			c := bytes.Compare(x, b)
			shift := uint(bits - n)
			same := new(big.Int).Rsh(new(big.Int).SetBytes(x), shift).Cmp(new(big.Int).Rsh(new(big.Int).SetBytes(b), shift)) == 0
			for _, q := range []struct {
				name string
				n    Node
				want bool
			}{
				{"EqConst", eq, c == 0},
				{"LeqConst", leq, c <= 0},
				{"GeqConst", geq, c >= 0},
				{"InRange", in, c >= 0 && bytes.Compare(x, e) <= 0},
				{"Prefix", pre, same},
			} {
				if d.is(q.n, row) != q.want {
					t.Errorf("%s(%x, %x, %x, %d) is %v", q.name, x, b, e, n, !q.want)
				}
			}
		})
	})
}

// An empty interval holds nothing.
func TestInRangeUpsideDown(t *testing.T) {
	s := New(0)
	if n := s.InRange(s.Vars(0, 8), []byte{9}, []byte{8}); n != False {
		t.Errorf("9-8 is %d, want False", n)
	}
}

func TestOneOf(t *testing.T) {
	vectors(t, func(t *testing.T, d *dice, v Vec, value func(int) []byte) {
		var ends [][]byte
		for range 2 * d.r.IntN(8) {
			ends = append(ends, d.near(value))
		}
		if d.r.IntN(3) == 0 {
			ends = append(ends, []byte{0, 0}, []byte{255, 255})
		}
		slices.SortFunc(ends, bytes.Compare)
		ends = slices.CompactFunc(ends, bytes.Equal)
		var lo, hi [][]byte
		for i := 0; i < len(ends); {
			lo = append(lo, ends[i])
			if i += d.r.IntN(2); i >= len(ends) {
				i = len(ends) - 1
			}
			hi = append(hi, ends[i])
			i++
		}
		got, want := d.s.OneOf(v, lo, hi), False
		for i := range lo {
			want = d.s.Or(want, d.s.InRange(v, lo[i], hi[i]))
		}
		if got != want {
			t.Errorf("OneOf(%x, %x) is another function than the union of the ranges", lo, hi)
		}
	})
}

func TestEqAndMux(t *testing.T) {
	vectors(t, func(t *testing.T, d *dice, v Vec, value func(int) []byte) {
		w, other := d.vec()
		if d.r.IntN(2) == 0 { // something alike
			w = slices.Clone(v)
			w[d.r.IntN(bits)] = Node(d.r.IntN(2))
			other = func(row int) []byte { return d.value(w, row) }
		}
		c := d.pair(2)
		eq, mux := d.s.Eq(v, w), d.s.Mux(c.n, v, w)
		d.rows(func(row int) {
			x, y := value(row), other(row)
			if got, want := d.is(eq, row), bytes.Equal(x, y); got != want {
				t.Errorf("Eq(%x, %x) is %v", x, y, got)
			}
			want := y
			if d.is(c.n, row) {
				want = x
			}
			if got := d.value(mux, row); !bytes.Equal(got, want) {
				t.Errorf("Mux gives %x, want %x", got, want)
			}
		})
	})
}

func TestConst(t *testing.T) {
	for n := range uint64(300) {
		v := ConstUint(n, 12)
		b, ok := v.Known()
		if want := []byte{byte(n >> 4), byte(n << 4)}; !ok || !bytes.Equal(b, want) {
			t.Errorf("ConstUint(%d, 12) is %x %v, want %x", n, b, ok, want)
		}
		if !slices.Equal(Const(b)[:12], v) {
			t.Errorf("Const(%x) is not ConstUint(%d, 12)", b, n)
		}
	}
	s := New(0)
	if _, ok := s.Vars(0, 3).Known(); ok {
		t.Error("variables are known")
	}
}

// FuzzCompare asks the same of ranges of any width.
func FuzzCompare(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{1, 2, 4}, []byte{1, 2, 3}, uint8(24))
	f.Add([]byte{}, []byte{0}, []byte{255}, uint8(1))
	f.Fuzz(func(t *testing.T, lo, hi, x []byte, n uint8) {
		if len(lo) > 16 || len(hi) > 16 || len(x) > 16 {
			return
		}
		s := New(0)
		v := s.Vars(0, int(n)%128)
		number := func(b []byte) *big.Int { // the bits of the Vec alone
			padded := make([]byte, 16)
			copy(padded, b)
			return new(big.Int).Rsh(new(big.Int).SetBytes(padded), uint(128-len(v)))
		}
		at := func(i int) bool { return bit(x, i) == True }
		l, h, y := number(lo), number(hi), number(x)
		if got, want := s.Eval(s.InRange(v, lo, hi), at), y.Cmp(l) >= 0 && y.Cmp(h) <= 0; got != want {
			t.Errorf("%x in %x-%x with %d bits is %v", x, lo, hi, len(v), got)
		}
		if got, want := s.Eval(s.EqConst(v, lo), at), y.Cmp(l) == 0; got != want {
			t.Errorf("%x == %x with %d bits is %v", x, lo, len(v), got)
		}
	})
}

// FuzzOperations reads a program for a stack machine and compares functions with truth tables.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 1, 9, 2, 10, 12, 3, 8})
	f.Fuzz(func(t *testing.T, program []byte) {
		s := New(1 << 16)
		stack := []pair{{False, 0}, {True, ^uint64(0)}}
		for _, op := range program {
			a, b, c := stack[len(stack)-1], stack[len(stack)-2], stack[max(len(stack)-3, 0)]
			switch x := int(op) % (few + 6); x - few {
			case 0:
				a = pair{s.And(a.n, b.n), a.table & b.table}
			case 1:
				a = pair{s.Or(a.n, b.n), a.table | b.table}
			case 2:
				a = pair{s.Xor(a.n, b.n), a.table ^ b.table}
			case 3:
				a = pair{s.Diff(a.n, b.n), a.table &^ b.table}
			case 4:
				a = pair{s.Ite(c.n, a.n, b.n), c.table&a.table | ^c.table&b.table}
			case 5:
				a = pair{s.Exists(a.n, func(v int) bool { return v == int(op)%few }), restricted(a.table, int(op)%few, false) | restricted(a.table, int(op)%few, true)}
			default:
				a = pair{s.Var(x), column(x)}
			}
			stack = append(stack, a)
		}
		d := &dice{s: s}
		slices.SortFunc(stack, func(a, b pair) int { return cmp.Compare(a.table, b.table) })
		for i, p := range stack {
			if got := d.table(p.n); got != p.table {
				t.Errorf("table %064b, want %064b", got, p.table)
			}
			if i > 0 && p.table == stack[i-1].table && p.n != stack[i-1].n {
				t.Error("one function is two nodes")
			}
		}
	})
}
