package hosttest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// settleTime is how long the kernel may take for what it does later: it gathers changes of carrier for a second
// (net/core/link_watch.c), duplicate address detection waits up to two (RFC 4862, 5.4.2), and both queue behind all other
// namespaces of a busy machine (addrconf_wq, rtnl_lock).
const settleTime = 30 * time.Second

// scene is a host and what sim says of it. Every change is made to both, and then both must be the same.
type scene struct {
	t     testing.TB
	host  Host
	model *schema.State
	live  *schema.State
	log   []string
}

func newScene(t testing.TB, h Host) *scene {
	t.Helper()
	s := &scene{t: t, host: h}
	s.live = s.read()
	s.model = s.live.Clone()
	return s
}

func (s *scene) read() *schema.State {
	s.t.Helper()
	live, err := s.host.Read(s.t.Context())
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return live
}

// do makes a change to the host and to the model. They must agree on whether it works, and on everything afterwards. The
// error is the host's.
func (s *scene) do(c schema.Change) error {
	s.t.Helper()
	s.log = append(s.log, c.String())
	before := s.model.Clone()
	said := sim.Do(s.model, c)
	err := s.host.Do(s.t.Context(), c)
	switch {
	case (said == nil) != (err == nil):
		s.fatal("%s:\n host says %v\n  sim says %v", c, err, said)
	case err != nil && !sameError(err, said):
		s.fatal("%s: the errors differ in kind:\n host says %v\n  sim says %v", c, err, said)
	case err != nil && !s.model.Equal(before):
		s.fatal("%s: sim failed (%v) and changed its state:\n%s", c, said, lines(schema.Diff(before, s.model)))
	}
	if err == nil {
		s.adopt(c, before)
	}
	s.settle(c)
	return err
}

// must is do for a change that has to work.
func (s *scene) must(c schema.Change) {
	s.t.Helper()
	if err := s.do(c); err != nil {
		s.fatal("%v", err)
	}
}

func (s *scene) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf(format+"\nafter:\n%s", append(args, lines(s.log))...)
}

// sameError tells whether two errors are the same to a caller. EADDRNOTAVAIL is "not there" of what is deleted, and "not
// allowed" of what is made: it counts as either.
func sameError(a, b error) bool {
	if errors.Is(a, unix.EADDRNOTAVAIL) {
		return true
	}
	for _, target := range []error{fs.ErrExist, fs.ErrNotExist} {
		if errors.Is(a, target) != (errors.Is(b, target) || target == fs.ErrNotExist && errors.Is(b, unix.ENODEV)) {
			return false
		}
	}
	return true
}

// adopt takes over what the kernel chose at random: the hardware address of a new link that was not given one. Interface
// indexes are taken over with it.
func (s *scene) adopt(c schema.Change, before *schema.State) {
	if c.Ref.Kind != schema.KindLink || c.Before != nil {
		return
	}
	live := s.read()
	for l := range schema.Each[*schema.Link](s.model) {
		k := live.Link(l.Name)
		if before.Link(l.Name) != nil || k == nil {
			continue
		}
		n := schema.Clone(l).(*schema.Link)
		if l.Name != c.Ref.Name || c.After.(*schema.Link).MAC == nil {
			n.MAC = k.MAC
		}
		n.Facts.Index, n.Facts.ParentIndex = k.Facts.Index, k.Facts.ParentIndex
		s.model.Put(n)
	}
}

// settle reads the host until it is as the model says.
func (s *scene) settle(c schema.Change) {
	s.t.Helper()
	deadline := time.Now().Add(settleTime)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		s.live = s.read()
		diffs := append(schema.Diff(s.model, s.live), factsDiff(s.model, s.live)...)
		if len(diffs) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.fatal("%s: sim and host differ (-: sim alone, +: host alone, ~: sim's -> host's):\n%s", c, lines(diffs))
		}
		time.Sleep(pause)
	}
}

