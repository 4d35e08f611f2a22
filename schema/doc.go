// Package schema is the model: the objects a host's network is made of, the changes between them, and the goals set for
// packets. It depends on the standard library alone; everything else in vmnet depends on it.
//
// Five sentences define the program:
//
//  1. Desired and live are the same types: Objects in a State. A nil field of a desired object means "not managed"; a live
//     object has every field filled.
//  2. An Object is the smallest thing the kernel changes atomically: a link, an address, a route, one whole nftables
//     table, a sysctl, a file.
//  3. A Change is data: Ref, Before, After. Its inverse swaps them. Plan, journal, rollback and every output are made of
//     Changes.
//  4. Only package providers touches the host, by two verbs: Read and Do(Change).
//  5. Packages plan and providers never import each other; both know schema, and apply introduces them.
//
// Read Object and State first. A new kind of object needs five places: a file here, a case in plan/sim, a provider, a row
// in providers/hosttest, a block in schema/config.
//
// # Why
//
//   - There is no state file: ownership is written into the kernel (see Owned), for a file that disagrees with the kernel is
//     one more thing that can be wrong.
//   - Where an object comes from in the file is kept beside the model (Desired.Origins), never inside: otherwise desired and
//     live would not compare.
//   - Rules are kept at the level of nftables' bytecode (Expr), not as text: iptables-save misprints native rules in its own
//     tables, and text loses what it cannot print. What is not understood is kept raw and called opaque.
//   - A rule inside somebody else's table is a view (ForeignRule), not a second copy: one table has one truth.
//   - A route that changes its device is a new route and an old one: so the new one is made before the old one is broken.
package schema
