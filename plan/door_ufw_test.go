package plan

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

// ufwHost is the host of testdata/real/ufw, on which a file is planned and its steps are made.
type ufwHost struct {
	*testing.T
	state *schema.State
}

func newUFWHost(t *testing.T) *ufwHost {
	t.Helper()
	b, err := os.ReadFile("testdata/real/ufw/host.json")
	if err != nil {
		t.Fatal(err)
	}
	h := &ufwHost{t, schema.NewState()}
	if err := json.Unmarshal(b, h.state); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *ufwHost) plan(src string) *Plan {
	h.Helper()
	return h.planRaw("vmnet {\n  required_version = \">= 0.1\"\n}\n" + src)
}

func (h *ufwHost) planRaw(src string) *Plan {
	h.Helper()
	path := filepath.Join(h.TempDir(), "test.vmnet.hcl")
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		h.Fatal(err)
	}
	res, diags := config.Load(path, config.Options{Version: "0.1.0"})
	if diags.HasErrors() {
		h.Fatalf("load: %v", diags)
	}
	p, err := New(h.state, res.Desired, Options{})
	if err != nil {
		h.Fatal(err)
	}
	return p
}

// apply makes the steps; a second plan must be empty.
func (h *ufwHost) apply(src string) *Plan {
	h.Helper()
	p := h.plan(src)
	for _, s := range p.Steps {
		if err := sim.Do(h.state, s.Change); err != nil {
			h.Fatal(err)
		}
	}
	if again := h.plan(src); !again.Empty() {
		h.Fatalf("the second plan is not empty:\n%s", stepTexts(again))
	}
	return p
}

// grants are the texts of the grants that a plan makes and takes back.
func grantSteps(p *Plan) (made, back []string) {
	for _, s := range p.Steps {
		switch {
		case s.Change.Ref.Kind != schema.KindGrant:
		case s.Change.After != nil:
			made = append(made, s.Commands[0])
		default:
			back = append(back, s.Commands[0])
		}
	}
	return made, back
}

func stepTexts(p *Plan) string {
	var s strings.Builder
	for _, x := range p.Steps {
		s.WriteString(x.Change.String() + "\n")
	}
	return s.String()
}

func (h *ufwHost) check(p *Plan, goal, status string) {
	h.Helper()
	for _, c := range p.Checks {
		if strings.Contains(c.Goal.Name, goal) {
			if c.After.Status != status {
				h.Errorf("%s: %s after the plan, want %s: %s", c.Goal.Name, c.After.Status, status, c.After.Why)
			}
			return
		}
	}
	h.Errorf("no goal %q", goal)
}

// deny tells ufw to drop what g would let through, at the end or with Index 1 in front.
func (h *ufwHost) deny(g schema.Grant) {
	h.Helper()
	g.Manager, g.Address, g.Family = schema.ManagerUFW, "test", "ip"
	if err := sim.Do(h.state, schema.Change{Ref: g.Ref(), After: &g}); err != nil {
		h.Fatal(err)
	}
	h.state.Delete(g.Ref())
	f := *h.state.Get(schema.FileRef(ufwconf.Path("ip"))).(*schema.File)
	lines := strings.Split(f.Content, "\n")
	for i, l := range lines {
		if before, comment, _ := strings.Cut(l, " comment="); comment == hex.EncodeToString([]byte("vmnet:test")) {
			lines[i] = strings.Replace(before, "allow", "deny", 1)
			lines[i+1] = strings.Replace(lines[i+1], "ACCEPT", "DROP", 1)
		}
	}
	f.Content = strings.Join(lines, "\n")
	h.state.Put(&f)
	t := *h.state.Get(schema.TableRef("ip", "filter")).(*schema.Table)
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Name == ufwconf.Chain("ip", g.Hook()) {
			chain := *c
			chain.Rules = slices.Clone(c.Rules)
			at := len(chain.Rules) - 1
			if g.Index == 1 {
				at = 0
			}
			chain.Rules[at] = &schema.Rule{Text: strings.Replace(chain.Rules[at].Text, "ACCEPT", "DROP", 1), Exprs: slices.Clone(chain.Rules[at].Exprs)}
			chain.Rules[at].Exprs[len(chain.Rules[at].Exprs)-1] = schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}}
			t.Chains[i] = &chain
		}
	}
	h.state.Put(&t)
}

const ufwNAT = `
nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}
guest "db1" {
  network = nat.lab
  address = "10.20.0.11"
  device  = "vnet0"
}
`

const ufwForward = ufwNAT + `
forward "ssh" {
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}
`

