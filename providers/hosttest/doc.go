// Package hosttest is for tests of everything that works on a host: a fake host, a real one in a network namespace, and the
// conformance suite that both must pass.
//
// Fake is plan/sim with faults: the k-th change fails, somebody else changes the host meanwhile. Netns is the real providers
// in a new network namespace, for an ordinary user too (call world.Main in TestMain). Run is the suite: each row makes one
// change, and checks what the host then holds against what sim foresaw, that a change made twice or to something else than
// planned is refused without a trace, and that the inverse takes it back. Because the same rows run against both, the fake is
// not a belief but a tested model. Differ throws random changes at a host and at sim.
//
// Read Host first, then Run.
//
// # Why
//
//   - Where fake and kernel disagree the kernel is right: sim is changed, never the row.
//   - A row states what is done, not what is expected: that is sim's to know, and one expectation for all rows finds more
//     than many by hand. What sim says is checked by hand in its own table tests, in the words of ip(8).
package hosttest
