package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// ErrUnmodelled says that sim does not know what the kernel would do.
var ErrUnmodelled = errors.New("not modelled")

// ErrChanged says that the object is not what the Change takes it to be (compare-and-set).
var ErrChanged = errors.New("changed meanwhile")

// Do makes c in s as Linux would, with all that the kernel does by itself. When it fails, s is as before. Errors are
// fs.ErrExist, fs.ErrNotExist, ErrChanged, ErrUnmodelled or an errno of the kernel (errors.Is) where that is the case.
func Do(s *schema.State, c schema.Change) error {
	h := &host{State: s, was: map[schema.Ref]schema.Object{}}
	if err := h.do(c); err != nil {
		h.rollback()
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

// Cascade lists what else vanishes and what else appears when c is made: the addresses and routes of a link that is
// deleted, the connected route of a new address. Objects that only change are not listed, nor is c's own; an object that
// vanishes is given as it was. Both lists are in the order of schema.Kinds and names. s is changed while Cascade runs,
// and is as before when it returns; it costs what the change costs, not what a copy of s does.
func Cascade(s *schema.State, c schema.Change) (gone, came []schema.Object, err error) {
	h := &host{State: s, was: map[schema.Ref]schema.Object{}}
	defer h.rollback()
	if err := h.do(c); err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	for _, ref := range h.order {
		if ref == c.Ref {
			continue
		}
		was, is := h.was[ref], h.Stored(ref)
		switch {
		case was != nil && is == nil:
			gone = append(gone, was)
		case was == nil && is != nil:
			came = append(came, is)
		}
	}
	sortObjects(gone)
	sortObjects(came)
	return gone, came, nil
}

func sortObjects(objects []schema.Object) {
	kinds := schema.Kinds()
	slices.SortFunc(objects, func(a, b schema.Object) int {
		x, y := a.Ref(), b.Ref()
		if x.Kind != y.Kind {
			return slices.Index(kinds, x.Kind) - slices.Index(kinds, y.Kind)
		}
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
}

// host is a State that remembers how it was.
type host struct {
	*schema.State
	was   map[schema.Ref]schema.Object // what was touched, as it was; nil: was not there
	order []schema.Ref                 // in the order of touching
}

func (h *host) touch(r schema.Ref) {
	if _, ok := h.was[r]; !ok {
		h.was[r] = h.Stored(r)
		h.order = append(h.order, r)
	}
}

// put adds or replaces an object.
func (h *host) put(o schema.Object) {
	if r, ok := o.(*schema.Route); ok && r.Facts != nil {
		o = h.placed(r)
	}
	h.touch(o.Ref())
	h.Put(o)
}

// placed is a route at its place among equals: behind them where it is new (NLM_F_APPEND of fib_magic).
func (h *host) placed(r *schema.Route) *schema.Route {
	place := schema.PlaceLast
	if old, ok := h.Get(r.Ref()).(*schema.Route); ok {
		place = value(old.Facts).Place
	}
	if r.Facts.Place == place {
		return r
	}
	c := schema.Clone(r).(*schema.Route)
	c.Facts.Place = place
	return c
}

// del takes objects away; those that are not there are passed over.
func (h *host) del(refs ...schema.Ref) {
	for _, r := range refs {
		h.touch(r)
		h.Delete(r)
	}
}

// edit replaces a link by a changed copy and returns the copy.
func (h *host) edit(name string, change func(*schema.Link)) *schema.Link {
	l := schema.Clone(h.Link(name)).(*schema.Link)
	change(l)
	h.put(l)
	return l
}

func (h *host) rollback() {
	for _, r := range slices.Backward(h.order) {
		if was := h.was[r]; was != nil {
			h.Put(was)
		} else {
			h.Delete(r)
		}
	}
}

func (h *host) do(c schema.Change) error {
	if err := h.check(c); err != nil {
		return err
	}
	switch c.Ref.Kind {
	case schema.KindLink:
		return split(c, h.createLink, h.deleteLink, func(after *schema.Link) error { return h.changeLink(c, after) })
	case schema.KindAddress:
		return split(c, h.createAddress, h.deleteAddress, h.updateAddress)
	case schema.KindRoute:
		return split(c, h.createRoute, h.deleteRoute, h.updateRoute)
	case schema.KindPolicyRule:
		return split(c, h.createPolicyRule, h.deletePolicyRule, nil)
	case schema.KindNeighbour:
		return split(c, h.createNeighbour, h.deleteNeighbour, h.updateNeighbour)
	case schema.KindSysctl:
		return split(c, noSysctl, nil, h.setSysctl)
	case schema.KindTable:
		return split(c, h.putTable, h.deleteTable, h.putTable)
	case schema.KindNftRule:
		return split(c, h.insertRule, h.deleteRule, h.replaceRule)
	case schema.KindXRule: // iptables replaces by number only, and deletes the first of those that are alike
		return split(c, h.insertByTool, h.deleteByTool, nil)
	case schema.KindGrant:
		return split(c, h.createGrant, h.deleteGrant, nil)
	case schema.KindFile:
		return split(c, nil, nil, h.updateFile)
	case schema.KindFDB:
		return split(c, h.putFDB, h.deleteFDB, h.putFDB)
	case schema.KindService:
		return split(c, h.createService, h.deleteService, h.updateService)
	case schema.KindListener, schema.KindXTable, schema.KindHolder, schema.KindLease, schema.KindMachine:
	}
	return fmt.Errorf("objects of kind %s are read only: %w", c.Ref.Kind, ErrUnmodelled)
}

// split calls the function for what c does; a nil function is something that cannot be done. Create and update are given
// c.After, remove c.Before.
func split[T schema.Object](c schema.Change, create, remove, update func(T) error) error {
	before, _ := c.Before.(T)
	after, _ := c.After.(T)
	switch {
	case c.Before == nil && create != nil:
		return create(after)
	case c.After == nil && remove != nil:
		return remove(before)
	case c.Before != nil && c.After != nil && update != nil:
		return update(after)
	}
	return fmt.Errorf("objects of kind %s do not take this: %w", c.Ref.Kind, ErrUnmodelled)
}

// check refuses a change whose Before does not hold.
func (h *host) check(c schema.Change) error {
	for _, o := range []schema.Object{c.Before, c.After} {
		if o != nil && o.Ref() != c.Ref {
			return fmt.Errorf("the change holds %s instead: %w", o.Ref(), unix.EINVAL)
		}
	}
	live := h.live(c)
	switch {
	case c.Before == nil && c.After == nil:
		return fmt.Errorf("the change is empty: %w", unix.EINVAL)
	case c.Before == nil && live != nil:
		return fmt.Errorf("it is there already (%s): %w", live, fs.ErrExist)
	case c.Before != nil && live == nil:
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	case c.Before == nil:
		return nil
	}
	diffs := schema.Compare(live, basis(live, c))
	if r, ok := live.(*schema.Route); ok { // Compare passes over a source that is not set
		b := c.Before.(*schema.Route)
		if r.Source != b.Source || !slices.Equal(r.Other, b.Other) {
			return fmt.Errorf("it is not as planned: src %v: %w", r.Source, ErrChanged)
		}
	}
	if len(diffs) > 0 {
		return fmt.Errorf("it is not as planned: %v: %w", diffs, ErrChanged)
	}
	return nil
}

// live is the object that c is about. Two things are particular: what was learned gives way to what is set, as if it were
// not there; and a leg of an IPv6 route with several counts as a route.
func (h *host) live(c schema.Change) schema.Object {
	live := h.Get(c.Ref)
	switch v := live.(type) {
	case *schema.Neighbour:
		if c.Before == nil && !value(v.Permanent) && !v.Proxy {
			return nil
		}
	case *schema.FDBEntry:
		if c.Before == nil && v.State == "" {
			return nil
		}
	case nil:
		r, ok := c.Before.(*schema.Route)
		if !ok {
			r, ok = c.After.(*schema.Route)
		}
		if ok {
			if leg, _ := h.leg(r); leg != nil {
				return leg
			}
		}
	}
	return live
}

// basis is the part of c.Before that has to hold: not whether a bridge's address is pinned, which nobody can take back; and
// not what follows others by itself and is not to change now (followers).
func basis(live schema.Object, c schema.Change) schema.Object {
	before, ok := c.Before.(*schema.Link)
	if !ok {
		return c.Before
	}
	b := *before
	b.MACPinned = nil
	after, _ := c.After.(*schema.Link)
	state, mac := followers(live.(*schema.Link), before, after)
	if state && b.Port != nil {
		port := *b.Port
		port.State = nil
		b.Port = &port
	}
	if mac {
		b.MAC = nil
	}
	if b.Type == "bridge" && after == nil { // its MTU follows its ports, which leave before it goes
		b.MTU = nil
	}
	return &b
}

// followers tells which of two properties are none of the change's business: the state of a port, which follows the
// carrier, and the address of a bridge that is not pinned, which follows its ports. A nil after deletes.
func followers(live, before, after *schema.Link) (state, mac bool) {
	state = after == nil || after.Port == nil || before.Port == nil || !differs(before.Port.State, after.Port.State)
	mac = live.Type == "bridge" && !value(live.MACPinned) && (after == nil || !differs(before.MAC, after.MAC))
	return state, mac
}

// differs tells whether want asks for something that have is not.
func differs[T comparable](have, want *T) bool {
	return want != nil && (have == nil || *have != *want)
}

// value is *p, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// or is p where it is set, else a pointer to v.
func or[T any](p *T, v T) *T {
	if p == nil {
		return &v
	}
	return p
}
