package trace_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// saying is what vmnet says of a frame, in terms of what can be seen.
type saying struct {
	verdict trace.Verdict // of the request alone
	at      string        // the end it gets to; "?" for any port of the bridge
	as      string        // addresses and ports, as a Hop writes them
	action  string        // of the rule that stops it
	code    string
	res     trace.Result
}

var hopPacket = regexp.MustCompile(`^(\S+) > (\S+) `)

// sayingOf reads a Result: its request, and no further.
func sayingOf(res trace.Result) saying {
	s := saying{verdict: trace.Pass, res: res}
	for i := range res.Hops {
		if res.Hops[i].Action == "may match" { // no matter what the rest of the connection makes of it
			s.verdict = trace.Depends
			return s
		}
	}
	if res.Half == "request" {
		s.verdict = res.Verdict
		s.action, s.code = res.Decider.Action, res.Decider.Code
		return s
	}
	var last *trace.Hop
	for i := range res.Hops {
		if res.Hops[i].Half == "request" {
			last = &res.Hops[i]
		}
	}
	if last == nil {
		return s
	}
	if m := hopPacket.FindStringSubmatch(last.Packet); m != nil {
		s.as = m[1] + " > " + m[2]
	}
	switch {
	case last.Stage == "local":
		s.at = "h"
	case last.Ref == schema.LinkRef("eno1"):
		s.at = "w"
	case strings.HasSuffix(last.Action, "vnet0"), last.Ref == schema.LinkRef("vnet0"):
		s.at = "a"
	case strings.HasSuffix(last.Action, "vnet1"), last.Ref == schema.LinkRef("vnet1"):
		s.at = "b"
	default:
		s.at = "?"
	}
	return s
}

// device is the link by which a shot comes in.
func (c *court) device(s *shot) string {
	if s.from == "h" {
		return ""
	}
	return c.ends[s.from].dev
}

// agree compares what vmnet says with what was seen; it gives the contradiction, "" for none.
func agree(s saying, g *sight, loose bool) string {
	if s.verdict == trace.Depends {
		return ""
	}
	at, as := "", ""
	told := ""
	if g != nil {
		at, told = g.at, g.told
		if g.pkt != nil {
			as = pointsOf(g.pkt).String()
		}
	}
	switch {
	case s.verdict == trace.Block && at != "":
		return fmt.Sprintf("vmnet says it is lost (%s), it arrived at %s as %s", s.action, at, as)
	case s.verdict == trace.Block:
		if told != "" && s.code == "" && s.action == "drop" {
			return "vmnet says dropped, the sender was told by " + told
		}
		return ""
	case at == "" && s.at == "?":
		return "" // whoever has that address, there is no neighbour to send it to
	case at == "":
		return fmt.Sprintf("vmnet says it arrives at %s as %s, it is lost", s.at, s.as)
	case s.at == "?":
		if strings.Contains(at, "h") || strings.Contains(at, "w") {
			return "vmnet says it leaves by a port of the bridge, it arrived at " + at
		}
	case !strings.Contains(at, s.at):
		return fmt.Sprintf("vmnet says it arrives at %s, it arrived at %s", s.at, at)
	}
	if got := comparable4(as, loose); got != comparable4(s.as, loose) {
		return fmt.Sprintf("vmnet says it arrives as %s, it arrived as %s", s.as, as)
	}
	return ""
}

// comparable4 leaves the source port out where the kernel may have picked one.
func comparable4(as string, loose bool) string {
	src, dst, _ := strings.Cut(as, " > ")
	if a, err := netip.ParseAddrPort(src); err == nil && loose {
		src = a.Addr().String()
	}
	return src + " > " + dst
}

// picksPorts tells whether a ruleset leaves ports to the kernel.
func (r ruleset) picksPorts() bool {
	for _, p := range r {
		for _, word := range []string{"masquerade to :", "random", "--to-ports 21-", "-j MASQUERADE --to-ports"} {
			if strings.Contains(p.text, word) {
				return true
			}
		}
	}
	return false
}

// quarrel is a disagreement that stays when the frame is sent alone, to a kernel that remembers no connection.
type quarrel struct {
	shot *shot
	say  saying
	saw  *sight
	why  string
}

