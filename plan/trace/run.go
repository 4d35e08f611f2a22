package trace

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Bounds of what is followed for one flow.
const (
	maxRuns  = 128
	maxWays  = 16
	maxSteps = 2_000_000  // rules in one run
	allSteps = 10_000_000 // rules in all runs of one flow
)

// run follows one flow once. Where something is not certain it asks; the answers are picks, and Walk runs again with
// other picks until every way is known.
type run struct {
	w *Walker
	f *Flow
	p packet
	g regs

	conn     *conn
	sent     tuple // the request as it was made
	reached  tuple // and as it arrived
	picks    []int // answers so far
	sizes    []int // how many answers each question had
	at       place
	askedAt  []int // the station of each question
	asked    int
	stations []station
	end      *ending
	steps    int

	hook     hook
	inBridge bool
	missed   bool
	mapped   string // what a NAT rule of the chain at hand did
	dry      bool   // only find out whether a chain would do something
	effect   bool
	gateway  netip.Addr // of the route taken
	way      found      // the route a packet of the host takes
	preDone  bool       // IP prerouting has run, by the detour from the bridge
	dest     string     // the link this half must leave by
	arrived  arrival
}

// ending is how a run ended.
type ending struct {
	verdict Verdict
	half    string
	decider int // station, -1 for none
}

// arrival is where a packet got to.
type arrival struct {
	local bool
	in    *device // layer 3, for a local one
	out   *device // layer 3; the bridge itself for a bridged frame
	port  *device // of a bridge
}

// station is a Hop before its texts are made.
type station struct {
	half, stage string
	ref         schema.Ref
	chain, base string
	rule        int
	r           *schema.Rule
	text        string
	action      string
	code        string
	v           view
}

// note adds a station to the way.
func (r *run) note(st station) {
	if r.dry {
		return
	}
	st.half, st.v = r.p.half, r.p.view()
	r.stations = append(r.stations, st)
}

// over ends the run; it returns false, so that stages can say "return r.over(…)".
func (r *run) over(v Verdict, st station) bool {
	if r.dry || r.end != nil {
		r.effect = true
		return false
	}
	r.note(st)
	r.end = &ending{v, r.p.half, len(r.stations) - 1}
	return false
}

// block ends the run for a reason that is no rule's.
func (r *run) block(code, stage string, ref schema.Ref, text, action string) bool {
	return r.over(Block, station{stage: stage, ref: ref, rule: -1, code: code, text: text, action: action})
}

// unmodelled ends the run where the packet meets something this package does not know.
func (r *run) unmodelled(stage string, ref schema.Ref, text string) bool {
	return r.over(Depends, station{stage: stage, ref: ref, rule: -1, text: text, action: "depends"})
}

// ask is a question with n answers at the rule at hand.
func (r *run) ask(n int) int {
	st := station{stage: "rule", rule: -1}
	if r.at.b != nil {
		st = r.station(r.at.b, r.at.c, r.at.i)
	}
	st.action = "may match"
	return r.askAt(n, st)
}

// askAt is a question at a given station. The first answer is 0: no.
func (r *run) askAt(n int, st station) int {
	if r.dry {
		r.effect = true
		return 0
	}
	if r.asked == len(r.picks) {
		r.picks = append(r.picks, 0)
	}
	k := r.asked
	r.asked++
	r.sizes = append(r.sizes[:k], n)
	r.askedAt = append(r.askedAt[:k], len(r.stations))
	r.note(st)
	return min(r.picks[k], n-1)
}

// next sets the picks for the next way, the last question first; false when there is none.
func (r *run) next() bool {
	for k := r.asked - 1; k >= 0; k-- {
		if r.picks[k]+1 < r.sizes[k] {
			r.picks[k]++
			r.picks = r.picks[:k+1]
			return true
		}
	}
	return false
}

func (r *run) reset() {
	*r = run{
		w: r.w, f: r.f, picks: r.picks, sizes: r.sizes[:0], askedAt: r.askedAt[:0], stations: r.stations[:0], steps: maxSteps,
	}
}

// Walk follows one flow through a state: its request, its reply (with NAT undone), and a later packet of the established
// connection. The first that does not get through decides. Use New for more than one flow.
func Walk(s *schema.State, f Flow) Result { return New(s).Walk(f) }

