package bdd

import (
	"errors"
	"fmt"
	"math"
)

// Node is a boolean function of the variables of one Space. Equal functions are equal Nodes.
type Node int32

// The constants, the same in every Space.
const (
	False Node = 0
	True  Node = 1
)

// ErrTooLarge says that a Space has as many nodes as it may have.
var ErrTooLarge = errors.New("too many nodes")

// The default bound of a Space, and the sizes its tables begin with (powers of two).
const (
	defaultNodes = 8 << 20
	smallTable   = 1 << 10
	smallCache   = 1 << 9
)

// leaf is the level of the constants: below every variable.
const leaf = math.MaxInt32

// node is "if the variable then hi else lo". Variables of lower numbers stand nearer to the root.
type node struct {
	level  int32
	lo, hi Node
}

// Space holds the functions made so far. It only grows, until Reset. It is not safe for concurrent use.
type Space struct {
	nodes []node
	table []Node  // hash table of nodes: open addressing, a power of two, 0 for free
	memo  []entry // results of operations on two functions: a power of two; a later one takes the place of an earlier one
	ites  []entry // results of Ite
	max   int
	round Node
	err   error
}

// entry is a result kept: of an operation on a and b, or of Ite(c, a, b).
type entry struct{ c, a, b, is Node }

// New makes a Space of at most maxNodes nodes; 0 stands for 8 million, which take about 300 MB.
func New(maxNodes int) *Space {
	if maxNodes <= 0 {
		maxNodes = defaultNodes
	}
	s := &Space{max: min(maxNodes, math.MaxInt32)}
	s.Reset()
	return s
}

// Err is nil, or wraps ErrTooLarge once the bound of nodes is passed. It stays until Reset, and so long every result is
// meaningless (False, mostly): ask once, at the end.
func (s *Space) Err() error { return s.err }

// Size is how many nodes were made, those of functions no longer used among them.
func (s *Space) Size() int { return len(s.nodes) }

// Reset forgets every function and keeps the memory. Nodes made before must not be used again.
func (s *Space) Reset() {
	s.nodes = append(s.nodes[:0], node{level: leaf, lo: False, hi: False}, node{level: leaf, lo: True, hi: True})
	s.table = sized(s.table, smallTable)
	s.memo, s.ites = sized(s.memo, smallCache), sized(s.ites, smallCache)
	s.round, s.err = 0, nil
}

// sized gives n zero elements, in the memory of old where it suffices.
func sized[T any](old []T, n int) []T {
	if cap(old) < n {
		return make([]T, n)
	}
	old = old[:n]
	clear(old)
	return old
}

// Var is the function that is true where variable i is. Variables are numbered from 0, and 0 is tested first.
func (s *Space) Var(i int) Node {
	return s.make(int32(i), False, True)
}

// make is the node "if the variable at level then hi else lo"; both must be of deeper levels.
func (s *Space) make(level int32, lo, hi Node) Node {
	if lo == hi {
		return lo
	}
	mask := uint64(len(s.table) - 1)
	i := mix(uint64(uint32(lo))<<32|uint64(uint32(hi)), uint64(level)) & mask
	for ; s.table[i] != 0; i = (i + 1) & mask {
		if n := &s.nodes[s.table[i]]; n.lo == lo && n.hi == hi && n.level == level {
			return s.table[i]
		}
	}
	if len(s.nodes) >= s.max {
		if s.err == nil {
			s.err = fmt.Errorf("make a node beyond %d: %w", s.max, ErrTooLarge)
		}
		return False
	}
	made := Node(len(s.nodes))
	s.nodes = append(s.nodes, node{level, lo, hi})
	s.table[i] = made
	if len(s.nodes) > len(s.table)/2 { // fuller tables were slower, by a sixth at three quarters
		s.grow()
	}
	return made
}

// grow doubles the tables. Results kept are forgotten: to make them again costs less than to move them.
func (s *Space) grow() {
	s.table = sized(s.table, 2*len(s.table))
	mask := uint64(len(s.table) - 1)
	for k := 2; k < len(s.nodes); k++ {
		n := &s.nodes[k]
		i := mix(uint64(uint32(n.lo))<<32|uint64(uint32(n.hi)), uint64(n.level)) & mask
		for s.table[i] != 0 {
			i = (i + 1) & mask
		}
		s.table[i] = Node(k)
	}
	s.memo = sized(s.memo, len(s.table)/2)
	s.ites = sized(s.ites, len(s.table)/8)
}

// mix spreads two numbers over 64 bits (the finaliser of MurmurHash3, once).
func mix(a, b uint64) uint64 {
	h := a*0x9e3779b97f4a7c15 ^ b*0xff51afd7ed558ccd
	h ^= h >> 32
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>29
}