func (q quarrel) String() string {
	seen := "nowhere"
	if q.saw != nil && q.saw.at != "" {
		seen = q.saw.at + " as " + pointsOf(q.saw.pkt).String()
	}
	return fmt.Sprintf("%s\nframe from %s: %s\n  (%s, proto %d)\nseen: %s\n%s\n%s", q.why, q.shot.from, hex.EncodeToString(q.shot.frame),
		pointsOf(q.shot.frame[14:]), protoOf(q.shot.frame[14:]), seen, say(q.say.res), show(q.say.res))
}

func protoOf(b []byte) byte {
	p, _ := upper(b)
	return p
}

// docket counts what was judged.
type docket struct {
	rulesets, frames int
	passed, lost     int
	rejected         int
	depends          int
	again            int // had to be sent alone
	translated       int // arrived with other addresses or ports
	crashes          int // of nft(8)
}

func (d *docket) String() string {
	return fmt.Sprintf("%d rulesets, %d frames: %d pass, %d are lost, %d depend; %d were refused aloud, %d rewritten; %d were sent twice",
		d.rulesets, d.frames, d.passed, d.lost, d.depends, d.rejected, d.translated, d.again)
}

// ofOnePriority tells an answer that depends on which of two chains of one priority was made first: the kernel knows, no State does.
func ofOnePriority(res trace.Result) bool {
	return slices.ContainsFunc(res.Hops, func(h trace.Hop) bool {
		return h.Action == "may match" && strings.Contains(h.Text, "their priorities are equal")
	})
}

// ofHistory tells an answer that depends on what somebody did before: joined a group, made a rule that is gone, became another
// user.
func ofHistory(res trace.Result) bool {
	if slices.ContainsFunc(res.Hops, func(h trace.Hop) bool {
		return strings.Contains(h.Text, "uidrange") || strings.Contains(h.Text, "beside a longer one in table main")
	}) {
		return true
	}
	return res.Decider != nil && slices.ContainsFunc([]string{"has joined the group", "is no address of a machine", "bc_forwarding is on", "of which one, nobody says", "with a source address of its choice"}, func(s string) bool {
		return strings.Contains(res.Decider.Text, s)
	})
}

// judge lets vmnet and the kernel judge shots, and gives those on which they disagree for good.
func (c *court) judge(w *trace.Walker, shots []*shot, loose bool, d *docket) (out []quarrel, open []quarrel, err error) {
	seen, err := c.fire(shots, 3)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range shots {
		sy := sayingOf(w.Frame(c.device(s), s.frame))
		d.count(sy, seen[s.tag], s)
		if sy.verdict == trace.Depends {
			if !ofOnePriority(sy.res) && !ofHistory(sy.res) {
				open = append(open, quarrel{s, sy, seen[s.tag], "vmnet does not know"})
			}
			continue
		}
		if c.agrees(sy, seen[s.tag], loose) == "" {
			continue
		}
		d.again++
		q, err := c.insist(s, sy, loose)
		if err != nil {
			return nil, nil, err
		}
		if q != nil {
			out = append(out, *q)
		}
		if len(out) > 3 {
			break
		}
	}
	return out, open, nil
}

// insist sends one shot alone: in a burst a connection of another frame may have been in its way, or the machine was busy.
func (c *court) insist(s *shot, sy saying, loose bool) (*quarrel, error) {
	var q *quarrel
	for _, patience := range []int{4, 40, 200} {
		if err := c.fresh(); err != nil {
			return nil, err
		}
		seen, err := c.fire([]*shot{s}, patience)
		if err != nil {
			return nil, err
		}
		why := c.agrees(sy, seen[s.tag], loose)
		if why == "" {
			return nil, nil
		}
		q = &quarrel{s, sy, seen[s.tag], why}
	}
	return q, nil
}

func (d *docket) count(s saying, g *sight, shot *shot) {
	d.frames++
	switch s.verdict {
	case trace.Pass:
		d.passed++
	case trace.Block:
		d.lost++
	default:
		d.depends++
	}
	if g == nil {
		return
	}
	if g.told != "" {
		d.rejected++
	}
	if g.pkt != nil && pointsOf(g.pkt) != pointsOf(shot.frame[14:]) {
		d.translated++
	}
}