// factsDiff compares facts that Diff leaves out and that sim speaks of: flows are traced by them.
func factsDiff(model, live *schema.State) []string {
	var diffs []string
	add := func(o schema.Object, what string, want, got any) {
		if fmt.Sprint(want) != fmt.Sprint(got) {
			diffs = append(diffs, fmt.Sprintf("~ %s %s %v -> %v", o.Ref(), what, want, got))
		}
	}
	for o := range model.All() {
		switch m := o.(type) {
		case *schema.Link:
			l := live.Link(m.Name)
			if l == nil || m.Facts == nil || l.Facts == nil {
				continue
			}
			add(m, "carrier", m.Facts.Carrier, l.Facts.Carrier)
			if m.Type == "bridge" {
				add(m, "no carrier", m.Facts.NoCarrier, l.Facts.NoCarrier)
			}
			add(m, "conf4", spell(m.Facts.IPv4), spell(l.Facts.IPv4))
			add(m, "conf6", spell(m.Facts.IPv6), spell(l.Facts.IPv6))
		case *schema.Address:
			if l, ok := live.Get(m.Ref()).(*schema.Address); ok && m.Facts != nil {
				add(m, "secondary", m.Facts.Secondary, l.Facts.Secondary)
				add(m, "tentative", m.Facts.Tentative, l.Facts.Tentative)
			}
		case *schema.Route:
			if l, ok := live.Get(m.Ref()).(*schema.Route); ok && m.Facts != nil && len(m.NextHops) == 0 {
				add(m, "linkdown", m.Facts.LinkDown, l.Facts.LinkDown)
			}
		case *schema.Neighbour:
			if l, ok := live.Get(m.Ref()).(*schema.Neighbour); ok && m.Permanent != nil && *m.Permanent {
				add(m, "state", m.State, l.State)
			}
		}
	}
	return diffs
}

func spell[T any](p *T) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *p)
}

// refused makes a change that must fail and leave no trace.
func (s *scene) refused(c schema.Change, want error) {
	s.t.Helper()
	before := s.live
	err := s.do(c)
	switch {
	case err == nil:
		s.fatal("%s: it worked, want an error (%v)", c, want)
	case want != errAny && !errors.Is(err, want):
		s.fatal("%s: error %q is not %v", c, err, want)
	}
	if d := schema.Diff(before, s.live); len(d) > 0 {
		s.fatal("%s was refused (%v) and left a trace:\n%s", c, err, lines(d))
	}
}

// restore brings the host back to what it was, by as many changes as that takes: what vanished with something else is put
// back after it.
func (s *scene) restore(want *schema.State) {
	s.t.Helper()
	for range 6 {
		changes := towards(s.live, want)
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			if fresh, ok := again(s.live, c); ok {
				s.must(fresh)
			}
		}
	}
	if d := schema.Diff(want, s.live); len(d) > 0 {
		s.fatal("the host is not as it was:\n%s", lines(d))
	}
}

// towards lists changes from one state to another: deletions, children first; then creations and updates, parents first.
func towards(live, want *schema.State) []schema.Change {
	var gone, come []schema.Change
	for o := range live.All() {
		if want.Stored(o.Ref()) == nil && !fleeting(o) {
			gone = append(gone, schema.Change{Ref: o.Ref(), Before: o})
		}
	}
	slices.Reverse(gone)
	for o := range want.All() {
		l := live.Stored(o.Ref())
		if fleeting(o) || l != nil && schema.Equal(l, o) {
			continue
		}
		come = append(come, schema.Change{Ref: o.Ref(), Before: l, After: paired(want, o)})
	}
	slices.SortStableFunc(come, func(a, b schema.Change) int { return late(a) - late(b) })
	return append(gone, come...)
}

// late orders creations: links by whether they have a master, primary addresses before secondary ones, routes with a gateway
// last.
func late(c schema.Change) int {
	switch o := c.After.(type) {
	case *schema.Link:
		if o.Master != nil && *o.Master != "" {
			return 1
		}
		return 0
	case *schema.Address:
		if o.Facts != nil && o.Facts.Secondary {
			return 3
		}
		return 2
	case *schema.Route:
		if o.Gateway.IsValid() || len(o.NextHops) > 0 {
			return 6
		}
		if o.Source.IsValid() {
			return 5
		}
		return 4
	}
	return 7
}

// again is c as it has to be now; ok is false when it is not needed any more: the kernel did it by itself.
func again(live *schema.State, c schema.Change) (fresh schema.Change, ok bool) {
	l := live.Get(c.Ref)
	switch {
	case c.After == nil && l == nil, c.After != nil && l != nil && schema.Equal(l, c.After):
		return c, false
	case l == nil:
		return schema.Change{Ref: c.Ref, After: c.After}, true
	}
	return schema.Change{Ref: c.Ref, Before: l, After: c.After}, true
}

// fleeting is what comes and goes by itself; Diff leaves it out as well.
func fleeting(o schema.Object) bool {
	switch v := o.(type) {
	case *schema.Neighbour:
		return v.Permanent == nil || !*v.Permanent
	case *schema.FDBEntry, *schema.Listener:
		return true
	}
	return false
}

func lines(s []string) string { return "  " + strings.Join(s, "\n  ") }
