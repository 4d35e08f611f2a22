// Package checks finds what is wrong with a host's virtual networks from a snapshot alone, without a file that says what they
// should be: one file, one check, one code, one test, one section of documentation, all of one name.
//
// A check is a value: a pure function of a Host, which is a State and the networks found in it. It looks for a cause, and
// shows the facts that prove it; a symptom that has healthy causes too is no finding. Where the repair is safe whoever wrote
// what is there, the finding hands it on as desired objects, of which package plan makes steps; what needs a decision it only
// names. What becomes of packets is not asked here: plan asks, with what it knows of goals.
//
// Read Check and Host first.
//
// # Why
//
//   - All is one slice and not a registry: the order is the order in which an engineer looks, and is seen in one place.
//   - A finding is more than likely: the snapshot must hold a contradiction. Counters since boot, silence of a machine, and
//     what an empty network looks like (no carrier, a route that is down) are none.
//   - Want are objects and not steps: plan orders, weighs and takes back.
package checks
