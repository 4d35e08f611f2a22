package schema

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// index finds objects by what ties them to others, so that one Change to a host of ten thousand links does not walk over
// all of them. It is built when first asked for, and kept up to date from then on. No slice in it is ever changed in
// place: clones of a State share them.
type index struct {
	dependents map[Ref][]Ref        // by what they require
	byIP       map[netip.Addr][]Ref // addresses by their address, routes by their preferred source
	byNumber   map[int]string       // links by interface index
	byParent   map[int][]Ref        // links by the interface index of their lower device or other end
	top        int                  // the highest interface index seen
}

// Dependents lists the objects that require r, sorted by kind and name: for a link its ports, addresses, routes,
// neighbours, forwarding entries and settings. The slice is the State's: do not change it.
func (s *State) Dependents(r Ref) []Ref { return s.built().dependents[r] }

// WithIP lists the addresses that are ip, on whichever link, and the routes whose preferred source it is. The slice is the
// State's: do not change it.
func (s *State) WithIP(ip netip.Addr) []Ref { return s.built().byIP[ip] }

// LinkByIndex returns the link with that interface index, or nil.
func (s *State) LinkByIndex(n int) *Link {
	name, ok := s.built().byNumber[n]
	if !ok {
		return nil
	}
	return s.Link(name)
}

// LinksOver lists the links whose ParentIndex is n: the macvlans and VLANs on top of a link, the other end of a veth. The
// slice is the State's: do not change it.
func (s *State) LinksOver(n int) []Ref { return s.built().byParent[n] }

// NextIndex is an interface index that no link of the state has had.
func (s *State) NextIndex() int { return s.built().top + 1 }

func (s *State) built() *index {
	if s.index == nil {
		s.index = &index{
			dependents: map[Ref][]Ref{}, byIP: map[netip.Addr][]Ref{}, byNumber: map[int]string{}, byParent: map[int][]Ref{},
		}
		for r, o := range s.objects {
			for _, p := range o.Requires() {
				s.index.dependents[p] = append(s.index.dependents[p], r)
			}
			if ip := ipOf(o); ip.IsValid() {
				s.index.byIP[ip] = append(s.index.byIP[ip], r)
			}
			s.index.number(nil, o)
		}
		for p, refs := range s.index.dependents {
			slices.SortFunc(refs, compareRefs)
			s.index.dependents[p] = slices.Compact(refs) // both legs of a route may leave by one link
		}
		for _, refs := range s.index.byIP {
			slices.SortFunc(refs, compareRefs)
		}
	}
	return s.index
}

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

func (x *index) clone() *index {
	if x == nil {
		return nil
	}
	return &index{maps.Clone(x.dependents), maps.Clone(x.byIP), maps.Clone(x.byNumber), maps.Clone(x.byParent), x.top}
}

// replace notes that r was old and is now o; nil for not there.
func (x *index) replace(r Ref, old, o Object) {
	if x == nil {
		return
	}
	x.number(old, o)
	before, after := requires(old), requires(o)
	if !slices.Equal(before, after) {
		for _, p := range before {
			drop(x.dependents, p, r)
		}
		for _, p := range after {
			insert(x.dependents, p, r)
		}
	}
	if before, after := ipOf(old), ipOf(o); before != after {
		if before.IsValid() {
			drop(x.byIP, before, r)
		}
		if after.IsValid() {
			insert(x.byIP, after, r)
		}
	}
}

func (x *index) number(old, o Object) {
	if l, ok := old.(*Link); ok && l.Facts != nil {
		if x.byNumber[l.Facts.Index] == l.Name {
			delete(x.byNumber, l.Facts.Index)
		}
		if p := l.Facts.ParentIndex; p != 0 {
			drop(x.byParent, p, l.Ref())
		}
	}
	if l, ok := o.(*Link); ok && l.Facts != nil {
		x.byNumber[l.Facts.Index] = l.Name
		x.top = max(x.top, l.Facts.Index)
		if p := l.Facts.ParentIndex; p != 0 {
			insert(x.byParent, p, l.Ref())
		}
	}
}

func requires(o Object) []Ref {
	if o == nil {
		return nil
	}
	return o.Requires()
}

func ipOf(o Object) netip.Addr {
	switch v := o.(type) {
	case *Address:
		return v.Prefix.Addr()
	case *Route:
		return v.Source
	}
	return netip.Addr{}
}

func insert[K comparable](m map[K][]Ref, key K, r Ref) {
	old := m[key]
	if i, found := slices.BinarySearchFunc(old, r, compareRefs); !found {
		m[key] = slices.Insert(slices.Clip(old), i, r)
	}
}

func drop[K comparable](m map[K][]Ref, key K, r Ref) {
	old := m[key]
	i, found := slices.BinarySearchFunc(old, r, compareRefs)
	switch {
	case !found:
	case len(old) == 1:
		delete(m, key)
	default:
		m[key] = slices.Delete(slices.Clone(old), i, i+1)
	}
}

// Refs lists the objects of a kind, sorted by name. The slice is the State's: do not change it.
func (s *State) Refs(k Kind) []Ref {
	if s.objects == nil {
		return nil
	}
	if s.byKind == nil {
		s.byKind = map[Kind][]Ref{}
		for r := range s.objects {
			s.byKind[r.Kind] = append(s.byKind[r.Kind], r)
		}
		for _, refs := range s.byKind {
			slices.SortFunc(refs, compareRefs)
		}
		s.moved = nil
	}
	if moved := s.moved[k]; len(moved) > 0 {
		s.byKind[k] = s.mergeMoved(s.byKind[k], moved)
		delete(s.moved, k)
	}
	return s.byKind[k]
}

func (s *State) noteMoved(r Ref) {
	if s.byKind == nil {
		return
	}
	if s.moved == nil {
		s.moved = map[Kind]map[Ref]bool{}
	}
	if s.moved[r.Kind] == nil {
		s.moved[r.Kind] = map[Ref]bool{}
	}
	s.moved[r.Kind][r] = true
}

// mergeMoved is refs without what went and with what came, in a new slice. It is refs itself when nothing did in the end.
func (s *State) mergeMoved(refs []Ref, moved map[Ref]bool) []Ref {
	var came []Ref
	gone := 0
	for r := range moved {
		_, listed := slices.BinarySearchFunc(refs, r, compareRefs)
		_, there := s.objects[r]
		switch {
		case there && !listed:
			came = append(came, r)
		case listed && !there:
			gone++
		}
	}
	if len(came) == 0 && gone == 0 {
		return refs
	}
	slices.SortFunc(came, compareRefs)
	out := make([]Ref, 0, len(refs)+len(came))
	for _, r := range refs {
		for len(came) > 0 && compareRefs(came[0], r) < 0 {
			out, came = append(out, came[0]), came[1:]
		}
		if !moved[r] || s.objects[r] != nil {
			out = append(out, r)
		}
	}
	return append(out, came...)
}
