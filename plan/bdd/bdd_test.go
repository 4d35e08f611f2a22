package bdd

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// few is how many variables the truth tables have: 64 rows, one word.
const few = 6

// dice makes pairs of a function and its truth table: bit r is the value where variable v is bit v of r.
type dice struct {
	r *rand.Rand
	s *Space
}

type pair struct {
	n     Node
	table uint64
}

// column is the truth table of a variable.
func column(v int) uint64 {
	var t uint64
	for row := range 1 << few {
		if row>>v&1 == 1 {
			t |= 1 << row
		}
	}
	return t
}

func (d *dice) pair(depth int) pair {
	if depth == 0 || d.r.IntN(8) == 0 {
		switch v := d.r.IntN(few + 2); v {
		case few:
			return pair{False, 0}
		case few + 1:
			return pair{True, ^uint64(0)}
		default:
			return pair{d.s.Var(v), column(v)}
		}
	}
	a, b := d.pair(depth-1), d.pair(depth-1)
	s := d.s
	switch d.r.IntN(7) {
	case 0:
		return pair{s.Not(a.n), ^a.table}
	case 1:
		return pair{s.And(a.n, b.n), a.table & b.table}
	case 2:
		return pair{s.Or(a.n, b.n), a.table | b.table}
	case 3:
		return pair{s.Xor(a.n, b.n), a.table ^ b.table}
	case 4:
		return pair{s.Diff(a.n, b.n), a.table &^ b.table}
	case 5:
		v, value := d.r.IntN(few), d.r.IntN(2) == 1
		return pair{s.Restrict(a.n, v, value), restricted(a.table, v, value)}
	}
	c := d.pair(depth - 1)
	return pair{s.Ite(c.n, a.n, b.n), c.table&a.table | ^c.table&b.table}
}

func restricted(table uint64, v int, value bool) uint64 {
	var t uint64
	for row := range 1 << few {
		from := row &^ (1 << v)
		if value {
			from |= 1 << v
		}
		t |= table >> from & 1 << row
	}
	return t
}

func (d *dice) table(n Node) uint64 {
	var t uint64
	for row := range 1 << few {
		if d.s.Eval(n, func(v int) bool { return row>>v&1 == 1 }) {
			t |= 1 << row
		}
	}
	return t
}

// each runs a check on many random functions.
func each(t *testing.T, check func(t *testing.T, d *dice, p pair)) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := &dice{rand.New(rand.NewPCG(seed, 0)), New(0)}
	for i := range 3000 {
		if i%100 == 0 {
			d.s.Reset()
		}
		if check(t, d, d.pair(1+i%6)); t.Failed() {
			return
		}
	}
	if err := d.s.Err(); err != nil {
		t.Error(err)
	}
}

func TestOperations(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		if got := d.table(p.n); got != p.table {
			t.Errorf("table is %064b, want %064b", got, p.table)
		}
	})
}

// Equal functions are one Node, however they were made.
func TestCanonical(t *testing.T) {
	seen, size := map[uint64]Node{}, 0
	each(t, func(t *testing.T, d *dice, p pair) {
		if d.s.Size() < size { // a reset
			clear(seen)
		}
		size = d.s.Size()
		if n, ok := seen[p.table]; ok && n != p.n {
			t.Errorf("one function is %d and %d", n, p.n)
		}
		seen[p.table] = p.n
	})
}

func TestImpliesAndDisjoint(t *testing.T) {
	each(t, func(t *testing.T, d *dice, a pair) {
		b := d.pair(3)
		size := d.s.Size()
		if got, want := d.s.Implies(a.n, b.n), a.table&^b.table == 0; got != want {
			t.Errorf("Implies is %v, want %v", got, want)
		}
		if got, want := d.s.Disjoint(a.n, b.n), a.table&b.table == 0; got != want {
			t.Errorf("Disjoint is %v, want %v", got, want)
		}
		if got := d.s.Size(); got != size {
			t.Errorf("%d nodes were built for a question", got-size)
		}
	})
}

func TestExists(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		over := d.r.IntN(1 << few)
		want := p.table
		for v := range few {
			if over>>v&1 == 1 {
				want = restricted(want, v, false) | restricted(want, v, true)
			}
		}
		if got := d.table(d.s.Exists(p.n, func(v int) bool { return over>>v&1 == 1 })); got != want {
			t.Errorf("Exists over %06b is %064b, want %064b", over, got, want)
		}
	})
}

