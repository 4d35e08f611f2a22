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
//   - 2026-11: R.E. Bryant, Graph-Based Algorithms for Boolean Function Manipulation (IEEE Transactions on Computers,
//     1986), is a few hundred lines.
package bdd
