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

// errAny stands for any error.
var errAny = errors.New("any error")

// change makes a Change out of the state it is to be made in.
type change func(*schema.State) schema.Change

// row is one change and what has to be there before.
type row struct {
	name  string
	prep  func(testing.TB, Host) // what no Change can do: somebody else's hand
	given []change
	do    change
	// needs is a device that an ordinary user may not be let near; then the host has to say so, naming it.
	needs string
	// fails is the error that do must give: an fs sentinel, or errAny; nil when it must work.
	fails error
}

// Run is the conformance suite: every row on a host of its own. newHost returns a fresh host, as Fresh or Netns make it.
func Run(t *testing.T, newHost func(t *testing.T) Host) {
	for group, rows := range groups() {
		t.Run(group, func(t *testing.T) {
			for _, r := range rows {
				t.Run(r.name, func(t *testing.T) {
					t.Parallel()
					h := newHost(t)
					if r.prep != nil {
						r.prep(t, h)
					}
					r.run(newScene(t, h))
				})
			}
		})
	}
	for _, seq := range sequences() {
		t.Run("sequence/"+seq.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			if seq.prep != nil {
				seq.prep(t, h)
			}
			seq.run(newScene(t, h))
		})
	}
}

// groups are the rows of the suite, by kind of object.
func groups() map[string][]row {
	return map[string][]row{
		"link": linkRows(), "bridge": bridgeRows(), "port": portRows(), "tap": tapRows(), "address": addressRows(), "address6": address6Rows(),
		"route": routeRows(), "route6": route6Rows(), "rule": ruleRows(), "neighbour": neighbourRows(), "sysctl": sysctlRows(),
		"file": fileRows(), "table": tableRows(), "nftrule": nftRuleRows(), "xrule": xRuleRows(), "grant": grantRows(), "service": serviceRows(),
	}
}

func (r row) run(s *scene) {
	s.t.Helper()
	if r.needs != "" && !s.may(r.needs) {
		c := r.given[0](s.live)
		if err := s.host.Do(s.t.Context(), c); err == nil || !strings.Contains(err.Error(), r.needs) {
			s.fatal("%s without access to %s: got %v", c, r.needs, err)
		}
		return
	}
	for _, g := range r.given {
		s.step(g)
	}
	before := s.live
	c := r.do(before)
	if r.fails != nil {
		s.refused(c, r.fails)
		return
	}
	s.foreseen(c)
	s.stale(c)
	s.must(c)
	s.readBack(c)
	s.twice(c)
	s.back(c)
	s.restore(before)
}

// may tells whether the host can open a device.
func (s *scene) may(device string) bool {
	if _, real := s.host.(*Namespace); !real {
		return true
	}
	return unix.Access(device, unix.R_OK|unix.W_OK) == nil
}

// foreseen makes sure that Cascade says what Do does, and leaves the state alone.
func (s *scene) foreseen(c schema.Change) {
	s.t.Helper()
	before := s.model.Clone()
	gone, came, err := sim.Cascade(s.model, c)
	if err != nil {
		s.fatal("foresee %s: %v", c, err)
	}
	if d := schema.Diff(before, s.model); len(d) > 0 {
		s.fatal("foresee %s: it changed the state:\n%s", c, lines(d))
	}
	after := s.model.Clone()
	if err := sim.Do(after, c); err != nil {
		s.fatal("foresee %s: %v", c, err)
	}
	var want []string
	for o := range before.All() {
		if after.Stored(o.Ref()) == nil && o.Ref() != c.Ref {
			want = append(want, "- "+o.Ref().String())
		}
	}
	for o := range after.All() {
		if before.Stored(o.Ref()) == nil && o.Ref() != c.Ref {
			want = append(want, "+ "+o.Ref().String())
		}
	}
	var got []string
	for _, o := range gone {
		got = append(got, "- "+o.Ref().String())
	}
	for _, o := range came {
		got = append(got, "+ "+o.Ref().String())
	}
	if !slices.Equal(got, want) {
		s.fatal("Cascade of %s:\n%s\nwant\n%s", c, lines(got), lines(want))
	}
}

// readBack makes sure that the object is there as asked for, or gone.
func (s *scene) readBack(c schema.Change) {
	s.t.Helper()
	live := s.live.Get(c.Ref)
	switch {
	case c.After == nil && live != nil:
		s.fatal("%s: it is still there: %s", c, live)
	case c.After != nil && live == nil:
		s.fatal("%s: it is not there", c)
	}
	d := schema.Compare(live, unpinned(c.After))
	if !touches(c, "port.state") {
		d = slices.DeleteFunc(d, func(d schema.Difference) bool { return d.Field == "port.state" })
	}
	if len(d) > 0 {
		s.fatal("%s: read back, it differs: %v", c, d)
	}
}

// touches tells whether c changes a field.
func touches(c schema.Change, field string) bool {
	return slices.ContainsFunc(schema.Compare(c.Before, c.After), func(d schema.Difference) bool { return d.Field == field })
}

// unpinned is o without the pin of a bridge's address, which cannot be asked to go.
func unpinned(o schema.Object) schema.Object {
	l, ok := o.(*schema.Link)
	if !ok || l.MACPinned == nil || *l.MACPinned {
		return o
	}
	c := *l
	c.MACPinned = nil
	return &c
}

