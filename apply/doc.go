// Package apply carries a plan out: is it still true, do it, prove it, or take it back.
//
// It decides nothing about networks. It reads the host, refuses a plan whose facts have changed, writes each step to a
// journal before it makes it, and verifies the result by reading the host again and planning again. When a step fails,
// the result is not what was planned, nobody confirms it, or the process that makes it dies, the steps made are undone, last
// first, and that is verified too.
//
//	Run:  check ─▶ journal ─▶ arm ─▶ steps ─▶ verify ─▶ wait ─▶ Confirm ─▶ what lasts ─▶ history
//	                                   │         │        │
//	                                   ▼         ▼        ▼ deadline, death
//	Watch, Recover, Rollback:          inverses, last first ─▶ compare with what was ─▶ history
//
// Read Run first, then Rollback and Watch. The rest serves them: Lock (one at a time), Journal and Entry (what a change is on
// disk, and what that says), Recover (what the next command does about one that died), StaleError, Failure, and Save, Load
// and Fits for plans on disk.
//
// # Why
//
//   - Undo is made of the inverses of our own steps, never of a snapshot written over the host: what others changed meanwhile
//     survives (schema.Revert). A conflict is seen, reported, and the other steps are still undone.
//   - The journal is the undo program: whoever reads it, the watchdog, the next command, a person, needs nothing else. It lies
//     where a reboot leaves it, for some steps write to disk; the others a reboot undoes, so that only those are synced one by
//     one.
//   - The watchdog is a process of its own, and looks at the journal ten times a second rather than being told: nobody who
//     dies can forget to tell it.
//   - What only outlasts a reboot (files) is written when the change is confirmed: a reboot before that undoes all of it.
//   - Deadlines are on the clock since boot. Wall clocks jump.
package apply
