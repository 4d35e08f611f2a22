package bdd

// op is an operation whose results are kept. It stands in the place of Ite's condition in an entry.
type op int32

const (
	opAnd op = iota + 1
	opOr
	opXor
	opDiff
	opImplies
	opDisjoint
	opRestrict
	opExists
)

// hash says where the result of an operation c on a and b is kept.
func hash(c, a, b Node) uint64 { return mix(uint64(uint32(a))<<32|uint64(uint32(b)), uint64(c)) }

// slot is the place of a hash; a node made in between may have moved it.
func (s *Space) slot(h uint64) *entry { return &s.memo[h&uint64(len(s.memo)-1)] }

// split gives the variable to test first, and what a and b are where it is false and where it is true.
func (s *Space) split(a, b Node) (level int32, a0, a1, b0, b1 Node) {
	na, nb := &s.nodes[a], &s.nodes[b]
	level = min(na.level, nb.level)
	a0, a1, b0, b1 = a, a, b, b
	if na.level == level {
		a0, a1 = na.lo, na.hi
	}
	if nb.level == level {
		b0, b1 = nb.lo, nb.hi
	}
	return level, a0, a1, b0, b1
}

// Not is true where a is false.
func (s *Space) Not(a Node) Node { return s.Diff(True, a) }

// And is true where both are.
func (s *Space) And(a, b Node) Node {
	switch {
	case a > b:
		a, b = b, a
	case a == b:
		return a
	}
	if a <= True { // the smaller one: False decides, True does not matter
		if a == False {
			return False
		}
		return b
	}
	return s.apply(opAnd, a, b)
}

// Or is true where either is.
func (s *Space) Or(a, b Node) Node {
	switch {
	case a > b:
		a, b = b, a
	case a == b:
		return a
	}
	if a <= True {
		if a == True {
			return True
		}
		return b
	}
	return s.apply(opOr, a, b)
}

// Xor is true where exactly one is.
func (s *Space) Xor(a, b Node) Node {
	switch {
	case a > b:
		a, b = b, a
	case a == b:
		return False
	}
	if a == False {
		return b
	}
	return s.apply(opXor, a, b)
}

// Diff is true where a is and b is not.
func (s *Space) Diff(a, b Node) Node {
	switch {
	case a == False || b == True || a == b:
		return False
	case b == False:
		return a
	}
	return s.apply(opDiff, a, b)
}

// apply makes what And and its like could not say at once.
func (s *Space) apply(do op, a, b Node) Node {
	h := hash(Node(do), a, b)
	if e := s.slot(h); e.c == Node(do) && e.a == a && e.b == b {
		return e.is
	}
	if s.err != nil {
		return False
	}
	level, a0, a1, b0, b1 := s.split(a, b)
	var lo, hi Node
	switch do {
	case opAnd:
		lo, hi = s.And(a0, b0), s.And(a1, b1)
	case opOr:
		lo, hi = s.Or(a0, b0), s.Or(a1, b1)
	case opXor:
		lo, hi = s.Xor(a0, b0), s.Xor(a1, b1)
	default:
		lo, hi = s.Diff(a0, b0), s.Diff(a1, b1)
	}
	is := s.make(level, lo, hi)
	*s.slot(h) = entry{Node(do), a, b, is}
	return is
}