// stale makes the change from something that the host does not hold.
func (s *scene) stale(c schema.Change) {
	s.t.Helper()
	if c.Before == nil {
		return
	}
	if other := altered(c.Before); other != nil {
		s.refused(schema.Change{Ref: c.Ref, Before: other, After: c.After}, errAny)
	}
}

// altered is an object with the same Ref and one thing different; nil where there is nothing to alter.
func altered(o schema.Object) schema.Object {
	c := schema.Clone(o)
	switch v := c.(type) {
	case *schema.Link:
		v.Alias = new("somebody else was here") // the MTU of a bridge follows its ports
	case *schema.Address:
		v.Proto = new(*v.Proto + 1)
	case *schema.Route:
		v.Proto = new(*v.Proto + 1)
	case *schema.Neighbour:
		v.MAC = new("02:ff:ff:ff:ff:ff")
	case *schema.Sysctl:
		v.Value += "0"
	case *schema.File:
		v.Content += "#\n"
	case *schema.Dnsmasq:
		v.Extra = append(v.Extra, "log-queries")
	case *schema.Table:
		v.Dormant = !v.Dormant
	default:
		return nil
	}
	return c
}

// twice makes the same change again: what is there already, or gone already, is refused.
func (s *scene) twice(c schema.Change) {
	s.t.Helper()
	switch {
	case c.Before == nil:
		s.refused(c, fs.ErrExist)
	case c.After == nil:
		s.refused(c, fs.ErrNotExist)
	case c.Ref.Kind == schema.KindLink && portOnly(c):
		// The state of a port and the pin of an address are not looked at: doing it twice is no harm.
	case len(schema.Compare(s.live.Get(c.Ref), c.Before)) > 0:
		s.refused(c, errAny)
	}
}

func portOnly(c schema.Change) bool {
	for _, d := range schema.Compare(c.Before, c.After) {
		if d.Field != "port.state" && d.Field != "mac_pinned" {
			return false
		}
	}
	return true
}

// back makes the inverse.
func (s *scene) back(c schema.Change) {
	s.t.Helper()
	s.must(c.Inverse())
	if live := s.live.Get(c.Ref); c.Before != nil && live == nil {
		s.fatal("%s: undone, the object is not there", c)
	} else if c.Before == nil && live != nil {
		s.fatal("%s: undone, the object is still there: %s", c, live)
	} else if d := schema.Compare(live, unpinned(c.Before)); len(d) > 0 && c.Ref.Kind != schema.KindLink {
		s.fatal("%s: undone, the object differs: %v", c, d)
	}
}

// sequence is a way there, and then back by the inverse of each change in turn.
type sequence struct {
	name  string
	prep  func(testing.TB, Host)
	steps []change
}

func (q sequence) run(s *scene) {
	s.t.Helper()
	var states []*schema.State
	var done []schema.Change
	for _, step := range q.steps {
		c := step(s.live)
		states, done = append(states, s.live), append(done, c)
		s.must(c)
	}
	for i, c := range slices.Backward(done) {
		s.must(inverseNow(s.live, c))
		s.restore(states[i])
	}
}

// inverseNow is the inverse of c from what is there now: the kernel has filled what c left open.
func inverseNow(live *schema.State, c schema.Change) schema.Change {
	i := c.Inverse()
	if l := live.Get(c.Ref); i.Before != nil && l != nil {
		i.Before = l
	}
	return i
}

// step makes one change, or waits: pause gives an empty one.
func (s *scene) step(f change) {
	s.t.Helper()
	if c := f(s.live); c.Ref != (schema.Ref{}) {
		s.must(c)
	} else if _, fake := s.host.(*Fake); !fake {
		time.Sleep(calmTime)
	}
}

// calmTime is longer than the second for which the kernel gathers changes of carrier.
const calmTime = 1200 * time.Millisecond

// pause waits on a real host until changes of carrier are through.
func pause(*schema.State) schema.Change { return schema.Change{} }

// create makes o.
func create(o schema.Object) change {
	return func(*schema.State) schema.Change { return schema.Change{Ref: o.Ref(), After: schema.Clone(o)} }
}

// remove deletes what has that Ref.
func remove(o schema.Object) change {
	return func(s *schema.State) schema.Change {
		before := s.Get(o.Ref())
		if before == nil {
			before = schema.Clone(o)
		}
		return schema.Change{Ref: o.Ref(), Before: paired(s, before)}
	}
}

// set lays the fields of want over the live object.
func set(want schema.Object) change {
	return func(s *schema.State) schema.Change {
		live := s.Get(want.Ref())
		if live == nil {
			panic(fmt.Sprintf("row: %s is not there", want.Ref()))
		}
		return schema.Change{Ref: want.Ref(), Before: live, After: schema.Merge(live, want)}
	}
}

// paired is o, and for a veth with the name of its other end, which a live link does not bear but making it again needs.
func paired(s *schema.State, o schema.Object) schema.Object {
	l, ok := o.(*schema.Link)
	if !ok || l.Type != "veth" || l.Facts == nil {
		return o
	}
	peer := s.LinkByIndex(l.Facts.ParentIndex)
	if peer == nil {
		return o
	}
	c := schema.Clone(l).(*schema.Link)
	c.Pair = peer.Name
	return c
}