func TestPick(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		want := d.r.IntN(1 << few)
		wanted := func(v int) bool { return want>>v&1 == 1 }
		values, ok := d.s.Pick(p.n, wanted)
		if ok != (p.table != 0) {
			t.Fatalf("ok is %v for table %064b", ok, p.table)
		}
		if !ok {
			return
		}
		for row := range 1 << few { // every assignment that agrees
			if agrees(values, row) && p.table>>row&1 == 0 {
				t.Errorf("%v does not make %064b true at %06b", values, p.table, row)
			}
		}
		if p.table>>want&1 == 1 && !agrees(values, want) {
			t.Errorf("%06b was wanted and is possible, and %v picked", want, values)
		}
	})
}

func agrees(cube map[int]bool, row int) bool {
	for v, value := range cube {
		if row>>v&1 == 1 != value {
			return false
		}
	}
	return true
}

func TestCubes(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		var covered uint64
		for cube := range d.s.Cubes(p.n) {
			for row := range 1 << few {
				if !agrees(cube, row) {
					continue
				}
				if covered>>row&1 == 1 {
					t.Errorf("%06b is in two cubes", row)
				}
				covered |= 1 << row
			}
		}
		if covered != p.table {
			t.Errorf("cubes cover %064b, want %064b", covered, p.table)
		}
		for range d.s.Cubes(p.n) {
			break // leaving early is allowed
		}
	})
}

func TestSupportAndShare(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		var want []int
		for v := range few {
			if restricted(p.table, v, false) != restricted(p.table, v, true) {
				want = append(want, v)
			}
		}
		if got := d.s.Support(p.n); !slices.Equal(got, want) {
			t.Errorf("Support is %v, want %v", got, want)
		}
		var rows float64
		for row := range 1 << few {
			rows += float64(p.table >> row & 1)
		}
		if got := d.s.Share(p.n); got != rows/(1<<few) {
			t.Errorf("Share is %v, want %v of %d", got, rows, 1<<few)
		}
	})
}

func TestTooLarge(t *testing.T) {
	s := New(100)
	r := rand.New(rand.NewPCG(1, 2))
	is := False
	for range 50 {
		b := make([]byte, 8)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		is = s.Or(is, s.EqConst(s.Vars(0, 64), b))
	}
	if !errors.Is(s.Err(), ErrTooLarge) {
		t.Errorf("Err is %v, want ErrTooLarge", s.Err())
	}
	if s.Size() > 100 {
		t.Errorf("%d nodes, the bound is 100", s.Size())
	}
	s.Reset()
	if s.Err() != nil {
		t.Errorf("after Reset: %v", s.Err())
	}
	if v := s.Var(3); s.And(v, s.Not(v)) != False || s.Or(v, s.Not(v)) != True {
		t.Error("a Space that was reset does not work")
	}
}

// A Space forgets what it knew, whatever its tables grew to.
func TestResetForgets(t *testing.T) {
	s := New(0)
	for round := range 3 {
		r := rand.New(rand.NewPCG(7, uint64(round)))
		is := False
		var all [][]byte
		v := s.Vars(round, 24)
		for range 2000 {
			b := []byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
			all = append(all, b)
			is = s.Or(is, s.EqConst(v, b))
		}
		slices.SortFunc(all, bytes.Compare)
		all = slices.CompactFunc(all, bytes.Equal)
		if got := s.OneOf(v, all, all); got != is {
			t.Errorf("round %d: Or of equalities is %d, OneOf %d", round, is, got)
		}
		s.Reset()
	}
}

func TestConstantsCostNothing(t *testing.T) {
	s := New(0)
	packet := Const([]byte{10, 0, 7, 9, 0, 22})
	plain := s.Vars(0, 32)
	size := s.Size()
	got := testing.AllocsPerRun(100, func() {
		if s.EqConst(packet, []byte{10, 0, 7, 9, 0, 22}) != True || s.EqConst(packet, []byte{10, 0, 7, 9, 0, 23}) != False ||
			s.Prefix(packet, []byte{10, 0}, 16) != True || s.LeqConst(packet, []byte{10, 0, 7, 8, 255, 255}) != False ||
			s.GeqConst(packet, []byte{10, 0, 7, 9, 0, 22}) != True {
			t.Error("wrong answers about constants")
		}
	})
	if got != 0 || s.Size() != size {
		t.Errorf("constants took %v allocations and %d nodes", got, s.Size()-size)
	}
	s.EqConst(plain, []byte{10, 20, 30, 40})
	if made := s.Size() - size; made != 32 {
		t.Errorf("a cube of 32 variables took %d nodes", made)
	}
}

func TestBranch(t *testing.T) {
	each(t, func(t *testing.T, d *dice, p pair) {
		v, lo, hi, ok := d.s.Branch(p.n)
		if ok != (p.n > True) {
			t.Fatalf("ok is %v for %d", ok, p.n)
		}
		if ok && (lo != d.s.Restrict(p.n, v, false) || hi != d.s.Restrict(p.n, v, true) || lo == hi) {
			t.Errorf("branches at %d are %d and %d", v, lo, hi)
		}
	})
}
