package endtoend_test

import (
	"slices"
	"strings"
	"testing"
)

// ofTheLab is the rule that is deleted, for it stops nothing but what the file asks for.
const ofTheLab = "of the lab alone"

// arptablesRules are what somebody's arptables stops between guests and their host.
var arptablesRules = map[string]string{
	"policy":         "arptables-nft -P INPUT DROP",
	"all, both ways": "arptables-nft -A INPUT -j DROP; arptables-nft -A OUTPUT -j DROP",
	"questions":      "arptables-nft -A INPUT --opcode 1 -j DROP",
	"answers":        "arptables-nft -A INPUT --opcode 2 -j DROP",
	"own answers":    "arptables-nft -P OUTPUT DROP; arptables-nft -A OUTPUT --opcode 1 -j ACCEPT",
	"in a chain":     "arptables-nft -N theirs; arptables-nft -A theirs -s 10.0.0.0/8 -j DROP; arptables-nft -A INPUT -j theirs",
	"in nft's words": "arptables-nft -A INPUT --proto-type 0x800 -j DROP",
	"of one guest":   "arptables-nft -A INPUT -i virbr-lab -s 10.20.0.11 -j DROP",
	ofTheLab:         "arptables-nft -A INPUT -i virbr-lab --opcode 1 -j DROP",
}

// TestArptables: what arptables-nft stops is passed by an exception that arptables itself writes, or deleted where it stops
// nothing else; machines that have forgotten each other find each other again, a second plan is empty, what was foreseen is
// there, and with its block the exception goes, chain and all.
func TestArptables(t *testing.T) {
	for name, rules := range arptablesRules {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				theirs := b.arptables()
				b.forgetNeighbours()
				p := b.plan(natLab)
				if p.Empty() {
					b.Fatalf("nothing was found:\n%s", steps(p))
				}
				if len(p.Unrequested) > 0 {
					b.Errorf("newly reachable and not asked for: %s", strings.Join(p.Unrequested, "; "))
				}
				foreseen := b.foresee(p)
				b.apply(natLab)
				b.sameRules(foreseen, b.read())
				b.forgetNeighbours()
				b.labWorks()
				b.forgetNeighbours()
				if p := b.plan(natLab); !p.Empty() {
					b.Errorf("a second plan is not empty:\n%s", steps(p))
				}
				b.apply("")
				now := b.arptables()
				if strings.Contains(now, "vmnet") || name != ofTheLab && now != theirs || name == ofTheLab && strings.Contains(now, "DROP") {
					b.Errorf("without the block arptables has\n%s\nit had\n%s", now, theirs)
				}
			})
		})
	}
}

// TestArptablesUndone: undone, arptables' rules are as before, those that were deleted too.
func TestArptablesUndone(t *testing.T) {
	for _, name := range []string{"all, both ways", ofTheLab} {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(arptablesRules[name] + "; arptables-nft -A OUTPUT -o dummy0 -j ACCEPT")
				theirs := b.arptables()
				p := b.plan(natLab)
				for _, s := range p.Steps {
					if err := b.host.Do(b.Context(), s.Change); err != nil {
						b.Fatal(err)
					}
				}
				if b.arptables() == theirs {
					b.Fatal("nothing was done")
				}
				for _, s := range slices.Backward(p.Steps) {
					if err := b.host.Do(b.Context(), s.Change.Inverse()); err != nil {
						b.Fatal(err)
					}
				}
				if now := b.arptables(); now != theirs {
					b.Errorf("undone, arptables has\n%s\nit had\n%s", now, theirs)
				}
			})
		})
	}
}

// arptables is what arptables-nft-save and nft say of the rules of ARP, without dates and counters.
func (b *bed) arptables() string {
	b.Helper()
	return b.sh("arptables-nft-save | grep -v '^#'; nft -s list table arp filter 2>/dev/null")
}