// Ite is a where c is true, else b.
func (s *Space) Ite(c, a, b Node) Node {
	switch {
	case c == True || a == b:
		return a
	case c == False:
		return b
	case a == True || a == c:
		return s.Or(c, b)
	case a == False:
		return s.Diff(b, c)
	case b == False || b == c:
		return s.And(c, a)
	case b == True:
		return s.Not(s.Diff(c, a))
	}
	nc, na, nb := s.nodes[c], s.nodes[a], s.nodes[b]
	if nc.lo == False && nc.hi == True && nc.level < na.level && nc.level < nb.level {
		return s.make(nc.level, b, a)
	}
	h := hash(c, a, b)
	if e := &s.ites[h&uint64(len(s.ites)-1)]; e.c == c && e.a == a && e.b == b {
		return e.is
	}
	if s.err != nil {
		return False
	}
	level := min(nc.level, na.level, nb.level)
	c0, c1 := nc.at(level, c)
	a0, a1 := na.at(level, a)
	b0, b1 := nb.at(level, b)
	is := s.make(level, s.Ite(c0, a0, b0), s.Ite(c1, a1, b1))
	s.ites[h&uint64(len(s.ites)-1)] = entry{c, a, b, is}
	return is
}

// at gives what the function itself becomes where the variable of a level is false, and where it is true.
func (n node) at(level int32, itself Node) (lo, hi Node) {
	if n.level == level {
		return n.lo, n.hi
	}
	return itself, itself
}

// Implies tells whether b is true wherever a is. Nothing is built.
func (s *Space) Implies(a, b Node) bool {
	switch {
	case a == False || b == True || a == b:
		return true
	case a == True || b == False:
		return false
	}
	return s.ask(opImplies, a, b)
}

// Disjoint tells whether a and b are nowhere both true. Nothing is built.
func (s *Space) Disjoint(a, b Node) bool {
	switch {
	case a == False || b == False:
		return true
	case a == True || b == True || a == b:
		return false
	case a > b:
		a, b = b, a
	}
	return s.ask(opDisjoint, a, b)
}

func (s *Space) ask(do op, a, b Node) bool {
	h := hash(Node(do), a, b)
	if e := s.slot(h); e.c == Node(do) && e.a == a && e.b == b {
		return e.is == True
	}
	_, a0, a1, b0, b1 := s.split(a, b)
	var is bool
	if do == opImplies {
		is = s.Implies(a0, b0) && s.Implies(a1, b1)
	} else {
		is = s.Disjoint(a0, b0) && s.Disjoint(a1, b1)
	}
	e := s.slot(h)
	*e = entry{Node(do), a, b, False}
	if is {
		e.is = True
	}
	return is
}

// Restrict is what a becomes where variable v has the value.
func (s *Space) Restrict(a Node, v int, value bool) Node {
	n := s.nodes[a]
	switch {
	case n.level > int32(v):
		return a
	case n.level == int32(v) && value:
		return n.hi
	case n.level == int32(v):
		return n.lo
	}
	by := Node(v) << 1
	if value {
		by++
	}
	h := hash(Node(opRestrict), a, by)
	if e := s.slot(h); e.c == Node(opRestrict) && e.a == a && e.b == by {
		return e.is
	}
	if s.err != nil {
		return False
	}
	is := s.make(n.level, s.Restrict(n.lo, v, value), s.Restrict(n.hi, v, value))
	*s.slot(h) = entry{Node(opRestrict), a, by, is}
	return is
}

// Exists is true where a can be made true by a choice of the variables for which quantify says true. It is asked about the
// variables of a only: there may be many thousands of others.
func (s *Space) Exists(a Node, quantify func(v int) bool) Node {
	s.round++ // results kept from other calls were for other variables
	return s.exists(a, quantify)
}

func (s *Space) exists(a Node, quantify func(v int) bool) Node {
	if a <= True {
		return a
	}
	n := s.nodes[a]
	h := hash(Node(opExists), a, s.round)
	if e := s.slot(h); e.c == Node(opExists) && e.a == a && e.b == s.round {
		return e.is
	}
	if s.err != nil {
		return False
	}
	is := s.exists(n.lo, quantify)
	if quantify(int(n.level)) {
		if is != True {
			is = s.Or(is, s.exists(n.hi, quantify))
		}
	} else {
		is = s.make(n.level, is, s.exists(n.hi, quantify))
	}
	*s.slot(h) = entry{Node(opExists), a, s.round, is}
	return is
}