// TestUFWDoor: ufw is asked for what it stops, once, and what nobody needs any more is taken back.
func TestUFWDoor(t *testing.T) {
	h := newUFWHost(t)
	before := h.state.Clone()
	made, _ := grantSteps(h.apply(ufwForward))
	want := []string{
		"ufw route allow in on virbr-lab out on virbr-lab from 10.20.0.0/24 to 10.20.0.0/24 comment 'vmnet:nat.lab'", // br_netfilter
		"ufw route allow in on virbr-lab from 10.20.0.0/24 to 0.0.0.0/0 comment 'vmnet:nat.lab'",
		"ufw route allow out on virbr-lab proto tcp from 0.0.0.0/0 to 10.20.0.11 port 22 comment 'vmnet:forward.ssh'",
	}
	if !slices.Equal(made, want) {
		t.Errorf("asked of ufw:\n%s\nwant\n%s", strings.Join(made, "\n"), strings.Join(want, "\n"))
	}
	_, back := grantSteps(h.apply(ufwNAT))
	if len(back) != 1 || back[0] != "ufw route delete allow out on virbr-lab proto tcp from 0.0.0.0/0 to 10.20.0.11 port 22 comment 'vmnet:forward.ssh'" {
		t.Errorf("taken back: %q", back)
	}
	h.apply("")
	for _, path := range []string{"/etc/ufw/user.rules", "/etc/ufw/user6.rules"} {
		was, is := before.Get(schema.FileRef(path)).(*schema.File), h.state.Get(schema.FileRef(path)).(*schema.File)
		if was.Content != is.Content {
			t.Errorf("%s is not as it was:\n%s\nwas\n%s", path, is.Content, was.Content)
		}
	}
	for _, family := range []string{"ip", "ip6"} {
		if ref := schema.TableRef(family, "filter"); !schema.Equal(before.Get(ref), h.state.Get(ref)) {
			t.Errorf("%s is not as it was: %v", ref, schema.Compare(before.Get(ref), h.state.Get(ref)))
		}
	}
}

// TestUFWDoorIPv6: each family is asked for by itself.
func TestUFWDoorIPv6(t *testing.T) {
	h := newUFWHost(t)
	made, _ := grantSteps(h.apply(strings.Replace(ufwNAT, "\n}", "\n  subnet6 = \"2001:db8:20::/64\"\n}", 1)))
	if !slices.Contains(made, "ufw route allow in on virbr-lab out on virbr-lab from 2001:db8:20::/64 to 2001:db8:20::/64 comment 'vmnet:nat.lab'") {
		t.Errorf("asked of ufw:\n%s", strings.Join(made, "\n"))
	}
}

// TestUFWDoorInFront: a deny stays, but for what the file asks for; a ban stays altogether, and does not keep others out.
func TestUFWDoorInFront(t *testing.T) {
	h := newUFWHost(t)
	h.deny(schema.Grant{Forward: true, Src: netip.MustParsePrefix("10.0.0.0/8")})
	p := h.apply(ufwForward)
	made, _ := grantSteps(p)
	if want := "ufw route prepend allow in on virbr-lab from 10.20.0.0/24 to 0.0.0.0/0 comment 'vmnet:nat.lab'"; !slices.Contains(made, want) {
		t.Errorf("asked of ufw:\n%s\nwant\n%s", strings.Join(made, "\n"), want)
	}
	h.check(p, "guests of nat.lab reach the outside", "ok")
	h.check(p, "outside reaches guest.db1", "fail")
	if !slices.ContainsFunc(p.Findings, func(f Finding) bool {
		return slices.ContainsFunc(f.Fixes, func(x Fix) bool { return strings.Contains(x.WhyNot, "keep out 10.0.0.0/8, ") })
	}) {
		t.Error("nothing is said about the ban")
	}
}

// TestUFWDoorBefore: what stands before all that ufw can be asked for is named, with the file to edit.
func TestUFWDoorBefore(t *testing.T) {
	h := newUFWHost(t)
	table := *h.state.Get(schema.TableRef("ip", "filter")).(*schema.Table)
	table.Chains = slices.Clone(table.Chains)
	for i, c := range table.Chains {
		if c.Name == "ufw-before-forward" {
			chain := *c
			chain.Rules = append([]*schema.Rule{{Text: "-j DROP", Exprs: []schema.Expr{{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}}}}}, c.Rules...)
			table.Chains[i] = &chain
		}
	}
	h.state.Put(&table)
	p := h.plan(ufwNAT)
	if made, _ := grantSteps(p); len(made) > 0 {
		t.Errorf("asked of ufw: %q", made)
	}
	if !slices.ContainsFunc(p.Findings, func(f Finding) bool {
		return slices.ContainsFunc(f.Fixes, func(x Fix) bool { return strings.Contains(x.WhyNot, "/etc/ufw/before.rules") })
	}) {
		t.Error("the file to edit is not named")
	}
}

