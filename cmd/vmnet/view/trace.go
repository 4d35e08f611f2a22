package view

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
)

// Traced is the answer to a question about a flow.
type Traced struct {
	FormatVersion string `json:"format_version"`
	From          string `json:"from"`
	To            string `json:"to"`
	Service       string `json:"service"`
	plan.Traced
	// Plan is the saved plan by which the answer holds, Before the answer without it; "" and nil for the host as it is.
	Plan   string       `json:"plan,omitempty"`
	Before *plan.Traced `json:"before,omitempty"`
}

// NewTraced makes the document of an answer.
func NewTraced(from, to, service string, answer plan.Traced) Traced {
	return Traced{FormatVersion: "1.0", From: from, To: to, Service: service, Traced: answer}
}

var verdicts = map[trace.Verdict]struct {
	word  string
	style style
}{
	trace.Pass: {"PASS", green}, trace.Block: {"BLOCK", red}, trace.Partly: {"PARTLY", yellow}, trace.Depends: {"DEPENDS", yellow},
}

// Trace is the way of a flow as text: the verdict, then each part of the flow with its fate and who decides, and the way
// hop by hop of one packet of the first part. With Full one packet of every part has its way.
func Trace(t Traced, o Options) string {
	pg := &page{o: o}
	title := fmt.Sprintf("%s -> %s %s", t.From, t.To, t.Service)
	if t.Before != nil {
		pg.answer("now", title, *t.Before)
		pg.blank()
		title = "after plan " + t.Plan
	}
	pg.answer("", title, t.Traced)
	return pg.String()
}

func (pg *page) answer(when, title string, a plan.Traced) {
	if when != "" {
		title += "  (" + when + ")"
	}
	v := verdicts[a.Verdict]
	pg.raw(pg.paint(v.style, v.word) + "  " + clean(title))
	for _, s := range a.Assumed {
		pg.facet(2, "assumed", s)
	}
	for i, p := range a.Parts {
		pg.blank()
		pg.part(p, len(a.Parts) > 1)
		if i == 0 || pg.o.Full {
			pg.way(p.Witness)
		}
	}
	if len(a.Parts) > 1 && !pg.o.Full {
		pg.blank()
		pg.para(0, faint, "the way of one packet of the first part is shown; --full shows one of each")
	}
}

// part says which packets, what becomes of them, and by whom.
func (pg *page) part(p plan.TracedPart, several bool) {
	v, r := verdicts[p.Verdict], p.Witness
	line := strings.ToLower(v.word)
	switch share := p.Share * 100; {
	case !several:
	case share >= 99.5:
		line += "  most packets"
	case share >= 1:
		line += fmt.Sprintf("  %.0f %% of the packets", share)
	default:
		line += "  less than 1 % of the packets"
	}
	pg.raw(pg.paint(v.style, line))
	pg.facet(2, "packets", p.Packets)
	pg.facet(2, "such as", flow(r.Flow))
	d := r.Decider
	if d == nil {
		return
	}
	pg.facet(2, "decided by", fmt.Sprintf("the %s: %s", halfTitle(r.Half), decider(*d)))
	if p.Owner != nil {
		pg.facet(2, "owner", ownerLine(*p.Owner, p.Place))
	}
	if d.Code != "" {
		pg.facet(2, "more", "vmnet explain "+d.Code)
	}
}

// ownerLine is "docker (high: chain DOCKER-USER in ip filter), handle 12".
func ownerLine(o plan.Owner, place string) string {
	s := o.Name
	if o.Confidence != "" {
		s += " (" + o.Confidence
		if len(o.Evidence) > 0 {
			s += ": " + strings.Join(o.Evidence, "; ")
		}
		s += ")"
	}
	if place != "" {
		s += ", " + place
	}
	return s
}

// way is the path of one packet, hop by hop.
func (pg *page) way(r trace.Result) {
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
	from := "the host"
	if f.Src.IsValid() {
		from = f.Src.String()
	}
	s := fmt.Sprintf("%s -> %s %s", from, f.Dst, f.Proto)
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
