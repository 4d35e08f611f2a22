package bdd

import (
	"iter"
	"maps"
	"slices"
)

// Branch is the variable a tests first, and what a is where that is false and where it is true; ok is false for constants.
func (s *Space) Branch(a Node) (v int, lo, hi Node, ok bool) {
	n := &s.nodes[a]
	return int(n.level), n.lo, n.hi, a > True
}

// Support lists the variables on which a depends, in their order.
func (s *Space) Support(a Node) []int {
	seen := map[Node]bool{}
	vars := map[int]bool{}
	var visit func(Node)
	visit = func(a Node) {
		if a <= True || seen[a] {
			return
		}
		seen[a] = true
		n := s.nodes[a]
		vars[int(n.level)] = true
		visit(n.lo)
		visit(n.hi)
	}
	visit(a)
	return slices.Sorted(maps.Keys(vars))
}

// Eval is the value of a where the variables have the values given.
func (s *Space) Eval(a Node, value func(v int) bool) bool {
	for a > True {
		n := &s.nodes[a]
		if a = n.lo; value(int(n.level)) {
			a = n.hi
		}
	}
	return a == True
}

// Pick gives values of variables that make a true; the variables not named do not matter. Where both values would do, it
// is the one that want prefers. ok is false for False alone.
func (s *Space) Pick(a Node, want func(v int) bool) (values map[int]bool, ok bool) {
	values = map[int]bool{}
	for a > True {
		n := s.nodes[a]
		hi := n.lo == False || n.hi != False && want(int(n.level))
		values[int(n.level)] = hi
		if a = n.lo; hi {
			a = n.hi
		}
	}
	return values, a == True
}

// Share is the part of all assignments that make a true, from 0 to 1.
func (s *Space) Share(a Node) float64 {
	known := map[Node]float64{False: 0, True: 1}
	var share func(Node) float64
	share = func(a Node) float64 {
		if x, ok := known[a]; ok {
			return x
		}
		n := s.nodes[a]
		x := (share(n.lo) + share(n.hi)) / 2
		known[a] = x
		return x
	}
	return share(a)
}

// Cubes gives a as products of variables and their negations that exclude each other: where all variables named in one
// have the values named, a is true, and every assignment that makes a true belongs to exactly one. There can be very many.
func (s *Space) Cubes(a Node) iter.Seq[map[int]bool] {
	return func(yield func(map[int]bool) bool) {
		cube := map[int]bool{}
		var walk func(Node) bool
		walk = func(a Node) bool {
			if a <= True {
				return a == False || yield(maps.Clone(cube))
			}
			n := s.nodes[a]
			v := int(n.level)
			cube[v] = false
			if !walk(n.lo) {
				return false
			}
			cube[v] = true
			on := walk(n.hi)
			delete(cube, v)
			return on
		}
		walk(a)
	}
}
