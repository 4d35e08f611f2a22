package hosttest

import (
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// theirs are the rules that somebody's iptables has put into FORWARD.
func theirs() []string {
	return []string{
		"-s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT",
		"-d 192.168.1.100/32 -p tcp -m tcp --dport 22 -j DROP",
		`-s 10.0.0.3/32 -m comment --comment "vmnet:nat.lab" -j ACCEPT`,
		"-j DROP",
	}
}

// iptables puts theirs into the FORWARD chain of table filter, of that backend.
func iptables(backend string) func(testing.TB, Host) {
	return func(t testing.TB, h Host) {
		t.Helper()
		switch h := h.(type) {
		case *Namespace:
			h.Inside(func() {
				for _, r := range theirs() {
					args := strings.Fields("-w -t filter -A FORWARD " + strings.ReplaceAll(r, `"`, ""))
					if out, err := exec.Command("iptables-"+backend, args...).CombinedOutput(); err != nil {
						t.Errorf("iptables-%s %v: %v: %s", backend, args, err, out)
					}
				}
			})
		case *Fake:
			h.ChangeBehindOurBack(func(s *schema.State) { s.Put(fakeTable(backend == "legacy")) })
		default:
			t.Fatalf("no iptables on a %T", h)
		}
	}
}

func fakeTable(legacy bool) *schema.Table {
	c := &schema.Chain{Name: "FORWARD", Type: "filter", Hook: "forward", Policy: "accept"}
	for _, text := range theirs() {
		r := &schema.Rule{Text: text}
		if strings.Contains(text, "vmnet:nat.lab") {
			r.Comment = "vmnet:nat.lab"
		}
		c.Rules = append(c.Rules, r)
	}
	return &schema.Table{Family: "ip", Name: "filter", Legacy: legacy, Compat: !legacy, Chains: []*schema.Chain{c}}
}

// theirRule is the i-th rule of FORWARD, to be written by iptables.
func theirRule(s *schema.State, legacy bool, i int) *schema.ForeignRule {
	ref := (&schema.Table{Family: "ip", Name: "filter", Legacy: legacy}).Ref()
	t := s.Get(ref).(*schema.Table)
	f := schema.RuleAt(t, t.Chain("FORWARD"), i)
	f.ByTool = true
	return f
}

func xRuleRows() []row {
	var rows []row
	for _, backend := range []string{"nft", "legacy"} {
		legacy := backend == "legacy"
		deletion := func(i int) change {
			return func(s *schema.State) schema.Change {
				f := theirRule(s, legacy, i)
				return schema.Change{Ref: f.Ref(), Before: f}
			}
		}
		for name, i := range map[string]int{"the first": 0, "one in between": 1, "one of ours": 2, "the last": 3} {
			rows = append(rows, row{name: backend + ": delete " + name, prep: iptables(backend), do: deletion(i)})
		}
		rows = append(rows,
			row{name: backend + ": add what is there", prep: iptables(backend), do: func(s *schema.State) schema.Change {
				f := theirRule(s, legacy, 1)
				return schema.Change{Ref: f.Ref(), After: f}
			}, fails: fs.ErrExist},
			row{name: backend + ": delete what is not there", prep: iptables(backend), do: func(s *schema.State) schema.Change {
				f := theirRule(s, legacy, 1)
				f.Rule = schema.Rule{Text: "-s 192.0.2.1/32 -j DROP"}
				return schema.Change{Ref: f.Ref(), Before: f}
			}, fails: fs.ErrNotExist},
			row{name: backend + ": add to a chain that is not there", prep: iptables(backend), do: func(s *schema.State) schema.Change {
				f := theirRule(s, legacy, 1)
				f.Chain = "DOCKER-USER"
				return schema.Change{Ref: f.Ref(), After: f}
			}, fails: fs.ErrNotExist},
		)
	}
	return rows
}
