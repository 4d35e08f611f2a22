package plan

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// maxFlows bounds the packets walked for one pair of endpoints of a goal, maxRounds how often remedies are looked for.
const (
	maxFlows  = 24
	maxRounds = 64
)

// check lets every goal be judged before (live) and after (foreseen), and looks for remedies for those that fail because
// of a foreign rule. unchanged says that no step was found yet: then both states are the same and are judged once.
func (h *healer) check(unchanged bool) ([]Check, error) {
	checks := make([]Check, len(h.r.Goals))
	for i, res := range h.judgeAll(settled(h.r.live), true) {
		checks[i] = Check{Goal: h.r.Goals[i], Before: res, After: res}
	}
	if !unchanged {
		h.foreseen(checks)
	}
	for i := range checks {
		h.note(&checks[i])
	}
	for i := range checks {
		if c := &checks[i]; c.Goal.Allow && c.After.Status != "ok" {
			if err := h.healGoal(&h.r.Goals[i]); err != nil {
				return nil, err
			}
		}
	}
	if len(h.remedies) > 0 {
		h.foreseen(checks)
	}
	h.saved()
	return checks, nil
}

// note remembers which goals each culprit breaks: the remedy for the first may heal the others before they are looked at.
func (h *healer) note(c *Check) {
	for _, t := range c.After.Traces {
		if t.Decider == nil || !c.Goal.Allow {
			continue
		}
		if _, x, ok := h.stray(t); ok {
			h.breaks[x.String()] = appendNew(h.breaks[x.String()], c.Goal.Name)
		} else if x, ok := h.culprit(t.Decider); ok {
			h.breaks[x.String()] = appendNew(h.breaks[x.String()], c.Goal.Name)
		}
	}
}

// settled is a state in which duplicate address detection is over: addresses that are still being checked count as usable.
// Where no guest runs, a bridge has no carrier and its addresses stay tentative for ever; that is not a fault.
func settled(s *schema.State) *schema.State {
	out := s
	for a := range schema.Each[*schema.Address](s) {
		if a.Facts == nil || !a.Facts.Tentative || a.Facts.DADFailed {
			continue
		}
		if out == s {
			out = s.Clone()
		}
		c := schema.Clone(a).(*schema.Address)
		c.Facts.Tentative = false
		out.Put(c)
	}
	return out
}

func (h *healer) foreseen(checks []Check) {
	for i, res := range h.judgeAll(h.state, false) {
		checks[i].After = res
	}
}

func (h *healer) judgeAll(s *schema.State, rely bool) []CheckResult {
	w := h.walk(s)
	if h.layouts[s] == nil {
		h.laidOut(s, w.Map())
	}
	qs := make([][]trace.Query, len(h.r.Goals))
	left := make([]string, len(h.r.Goals))
	for i := range h.r.Goals {
		h.skipped = nil
		qs[i] = h.queries(s, &h.r.Goals[i])
		left[i] = h.notAsked()
	}
	fates := make([][][]trace.Result, len(h.r.Goals))
	inParallel(len(qs), func(i int) { fates[i] = fatesOf(w, &h.r.Goals[i], qs[i]) })
	out := make([]CheckResult, len(h.r.Goals))
	for i := range h.r.Goals {
		out[i] = h.judge(&h.r.Goals[i], fates[i], left[i], rely)
	}
	return out
}

// inParallel calls do for 0 to n-1 on all processors.
func inParallel(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	all.Wait()
}

// fatesOf gives, for each question of a goal, a packet of each fate.
func fatesOf(w *trace.Walker, g *schema.Goal, qs []trace.Query) [][]trace.Result {
	out := make([][]trace.Result, len(qs))
	for i, q := range qs {
		if !g.Allow {
			if res, ok := w.Barred(q); ok {
				out[i] = []trace.Result{res}
				continue
			}
		}
		for _, part := range w.Judge(q).Parts {
			out[i] = append(out[i], part.Witness)
		}
	}
	return out
}

// healGoal repeats until no remedy changes anything: a flow that passes one rule may die at the next.
func (h *healer) healGoal(g *schema.Goal) error {
	for range maxRounds {
		changed, err := h.healFlow(h.over(), g)
		if err != nil || !changed {
			return err
		}
	}
	return nil
}

// healFlow heals the first part of a goal that can be.
func (h *healer) healFlow(w *trace.Walker, g *schema.Goal) (bool, error) {
	for _, q := range h.queries(h.state, g) {
		for _, part := range w.Judge(q).Parts {
			if part.Verdict == trace.Pass {
				continue
			}
			changed, err := h.heal(g, part.Witness)
			if err != nil || changed {
				return changed, err
			}
		}
	}
	return false, nil
}

