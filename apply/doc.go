// Package apply carries a plan out: is it still true, do it, prove it, or take it back.
//
// It decides nothing about networks. It reads the host, refuses a plan whose facts have changed, writes each step to a
// journal before it makes it, and verifies the result by reading the host again and planning again. When a step fails,
// the result is not what was planned, or the caller gives up, it undoes the steps it made, last first, and verifies that
// too.
//
// Read Run first; the rest serves it: Lock and Journal (the runtime directory), StaleError, Failure, and Save, Load and
// Fits for plans on disk.
//
// # Why
//
// Undo is made of the inverses of our own steps, never of a snapshot written over the host: what others changed meanwhile
// survives. The providers compare before they set, so a conflict is seen, reported, and the other steps are still undone.
//
// The journal lives in the runtime directory, which a reboot clears together with the kernel's state that it describes.
// A journal that is still there when the next apply starts belongs to one that died: that apply is refused by
// LeftoverError. Recovering from it, the watchdog that would have done it meanwhile, and the wait for a confirmation
// between verification and the journal's end have their place there and in Run, and are not built yet.
package apply
