package zoo_test

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply/zoo"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema"
)

// run runs one case, or several at once that can be: see zoo.Together. It returns how long it took from plan to healed.
func run(t *testing.T, cases ...*zoo.Case) (healed time.Duration) {
	t.Helper()
	c := together(cases)
	w, err := zoo.LoadWorld("worlds", c.World)
	if err != nil {
		t.Fatal(err)
	}
	within(t, w, c, func(b *bed) {
		asked := flows(w, cases...)
		if w.Advertise {
			defer b.advertise()()
		}
		b.write(c.Files)
		b.start(running(c))
		b.sh(w.Healthy + c.Healthy)
		before := b.lines()
		b.apply(b.plan(b.config))
		b.serve()
		b.ask("healthy", asked, false)
		healthy := b.lines()
		b.settled("healthy")
		sound := b.diagnosed(c)
		if b.Failed() {
			return
		}

		b.write(c.Broken)
		b.sh(c.Before)
		b.start(c.Starts)
		b.sh(c.Break)
		b.ask("broken", asked, true)
		broken := b.lines()

		start := time.Now()
		p := b.plan(b.config)
		b.named(p.Findings, c.Findings)
		if len(c.Doctor) > 0 {
			b.named(news(sound, b.diagnosed(c)), c.Doctor)
		}
		switch c.Outcome {
		case zoo.Repaired:
			b.repair(p, asked)
			healed = time.Since(start)
			b.Logf("healed in %v", healed.Round(10*time.Millisecond))
			b.unchanged(between(healthy, broken, b.lines(), c.Unlike), "after the repair")
		default:
			if !p.Empty() {
				b.Errorf("nothing is to be done, and the plan has steps:\n%s", told(p))
			}
			b.unchanged(between(broken, broken, b.lines(), c.Unlike), "after the plan")
		}
		for _, u := range p.Unrequested {
			if c.Opens == nil || !c.Opens.MatchString(u) {
				b.Errorf("newly reachable and not asked for: %s", u)
			}
		}
		if b.Failed() {
			b.Logf("the plan:\n%s", told(p))
		} else {
			b.emptied(before, healthy, broken, c.Leaves)
		}
	})
	return healed
}

// together is several cases as one.
func together(cases []*zoo.Case) *zoo.Case {
	c := *cases[0]
	c.Files, c.Broken = clone(c.Files), clone(c.Broken)
	c.Unlike, c.Leaves, c.Opens = nil, nil, nil
	for i, o := range cases {
		if i > 0 {
			c.Break += "\n" + o.Break
			c.Also += o.Also
			c.Findings = append(slices.Clone(c.Findings), o.Findings...)
			c.Doctor = append(slices.Clone(c.Doctor), o.Doctor...)
			for path, text := range o.Broken {
				c.Broken[path] = text
			}
		}
		c.Unlike, c.Leaves, c.Opens = either(c.Unlike, o.Unlike), either(c.Leaves, o.Leaves), either(c.Opens, o.Opens)
	}
	return &c
}

// either matches what one of two does. Nil matches nothing.
func either(a, b *regexp.Regexp) *regexp.Regexp {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return regexp.MustCompile(a.String() + "|" + b.String())
}

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// running are the managers that run before the fault.
func running(c *zoo.Case) (out []string) {
	for _, n := range c.Beside {
		if !slices.Contains(c.Starts, n) {
			out = append(out, n)
		}
	}
	return out
}

// diagnosed is what is said of the host without a file, where a case asks for that.
func (b *bed) diagnosed(c *zoo.Case) []plan.Finding {
	b.Helper()
	if len(c.Doctor) == 0 {
		return nil
	}
	return plan.Diagnose(b.read(), checks.All()).Findings
}

// news are the findings of after that before does not have.
func news(before, after []plan.Finding) []plan.Finding {
	return slices.DeleteFunc(slices.Clone(after), func(f plan.Finding) bool {
		return slices.ContainsFunc(before, func(o plan.Finding) bool { return o.Code == f.Code && o.Title == f.Title })
	})
}

// named insists that findings are what a case asks for, and nothing else that is wrong.
func (b *bed) named(findings []plan.Finding, want []zoo.Finding) {
	b.Helper()
	said := make([]bool, len(want))
	for i := range findings {
		f := &findings[i]
		known := false
		for k, w := range want {
			if !means(w, f) {
				continue
			}
			known = true
			said[k] = said[k] || proves(w, f)
		}
		if !known && f.Severity != "info" {
			b.Errorf("a false finding: %s %s %s\n%s", f.Code, f.Severity, f.Title, strings.Join(f.Evidence, "\n"))
		}
	}
	for k, w := range want {
		if !said[k] {
			b.Errorf("not found, or not with what proves it: %s %s, title %v, owner %v, evidence %v, fix %v", w.Code, w.Severity, w.Title, w.Owner, w.Evidence, w.Fix)
		}
	}
}

// means tells whether a finding is the one that is wanted, by what and whom it names.
func means(want zoo.Finding, f *plan.Finding) bool {
	owner := ""
	if f.Owner != nil {
		owner = f.Owner.Name
	}
	return want.Code == f.Code && want.Severity == f.Severity && matches(want.Title, f.Title) && matches(want.Owner, owner)
}

// proves tells whether a finding has the evidence and the remedy that are wanted.
func proves(want zoo.Finding, f *plan.Finding) bool {
	var fixes []string
	for _, x := range f.Fixes {
		if x.Chosen {
			fixes = append(fixes, x.Title)
		}
	}
	proofs := append(slices.Clone(f.Evidence), f.Detail)
	if f.Owner != nil {
		proofs = append(proofs, f.Owner.Evidence...)
	}
	return matches(want.Evidence, strings.Join(proofs, "\n")) && matches(want.Fix, strings.Join(fixes, "\n"))
}

func matches(r *regexp.Regexp, s string) bool { return r == nil || r.MatchString(s) }

// repair carries a plan out, and shows that everything passes and nothing is left to do.
func (b *bed) repair(p *plan.Plan, asked []zoo.Flow) {
	b.Helper()
	if p.Empty() {
		b.Fatalf("nothing is to be done:\n%s", told(p))
	}
	b.apply(p)
	b.ask("repaired", asked, false)
	b.settled("repaired")
}

func (b *bed) unchanged(differences []string, when string) {
	b.Helper()
	if len(differences) > 0 {
		b.Errorf("%s others' own is not as it was:\n%s", when, strings.Join(differences, "\n"))
	}
}

// emptied takes everything out of the configuration: nothing of ours may be left.
func (b *bed) emptied(before, healthy, broken map[string]int, leaves *regexp.Regexp) {
	b.Helper()
	empty := "vmnet {\n  required_version = \">= 0.1\"\n}\n"
	b.apply(b.plan(empty))
	now := b.lines()
	for l := range now {
		if ours(l) && before[l] == 0 {
			b.Errorf("without a configuration there is still: %s", l)
		}
	}
	for o := range b.read().All() {
		if schema.Owned(o) {
			b.Errorf("without a configuration this is still ours: %s", o)
		}
	}
	b.unchanged(left(before, healthy, broken, now, leaves), "without a configuration")
}