// Walk follows one flow, as the function Walk does.
func (w *Walker) Walk(f Flow) Result {
	r := &run{w: w, f: &f}
	r.reset()
	r.flow()
	first := *r.end
	if w.hidden(first, r.stations) {
		return w.blindResult(f, r)
	}
	if first.verdict == Depends || r.asked == 0 {
		return r.result(f, first)
	}
	return r.explore(f, first)
}

// explore follows the other ways: first those in which a single answer is another one, from the first question on, so
// that the Decider is the earliest that matters; then all that are left.
func (r *run) explore(f Flow, first ending) Result {
	base := answers{slices.Clone(r.picks[:r.asked]), slices.Clone(r.sizes), slices.Clone(r.askedAt), slices.Clone(r.stations)}
	runs, spent := 0, maxSteps-r.steps
	for k := range base.picks {
		for pick := 1; pick < base.sizes[k]; pick++ {
			if runs++; runs > maxRuns || spent > allSteps {
				return r.tooMany(f, base)
			}
			r.picks = append(append(r.picks[:0], base.picks[:k]...), pick)
			if res, differs := r.again(f, first, base); differs {
				return res
			}
			spent += maxSteps - r.steps
		}
	}
	r.picks = append(r.picks[:0], base.picks...)
	r.sizes, r.asked = append(r.sizes[:0], base.sizes...), len(base.picks)
	for r.next() {
		if runs++; runs > maxRuns || spent > allSteps {
			return r.tooMany(f, base)
		}
		if res, differs := r.again(f, first, base); differs {
			return res
		}
		spent += maxSteps - r.steps
	}
	r.stations = base.stations
	return r.result(f, first)
}

// answers are those of one run.
type answers struct {
	picks, sizes, askedAt []int
	stations              []station
}

// again runs with the picks that are set, and says whether the verdict is another one than the first. The ways part at
// the first question that was answered otherwise: on that it depends.
func (r *run) again(f Flow, first ending, base answers) (Result, bool) {
	r.reset()
	r.flow()
	if r.end.verdict == first.verdict {
		return Result{}, false
	}
	if r.end.verdict == Depends {
		return r.result(f, *r.end), true
	}
	k := 0
	for k < r.asked-1 && k < len(base.picks)-1 && r.picks[k] == base.picks[k] {
		k++
	}
	if first.verdict == Block { // show the way that is blocked
		r.stations = base.stations
	}
	at := base.askedAt[k]
	r.stations[at].action = "depends"
	return r.result(f, ending{Depends, r.stations[at].half, at}), true
}

func (r *run) tooMany(f Flow, base answers) Result {
	r.stations = base.stations
	at := base.askedAt[0]
	r.stations[at].action = "depends: too many ways to follow"
	return r.result(f, ending{Depends, r.stations[at].half, at})
}

// hidden tells whether a verdict rests on rules that could not be read. What stops a packet before any rule does not.
func (w *Walker) hidden(e ending, st []station) bool {
	if len(w.blind) == 0 || e.verdict == Depends {
		return false
	}
	return e.verdict == Pass || st[e.decider].code == "" || st[e.decider].code >= "VN3"
}

func (w *Walker) blindResult(f Flow, r *run) Result {
	r.stations = append(r.stations, station{half: "request", stage: "local", rule: -1, text: "rules that could not be read (" + strings.Join(w.blind, ", ") + ")", action: "depends", v: r.p.view()})
	return r.result(f, ending{Depends, "request", len(r.stations) - 1})
}

// result makes the texts.
func (r *run) result(f Flow, e ending) Result {
	res := Result{Flow: f, Verdict: e.verdict, Hops: make([]Hop, 0, len(r.stations))}
	for i := range r.stations {
		res.Hops = append(res.Hops, r.stations[i].hop())
	}
	if e.verdict != Pass {
		res.Half = e.half
		if e.decider >= 0 {
			d := res.Hops[e.decider]
			res.Decider = &d
		}
	}
	return res
}

func (st *station) hop() Hop {
	h := Hop{
		Half: st.half, Stage: st.stage, Ref: st.ref, Chain: st.chain, Base: st.base, Rule: st.rule,
		Text: st.text, Action: st.action, Code: st.code, Packet: st.v.String(),
	}
	if st.r != nil && h.Text == "" {
		h.Text = ruleText(st.r)
	}
	return h
}
