package plan

import (
	"fmt"
	"time"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Guarded says how something that must not be cut fares while the plan is carried out: after each of its steps, and at the
// end.
type Guarded struct {
	// Kind is "session" (a connection over which somebody is logged in), "login" (a new connection from the same place),
	// "flow" and "interface" (of a protect block), or "gateway" (a default route and the way to its gateway).
	Kind string `json:"kind"`
	// Name says what it is: "ssh 198.51.100.7:51532 -> 192.0.2.10:22".
	Name string `json:"name"`
	// Address is the protect block, "" for the others.
	Address string `json:"address,omitempty"`
	// Session is the connection of a session or login.
	Session *schema.Session `json:"session,omitempty"`
	// Before is how it is on the live host: "pass", "block" or "depends".
	Before trace.Verdict `json:"before"`
	// Verdict is "survives"; "interrupted": for a while, at the steps named, and then as before; "cut": at the step named, for
	// good; "depends": on something that cannot be known.
	Verdict string `json:"verdict"`
	// Worse tells that the plan makes it so. What is cut, or depends, already now is said and not blamed on the plan.
	Worse bool `json:"worse,omitempty"`
	// Steps are those that break it and heal it again, and those that make it pause.
	Steps []int `json:"steps,omitempty"`
	// MaxPauseMS bounds how long nothing gets through, in milliseconds; 0 where nothing pauses, and for a cut.
	MaxPauseMS int64 `json:"max_pause_ms"`
	// Why says what cuts it, or what it depends on. Empty for what survives.
	Why string `json:"why,omitempty"`
}

// The verdicts of a Guarded.
const (
	Survives    = "survives"
	Interrupted = "interrupted"
	Cut         = "cut"
	Depending   = "depends"
)

// Own tells whether it concerns the one who plans, not merely somebody else who is logged in.
func (g *Guarded) Own() bool { return g.Session == nil || g.Session.Own }

// Refuses tells whether the plan must not be carried out for it unless that is allowed expressly.
func (g *Guarded) Refuses() bool {
	return g.Own() && g.Worse && (g.Verdict == Cut || g.Verdict == Depending)
}

// Guard follows sessions, what protect blocks name, and the default gateways through the state after every step, in the order
// given. It reads nothing but its arguments and changes none.
func Guard(live *schema.State, desired *schema.Desired, steps []Step, sessions []schema.Session) []Guarded {
	out, _ := guarding(live, desired, steps, sessions)
	return out
}

// guarding is Guard, and tells on which objects of the live host its verdicts rest.
func guarding(live *schema.State, desired *schema.Desired, steps []Step, sessions []schema.Session) ([]Guarded, map[schema.Ref]bool) {
	d := *desired
	d.Goals = nil
	for _, p := range desired.Protects {
		d.Goals = append(d.Goals, p.Flows...)
	}
	g := &guard{h: &healer{r: resolve(live, &d), state: live}, live: settled(live), relied: map[schema.Ref]bool{}}
	g.watches(sessions)
	if len(g.watched) == 0 {
		return nil, nil
	}
	g.follow(steps)
	out := make([]Guarded, len(g.watched))
	for i, w := range g.watched {
		out[i] = w.judged(steps)
	}
	return merged(out), g.relied
}

// guard goes through a plan.
type guard struct {
	h       *healer
	live    *schema.State
	watched []*watch
	last    *trace.Walker       // the last one made, which shares its tables with the next
	relied  map[schema.Ref]bool // objects of the live host that packets met
}

// stage is the host between two steps.
type stage struct {
	g     *guard
	state *schema.State
	full  *trace.Walker // nil until asked for
	bare  *trace.Walker // without any rules
}

func (g *guard) stage(s *schema.State) *stage { return &stage{g: g, state: settled(s)} }

func (s *stage) walker() *trace.Walker {
	if s.full == nil {
		s.full = s.g.last.With(s.state).Know(s.g.h.r.machines())
		s.g.last = s.full
	}
	return s.full
}

// withoutRules walks links and routes alone.
func (s *stage) withoutRules() *trace.Walker {
	if s.bare == nil {
		c := s.state.Clone()
		c.Blind = nil
		for _, k := range []schema.Kind{schema.KindTable, schema.KindXTable} {
			for _, r := range c.Refs(k) {
				c.Delete(r)
			}
		}
		s.bare = trace.New(c).Know(s.g.h.r.machines())
	}
	return s.bare
}

// sight is how something fares at one moment.
type sight struct {
	verdict trace.Verdict
	key     string // what decides, as it is found again in the next state
	why     string
	via     string        // who answers are handed to: a gateway, or nextHop; "" where that is not known
	before  trace.Verdict // where it is not verdict: that of a set of packets of which some get through
	dev     string        // by which link they leave
	dead    bool          // a connection is reset, and does not come back
}

// moment is a sight after a step, and how long the step itself may make nothing pass.
type moment struct {
	step int // index of the step; -1 before the first
	sight
}

// watch is one thing on its way through the plan.
type watch struct {
	Guarded
	reach
	ask     func(*stage) sight
	sights  []moment // the first is before the plan; only where it was asked again
	pauses  []pause
	touched func(schema.Change) string // for an interface: what a step does to it, "" for nothing
}

// pause is a step during which nothing may pass although both ends of it are well.
type pause struct {
	step int
	long time.Duration
	why  string
}

// follow makes the steps and asks again after each that may concern something.
func (g *guard) follow(steps []Step) {
	first := g.stage(g.live)
	for _, w := range g.watched {
		w.see(first, -1)
	}
	cur := g.live.Clone()
	for i := range steps {
		c := steps[i].Change
		var concerned []*watch
		for _, w := range g.watched {
			w.pause(cur, c, i)
			if w.concerns(cur, c) {
				concerned = append(concerned, w)
			}
		}
		if err := sim.Do(cur, c); err != nil {
			g.lost(i, &steps[i], err)
			return
		}
		for _, w := range g.watched {
			w.newMAC(cur, c, i)
		}
		if len(concerned) == 0 {
			continue
		}
		next := g.stage(cur)
		for _, w := range concerned {
			w.see(next, i)
		}
	}
}

// lost says of everything that it is not known how it fares from a step on.
func (g *guard) lost(i int, st *Step, err error) {
	for _, w := range g.watched {
		why := fmt.Sprintf("what step %d does cannot be foreseen: %v", st.ID, err)
		w.sights = append(w.sights, moment{i, sight{verdict: trace.Depends, key: why, why: why}})
	}
}

func (w *watch) see(s *stage, step int) {
	now := w.ask(s)
	if n := len(w.sights); n > 0 && now.dev != "" && w.sights[n-1].dev != "" && now.dev != w.sights[n-1].dev {
		w.pauses = append(w.pauses, pause{step, pauseStep, "packets leave by " + now.dev + ", where neighbours are looked for anew"})
	}
	w.sights = append(w.sights, moment{step, now})
	w.settle(s.state)
}
