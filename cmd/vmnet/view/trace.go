package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
)

// Traced is the answer to a question about a flow: the verdict over all packets that were walked for it.
type Traced struct {
	FormatVersion string        `json:"format_version"`
	From          string        `json:"from"`
	To            string        `json:"to"`
	Service       string        `json:"service"`
	Verdict       trace.Verdict `json:"verdict"`
	// Flows are those packets, the ones that decide first.
	Flows []trace.Result `json:"flows"`
}

// NewTraced joins the results of a question. All pass or all are blocked; some of each is partly; where it hangs on a rule
// that cannot be decided, depends. It must not be empty.
func NewTraced(from, to, service string, flows []trace.Result) Traced {
	n := map[trace.Verdict]int{}
	for _, f := range flows {
		n[f.Verdict]++
	}
	v := trace.Depends
	switch len(flows) {
	case n[trace.Pass]:
		v = trace.Pass
	case n[trace.Block]:
		v = trace.Block
	default:
		if n[trace.Pass] > 0 && n[trace.Block] > 0 {
			v = trace.Partly
		}
	}
	weight := map[trace.Verdict]int{trace.Block: 0, trace.Depends: 1, trace.Partly: 1, trace.Pass: 2}
	flows = slices.SortedStableFunc(slices.Values(flows), func(a, b trace.Result) int { return weight[a.Verdict] - weight[b.Verdict] })
	return Traced{"1.0", from, to, service, v, flows}
}

var verdicts = map[trace.Verdict]struct {
	word  string
	style style
}{
	trace.Pass: {"PASS", green}, trace.Block: {"BLOCK", red}, trace.Partly: {"PARTLY", yellow}, trace.Depends: {"DEPENDS", yellow},
}

// Trace is the way of a flow as text: the verdict, who decides, and the way hop by hop of the packet that decides. With
// Full every packet that was walked has its way.
func Trace(t Traced, o Options) string {
	pg := &page{o: o}
	v := verdicts[t.Verdict]
	pg.raw(pg.paint(v.style, v.word) + "  " + clean(fmt.Sprintf("%s -> %s %s", t.From, t.To, t.Service)))
	for i, f := range t.Flows {
		if i > 0 && !o.Full {
			pg.blank()
			pg.para(0, faint, count(len(t.Flows), "packet")+" walked; --full shows the others")
			break
		}
		pg.blank()
		pg.flow(f)
	}
	return pg.String()
}

func (pg *page) flow(r trace.Result) {
	pg.verdict(r)
	half, packet := "", ""
	for _, h := range r.Hops {
		if h.Half != half {
			half, packet = h.Half, ""
			pg.raw("  " + pg.paint(bold, halfTitle(half)))
		}
		if h.Packet != packet {
			packet = h.Packet
			pg.para(4, faint, packet)
		}
		pg.hop(h)
	}
}

func (pg *page) verdict(r trace.Result) {
	v := verdicts[r.Verdict]
	pg.raw(pg.paint(v.style, strings.ToLower(v.word)) + "  " + clean(flow(r.Flow)))
	if d := r.Decider; d != nil {
		pg.para(2, plain, fmt.Sprintf("decided by the %s: %s", halfTitle(r.Half), decider(*d)))
		if d.Code != "" {
			pg.para(2, faint, "vmnet explain "+d.Code)
		}
	}
}

func halfTitle(half string) string {
	if half == "established" {
		return "established request"
	}
	return half
}

// decider names the hop that decides: "forward, ip filter FORWARD rule 3: -d 192.0.2.1/32 -j DROP -> drop".
func decider(h trace.Hop) string { return h.Stage + ", " + station(h) + " -> " + h.Action }

// flow writes a flow as "10.20.0.11 -> 203.0.113.10 tcp/443".
func flow(f trace.Flow) string {
	s := fmt.Sprintf("%s -> %s %s", f.Src, f.Dst, f.Proto)
	if f.DstPort != 0 {
		s += fmt.Sprintf("/%d", f.DstPort)
	}
	if f.From != "" {
		s += "  in by " + f.From
	}
	if f.To != "" {
		s += "  to " + f.To
	}
	if f.WantDst != (netip.AddrPort{}) {
		s += "  must arrive at " + f.WantDst.String()
	}
	return s
}

func (pg *page) hop(h trace.Hop) {
	st := map[string]style{"drop": red, "reject": red, "accept": green, "depends": yellow}[h.Action]
	const column = 17
	left := fmt.Sprintf("    %-12s %s", clean(h.Stage), clean(station(h)))
	room := pg.o.width() - visible(h.Action) - 2
	if visible(left) <= room {
		pg.wide(left, pg.paint(st, h.Action))
		return
	}
	lines := wrap(clean(station(h)), room-column)
	pg.wide(fmt.Sprintf("    %-12s %s", clean(h.Stage), lines[0]), pg.paint(st, h.Action))
	for _, l := range lines[1:] {
		pg.raw(strings.Repeat(" ", column) + l)
	}
}

// station is the object and the text that act on the packet there.
func station(h trace.Hop) string {
	if h.Chain == "" {
		if h.Text == "" {
			return h.Ref.Name
		}
		return h.Text
	}
	place := h.Ref.Name + " " + h.Chain
	if h.Rule >= 0 {
		place += fmt.Sprintf(" rule %d", h.Rule+1)
	}
	return place + ": " + h.Text
}

// TraceJSON is the document of trace.
func TraceJSON(t Traced) ([]byte, error) { return encode(t) }
