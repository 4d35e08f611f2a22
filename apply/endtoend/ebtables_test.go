package endtoend_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// ebtablesRules are what somebody's ebtables stops between guests, or between guests and the host.
var ebtablesRules = map[string]string{
	"a port":     "ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 80 -j DROP",
	"a guest":    "ebtables-nft -A FORWARD -p IPv4 --ip-dst 10.20.0.12 -j DROP",
	"from a tap": "ebtables-nft -A FORWARD -i vnet0 -p IPv4 -j DROP",
	"answers":    "ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp --ip-sport 80 -j DROP",
	"to others":  "ebtables-nft -N theirs -P RETURN && ebtables-nft -A theirs -p IPv4 --ip-proto tcp -j DROP && ebtables-nft -A FORWARD -j theirs",
	"from host":  "ebtables-nft -A OUTPUT -p IPv4 --ip-proto tcp --ip-dport 80 -j DROP",
	"to host":    "ebtables-nft -A INPUT -p IPv4 --ip-proto icmp -j DROP",
	"policy":     "ebtables-nft -A FORWARD -p ARP -j ACCEPT && ebtables-nft -A FORWARD -p IPv6 -j ACCEPT && ebtables-nft -P FORWARD DROP",
}

// TestEbtables: rules of ebtables-nft are passed by an exception that ebtables itself writes; a second plan is empty, what
// was foreseen is what is there, and with its block the exception goes, chain and all.
func TestEbtables(t *testing.T) {
	for name, rules := range ebtablesRules {
		t.Run(name, func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.sh(rules)
				theirs := b.sh("ebtables-nft-save | grep -v '^#'")
				p := b.plan(natLab)
				if p.Empty() {
					b.Fatalf("nothing was found:\n%s", steps(p))
				}
				foreseen := b.foresee(p)
				b.apply(natLab)
				b.sameRules(foreseen, b.read())
				b.labWorks()
				if now := b.sh("ebtables-nft-save"); strings.Contains(rules, "FORWARD -p IPv4 --ip-proto tcp") && !strings.Contains(now, ":vmnet:nat.lab ACCEPT") {
					b.Errorf("the mark is not there:\n%s", now)
				}
				saved := filepath.Join(b.TempDir(), "saved")
				b.sh("ebtables-nft-save > " + saved + " && ebtables-nft -F && ebtables-nft-restore < " + saved)
				if p := b.plan(natLab); !p.Empty() {
					b.Errorf("after ebtables-save and ebtables-restore:\n%s", steps(p))
				}
				b.apply("")
				if now := b.sh("ebtables-nft-save | grep -v '^#'"); !sameEbtables(now, theirs) {
					b.Errorf("without the block ebtables has\n%s\nit had\n%s", now, theirs)
				}
			})
		})
	}
}

// foresee is the host as a plan would make it.
func (b *bed) foresee(p *plan.Plan) *schema.State {
	b.Helper()
	s := b.read()
	for _, step := range p.Steps {
		if err := sim.Do(s, step.Change); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func sameEbtables(a, b string) bool {
	x, y := strings.Split(strings.TrimSpace(a), "\n"), strings.Split(strings.TrimSpace(b), "\n")
	base := func(l string) bool {
		return strings.HasPrefix(l, ":INPUT") || strings.HasPrefix(l, ":OUTPUT") || strings.HasPrefix(l, ":FORWARD")
	}
	return slices.Equal(slices.DeleteFunc(x, base), slices.DeleteFunc(y, base))
}

// sameRules compares the foreign tables of two states, by what their rules do.
func (b *bed) sameRules(foreseen, live *schema.State) {
	b.Helper()
	for want := range schema.Each[*schema.Table](foreseen) {
		if schema.OwnTable(want) {
			continue
		}
		have, _ := live.Get(want.Ref()).(*schema.Table)
		if have == nil || len(have.Chains) != len(want.Chains) {
			b.Errorf("%s: foreseen %v, there is %v", want.Ref(), want, have)
			continue
		}
		for _, w := range want.Chains {
			h := have.Chain(w.Name)
			if h == nil || !slices.EqualFunc(h.Rules, w.Rules, func(x, y *schema.Rule) bool { return x.Text == y.Text && schema.RulesEqual(x, y) }) {
				b.Errorf("chain %s: foreseen %s, there is %s", w.Name, rulesOf(w), rulesOf(h))
			}
		}
	}
}

func rulesOf(c *schema.Chain) string {
	if c == nil {
		return "no such chain"
	}
	var s strings.Builder
	for _, r := range c.Rules {
		s.WriteString("\n    " + r.Text)
	}
	return s.String()
}

// TestEbtablesUndone: undone, ebtables' rules are as before.
func TestEbtablesUndone(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.sh("ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 80 -j DROP")
		theirs := b.sh("ebtables-nft-save | grep -v '^#'")
		p := b.plan(natLab)
		for _, s := range p.Steps {
			if err := b.host.Do(b.Context(), s.Change); err != nil {
				b.Fatal(err)
			}
		}
		for _, s := range slices.Backward(p.Steps) {
			if err := b.host.Do(b.Context(), s.Change.Inverse()); err != nil {
				b.Fatal(err)
			}
		}
		if now := b.sh("ebtables-nft-save | grep -v '^#'"); now != theirs {
			b.Errorf("undone, ebtables has\n%s\nit had\n%s", now, theirs)
		}
	})
}
