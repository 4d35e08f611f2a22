package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// How long a step takes at most, until the host passes packets as the step wants it. These are bounds for a plan to promise,
// not measurements: one netlink request is made in well under a millisecond, a bridge move as a whole pauses for 9 ms.
const (
	pauseStep = 50 * time.Millisecond
	// pauseManager is for programs of firewall managers (ufw, firewall-cmd), which load their rules anew.
	pauseManager = 5 * time.Second
	// pauseCarrier is for hardware that looks for its carrier again: autonegotiation takes 2 to 4 s, 10GBASE-T up to 10.
	pauseCarrier = 15 * time.Second
	// pauseNeighbour is until neighbours ask for a hardware address again that changed: they believe the old one for at most
	// 45 s, then probe it for 8 (base_reachable_time_ms, delay_first_probe_time, ucast_solicit; arp(7)).
	pauseNeighbour = 60 * time.Second
	// blip is how long a pause may be that nobody notices (Risk).
	blip = time.Second
)

// verdicts of a moment against the one before the plan, the worse the greater.
const (
	asBefore = iota
	open     // it depends now, or on something else
	gone
)

// against holds a sight against the one before the plan: only what is worse counts.
func (now sight) against(before sight) int {
	switch {
	case now.dead && before.verdict != trace.Block:
		return gone
	case now.verdict == trace.Block && before.verdict != trace.Block:
		return gone
	case now.verdict == trace.Depends && before.verdict != trace.Block && (before.verdict == trace.Pass || now.key != before.key):
		return open
	case now.verdict != trace.Block && before.via != "" && now.via != "" && now.via != before.via:
		return open
	}
	return asBefore
}

func (now sight) text(before sight) string {
	if now.verdict == trace.Pass && now.via != before.via {
		return fmt.Sprintf("answers go to %s, not to %s any more: whether that leads there cannot be known here", now.via, before.via)
	}
	return now.why
}

// judged puts the moments together.
func (w *watch) judged(steps []Step) Guarded {
	g, before := w.Guarded, w.sights[0].sight
	g.Before = cmp.Or(before.before, before.verdict)
	id := func(i int) int { return steps[i].ID }
	last := len(w.sights) - 1
	if w.Kind == "interface" {
		return w.interfaceVerdict(steps)
	}
	for _, m := range w.sights[1:] {
		if m.dead && m.against(before) == gone && w.Kind == "session" {
			g.Verdict, g.Worse, g.Steps, g.Why = Cut, true, []int{id(m.step)}, "the connection is reset: "+m.why
			return g
		}
	}
	if end := w.sights[last]; end.against(before) != asBefore {
		first := last // where it began to be so
		for first > 1 && w.sights[first-1].against(before) >= end.against(before) {
			first--
		}
		g.Verdict, g.Worse, g.Steps = Depending, true, []int{id(w.sights[first].step)}
		if end.against(before) == gone {
			g.Verdict = Cut
		}
		g.Why = w.sights[first].text(before)
		return g
	}
	g.Verdict = Survives
	w.interruptions(&g, steps)
	if end := w.sights[last].sight; end.verdict != trace.Pass && g.Verdict == Survives {
		g.Verdict, g.Why = Depending, "so it is now: "+end.why
		if end.verdict == trace.Block && w.Kind != "session" {
			g.Verdict = Cut
		}
		g.Steps, g.MaxPauseMS = nil, 0
	}
	return g
}

// interruptions adds what heals again: spans of steps between which nothing gets through, and steps that pause.
func (w *watch) interruptions(g *Guarded, steps []Step) {
	before := w.sights[0].sight
	var worst time.Duration
	take := func(long time.Duration, why string, ids ...int) {
		for _, i := range ids {
			if !slices.Contains(g.Steps, i) {
				g.Steps = append(g.Steps, i)
			}
		}
		worst = max(worst, long)
		if long >= blip {
			g.Verdict = Interrupted
		}
		if g.Verdict == Interrupted && g.Why == "" {
			g.Why = why
		}
	}
	for i := 1; i < len(w.sights); i++ {
		if w.sights[i].against(before) == asBefore {
			continue
		}
		from := w.sights[i]
		for w.sights[i].against(before) != asBefore { // the last one is as before
			i++
		}
		g.Verdict = Interrupted
		to := w.sights[i].step
		var long time.Duration
		for k := from.step; k <= to; k++ {
			long += max(pauseStep, stepTime(steps[k].Change), w.pausedAt(k))
		}
		take(long, from.text(before), steps[from.step].ID, steps[to].ID)
	}
	var blips time.Duration // one may begin before the last is over
	for _, p := range w.pauses {
		take(p.long, p.why, steps[p.step].ID)
		if p.long < blip {
			blips += p.long
		}
	}
	worst = max(worst, blips)
	slices.Sort(g.Steps)
	g.MaxPauseMS = worst.Milliseconds()
	if g.Verdict == Survives {
		g.Why = ""
	}
}

func (w *watch) pausedAt(step int) time.Duration {
	var long time.Duration
	for _, p := range w.pauses {
		if p.step == step {
			long = max(long, p.long)
		}
	}
	return long
}

func stepTime(c schema.Change) time.Duration {
	if c.Ref.Kind == schema.KindGrant {
		return pauseManager
	}
	return pauseStep
}

// interfaceVerdict is about a link that is to be left alone: any step that touches it counts as a cut, for what else hangs on
// it is not for this host to know.
func (w *watch) interfaceVerdict(steps []Step) Guarded {
	g := w.Guarded
	g.Before, g.Verdict = w.sights[0].verdict, Survives
	var what []string
	for _, st := range steps {
		if t := w.touched(st.Change); t != "" {
			g.Steps = append(g.Steps, st.ID)
			what = append(what, fmt.Sprintf("step %d %s", st.ID, t))
		}
	}
	switch {
	case len(what) > 3:
		g.Verdict, g.Worse, g.Why = Cut, true, fmt.Sprintf("%s, and %s more", strings.Join(what[:3], ", "), count(len(what)-3, "step"))
	case len(what) > 0:
		g.Verdict, g.Worse, g.Why = Cut, true, strings.Join(what, ", ")
	case g.Before != trace.Pass:
		g.Verdict, g.Why = Cut, "so it is now: "+w.sights[0].why
	}
	return g
}