// judge says how a goal fares, given the fates of packets of each question it puts, and whom they left out.
func (h *healer) judge(g *schema.Goal, fates [][]trace.Result, left string, rely bool) CheckResult {
	if len(fates) == 0 {
		return CheckResult{Status: "unknown", Why: "no device or address is known for " + h.vague(g)}
	}
	if g.Allow && !slices.ContainsFunc(fates, func(of []trace.Result) bool { return len(of) > 0 }) {
		return CheckResult{Status: "unknown", Why: "no packet is known that could be sent: no address leads to " + h.vague(g)}
	}
	var bad, open []trace.Result
	for _, results := range fates {
		for _, res := range results {
			if rely {
				h.rely(res)
			}
			if h.denied(g, res) {
				continue
			}
			if g.Allow && res.Verdict == trace.Block && h.notRunning(res) {
				return CheckResult{Status: "unknown", Why: "the guest is not running: " + res.Decider.Ref.Name + " has no carrier"}
			}
			if g.Allow && res.Verdict == trace.Pass && h.bare(g, res) {
				return CheckResult{Status: "fail", Why: "the packet leaves with the guest's own address: nothing masquerades it", Traces: []trace.Result{res}}
			}
			switch {
			case res.Verdict == trace.Depends:
				open = append(open, res)
			case (res.Verdict == trace.Pass) != g.Allow:
				bad = append(bad, res)
			}
		}
	}
	switch {
	case len(bad) > 0:
		return CheckResult{Status: "fail", Why: why(bad[0]), Traces: bad[:min(len(bad), 3)]}
	case len(open) > 0:
		return CheckResult{Status: "depends", Why: why(open[0]), Traces: open[:1]}
	}
	return CheckResult{Status: "ok", NotAsked: left}
}

// denied tells whether what a mode implies is stopped by a deny of the file itself: a part of the implied goal that the file
// takes back.
func (h *healer) denied(g *schema.Goal, res trace.Result) bool {
	if !g.Implied || !g.Allow || res.Decider == nil {
		return false
	}
	for _, s := range []*schema.State{h.r.live, h.r.want} {
		t, ok := s.Get(res.Decider.Ref).(*schema.Table)
		if !ok || !schema.OwnTable(t) {
			continue
		}
		c := t.Chain(res.Decider.Chain)
		if c == nil || res.Decider.Rule < 0 || res.Decider.Rule >= len(c.Rules) {
			continue
		}
		if address, _ := schema.Mark(c.Rules[res.Decider.Rule].Comment); strings.HasPrefix(address, "firewall.") {
			return true
		}
	}
	return false
}

// notRunning tells whether a packet dies because nothing is at the other end of a guest's device.
func (h *healer) notRunning(res trace.Result) bool {
	if res.Decider == nil || res.Decider.Code != trace.CodeNoCarrier {
		return false
	}
	return slices.ContainsFunc(h.r.Guests, func(g schema.Guest) bool { return g.Device == res.Decider.Ref.Name })
}

// bare tells whether a packet that a nat network must masquerade leaves as it is.
func (h *healer) bare(g *schema.Goal, res trace.Result) bool {
	n := h.r.network(g.From.Address)
	if n == nil || n.Mode != "nat" || g.To.Kind != "outside" || !g.Implied {
		return false
	}
	return !translated(res)
}

// translated tells whether a packet got another source on its way.
func translated(res trace.Result) bool {
	return slices.ContainsFunc(res.Hops, func(hop trace.Hop) bool {
		return strings.HasPrefix(hop.Action, "masquerade") || strings.HasPrefix(hop.Action, "snat")
	})
}

func (h *healer) rely(res trace.Result) {
	for _, hop := range res.Hops {
		if hop.Ref.Kind != "" && h.r.live.Get(hop.Ref) != nil {
			h.relied[hop.Ref] = true
		}
	}
}

func (h *healer) vague(g *schema.Goal) string {
	if g.From.Kind == "network" || g.From.Kind == "guest" {
		return g.From.String() + " or " + g.To.String()
	}
	return g.To.String()
}

func why(res trace.Result) string {
	if res.Verdict == trace.Pass {
		last := ""
		if n := len(res.Hops); n > 0 {
			last = res.Hops[n-1].Packet
		}
		return firstOf(res.Hops[:min(1, len(res.Hops))], last) + " gets through, and must not"
	}
	d := res.Decider
	if d == nil {
		return "the way of the packet is not known"
	}
	where := d.Ref.Name
	if d.Chain != "" {
		where += " " + d.Chain
	}
	if where != "" {
		where += ": "
	}
	verb := "dies at"
	if res.Verdict == trace.Depends {
		verb = "depends on"
	}
	return fmt.Sprintf("the %s %s %s%s (%s)", res.Half, verb, where, d.Text, d.Packet)
}

func firstOf(hops []trace.Hop, other string) string {
	if len(hops) > 0 {
		return hops[0].Packet
	}
	return other
}
