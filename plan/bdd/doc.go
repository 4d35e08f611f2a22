// Package bdd holds boolean functions as reduced ordered binary decision diagrams: sets of packets, when the variables
// are the bits of a packet. Equal sets are equal Nodes, so "is nothing left" and "is it the same" are comparisons of numbers.
//
// It knows nothing of packets. Read Space first, then Vec: a field of a header is a Vec, of which most bits are constants most
// of the time, and then nothing is built.
//
// A Space has a bound of nodes and an error that stays once it is passed, no garbage collection, and no complement edges.
//
// # Why
//
//   - 2026-11: an own core. The alternative in Go, github.com/dalzilio/rudd (its last tag is v1.1.0, its last commit
//     of 2023-08), was put to BenchmarkChain's 10,000 rules in the same order of variables, on two cores
//     shared with other work: 3.5 s and 307 MB allocated with its default tables, 2.2 s and 246 MB with its BuDDy tables, both
//     with sizes chosen for it (with the defaults its caches never grow: 1,000 rules took 2.5 to 5.3 s); here 0.5 s and
//     79 MB for as many nodes (1.7 million), 1,000 rules 25 ms.
//   - Its Nodes are pointers with finalizers that count references, so a Vec of constants would be a Vec of allocations, and a
//     bit of a packet that is known could not be told from one that is not by looking at it. The number of variables is
//     fixed when a BDD is made; a result after an error is a nil pointer, which Not and Apply then dereference; there are no
//     bit vectors, no Implies or Disjoint that build nothing, and no way to empty a BDD and keep its memory.
//   - No garbage collection: a Space lives as long as one question. No complement edges: they would share a set with its
//     complement, at the price of a test in every step; nobody has shown yet that it pays here.
//   - Operations are those of R. E. Bryant, Graph-Based Algorithms for Boolean Function Manipulation (IEEE Transactions on
//     Computers C-35, 1986).
package bdd