// TestUFWDoorAnotherBlock: ufw keeps one rule for a flow. One that another block needs now goes first.
func TestUFWDoorAnotherBlock(t *testing.T) {
	wish := func(name string) string {
		return ufwNAT + "expect \"" + name + "\" {\n  from = guest.db1\n  to = host\n  tcp = 8080\n  allow = true\n}\n"
	}
	h := newUFWHost(t)
	h.apply(wish("one"))
	made, back := grantSteps(h.apply(wish("two")))
	if len(made) != 1 || len(back) != 1 || !strings.Contains(made[0], "expect.two") || !strings.Contains(back[0], "expect.one") {
		t.Errorf("asked of ufw: %q, taken back: %q", made, back)
	}
}

// TestUFWDoorOutOfStep: while ufw's disk and the kernel disagree, nothing is asked of it and nothing taken back.
func TestUFWDoorOutOfStep(t *testing.T) {
	h := newUFWHost(t)
	h.apply(ufwNAT)
	raw := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "ufw-user-forward", Rule: schema.Rule{Text: "-s 198.51.100.9/32 -j ACCEPT"}}
	if err := sim.Do(h.state, schema.Change{Ref: raw.Ref(), After: raw}); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{ufwForward, ufwNAT, ""} {
		p := h.plan(src)
		made, back := grantSteps(p)
		if len(made)+len(back) > 0 {
			t.Errorf("asked of ufw: %q, taken back: %q", made, back)
		}
		if !slices.ContainsFunc(p.Findings, func(f Finding) bool { return f.Code == "VN414" && f.Object == "ufw-user-forward" }) {
			t.Errorf("it is not said that ufw has to be reloaded: %+v", p.Findings)
		}
	}
}

// TestUFWDoorTurnedOff: nothing is asked of a ufw that would only write it down.
func TestUFWDoorTurnedOff(t *testing.T) {
	h := newUFWHost(t)
	f := *h.state.Get(schema.FileRef("/etc/ufw/ufw.conf")).(*schema.File)
	f.Content = strings.Replace(f.Content, "ENABLED=yes", "ENABLED=no", 1)
	h.state.Put(&f)
	p := h.plan(ufwNAT)
	if made, _ := grantSteps(p); len(made) > 0 {
		t.Errorf("asked of ufw: %q", made)
	}
	h.check(p, "guests of nat.lab reach the outside", "fail")
}

// TestUFWDoorReport: with foreign = "report" nothing of ufw's changes, not even what it was asked for before.
func TestUFWDoorReport(t *testing.T) {
	h := newUFWHost(t)
	report := func(src string) string {
		return strings.Replace(src, "nat \"lab\"", "vmnet {\n  required_version = \">= 0.1\"\n  foreign = \"report\"\n}\nnat \"lab\"", 1)
	}
	if made, _ := grantSteps(h.planRaw(report(ufwNAT))); len(made) > 0 {
		t.Errorf("asked of ufw: %q", made)
	}
	h.apply(ufwNAT)
	if p := h.planRaw(report(ufwNAT)); !p.Empty() {
		t.Errorf("want no steps:\n%s", stepTexts(p))
	}
}

// TestUFWDoorOverruled: a deny that somebody puts in front of what vmnet had asked for is a decision. Nothing is moved.
func TestUFWDoorOverruled(t *testing.T) {
	h := newUFWHost(t)
	h.apply(ufwNAT)
	h.deny(schema.Grant{Forward: true, In: "virbr-lab", Index: 1})
	p := h.plan(ufwNAT)
	if !p.Empty() {
		t.Errorf("want no steps:\n%s", stepTexts(p))
	}
	h.check(p, "guests of nat.lab reach the outside", "fail")
	if !slices.ContainsFunc(p.Findings, func(f Finding) bool {
		return slices.ContainsFunc(f.Fixes, func(x Fix) bool { return strings.Contains(x.WhyNot, "take out either of the two") })
	}) {
		t.Errorf("it is not said that somebody decided otherwise: %+v", p.Findings)
	}
	if _, back := grantSteps(h.apply("")); len(back) != 2 {
		t.Errorf("taken back without the block: %q", back)
	}
}
