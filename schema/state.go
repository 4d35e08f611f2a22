package schema

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// State is a host's network: live as read, desired as written, or foreseen. The zero State is empty and ready. Its
// methods may not run at the same time as one that changes it.
type State struct {
	objects map[Ref]Object
	byKind  map[Kind][]Ref        // sorted; nil: to be built
	moved   map[Kind]map[Ref]bool // what came or went since byKind was built
	index   *index                // nil: to be built
	// Blind lists what could not be read for lack of privileges: "nftables", "iptables"; and MovingRules. Empty: complete.
	Blind []string
	// Generation is the nftables generation the tables were read at; 0 unknown.
	Generation uint32
	// Unstable says that the ruleset kept changing while it was read.
	Unstable bool
}

// NewState returns a state that holds objs.
func NewState(objs ...Object) *State {
	s := &State{}
	for _, o := range objs {
		s.Put(o)
	}
	return s
}

// Put adds o, or replaces the object with its Ref, after bringing it into normal form: prefixes masked, MACs in lower
// case, lists sorted. Nothing else normalises.
func (s *State) Put(o Object) {
	normalise(o)
	if s.objects == nil {
		s.objects = map[Ref]Object{}
	}
	r := o.Ref()
	old := s.objects[r]
	if old == nil {
		s.noteMoved(r)
	}
	s.index.replace(r, old, o)
	s.objects[r] = o
}

// Delete removes the object; one that is not there is no error.
func (s *State) Delete(r Ref) {
	if old, ok := s.objects[r]; ok {
		delete(s.objects, r)
		s.noteMoved(r)
		s.index.replace(r, old, nil)
	}
}

// Get returns the object, or nil. Some objects are views of others: a per-link sysctl is answered from the link's facts, a
// ForeignRule from the table that holds it, and a leg of an IPv6 multipath route from the whole: to the kernel two IPv6
// routes by different routers to one destination at one metric are one, whose legs come and go by themselves.
func (s *State) Get(r Ref) Object {
	if o, ok := s.objects[r]; ok {
		return o
	}
	switch r.Kind {
	case KindSysctl:
		if c := s.linkSysctl(r.Name); c != nil {
			return c
		}
	case KindNftRule, KindXRule:
		if f := s.foreignRule(r); f != nil {
			return f
		}
	case KindRoute:
		if leg := s.routeLeg(r); leg != nil {
			return leg
		}
	default: // every other kind is stored as it is
	}
	return nil
}

// Stored is Get without the views: the object that the state itself holds under r, or nil.
func (s *State) Stored(r Ref) Object { return s.objects[r] }

// Link returns the link of that name, or nil.
func (s *State) Link(name string) *Link {
	l, _ := s.objects[LinkRef(name)].(*Link)
	return l
}

// Sysctl returns the value of a setting; ok is false when it is not known.
func (s *State) Sysctl(key string) (value string, ok bool) {
	c, ok := s.Get(SysctlRef(key)).(*Sysctl)
	if !ok {
		return "", false
	}
	return c.Value, true
}

// Len is the number of objects.
func (s *State) Len() int { return len(s.objects) }

// All iterates over every object, by kind and name.
func (s *State) All() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, k := range Kinds() {
			for _, r := range s.Refs(k) {
				if !yield(s.objects[r]) {
					return
				}
			}
		}
	}
}

// Each iterates over the objects of one Go type, by name: for l := range schema.Each[*schema.Link](s).
func Each[T Object](s *State) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, k := range Kinds() {
			if _, ok := New(k).(T); !ok {
				continue
			}
			for _, r := range s.Refs(k) {
				if o, ok := s.objects[r].(T); ok && !yield(o) {
					return
				}
			}
		}
	}
}

// Clone copies the state. Objects are shared until they are replaced: treat an object in a State as frozen, and Put a
// changed Clone of it.
func (s *State) Clone() *State {
	c := *s
	c.objects = maps.Clone(s.objects)
	c.byKind = maps.Clone(s.byKind)
	c.moved = maps.Clone(s.moved)
	for k, refs := range c.moved {
		c.moved[k] = maps.Clone(refs)
	}
	c.index = s.index.clone()
	return &c
}

// Diff lists, one line each, how b differs from a in all that is compared; empty when they are equal. Neighbours and FDB
// entries that were learned, listeners, holders and leases come and go, and the machine is what it is: they are left out.
func Diff(a, b *State) []string {
	var out []string
	for o := range a.All() {
		if fleeting(o) {
			continue
		}
		switch p := b.objects[o.Ref()]; {
		case p == nil:
			out = append(out, "- "+o.Ref().String())
		case !Equal(o, p):
			out = append(out, fmt.Sprintf("~ %s %v", o.Ref(), Compare(o, p)))
		}
	}
	for o := range b.All() {
		if !fleeting(o) && a.objects[o.Ref()] == nil {
			out = append(out, "+ "+o.Ref().String())
		}
	}
	return out
}

// Equal tells whether two states are the same in all that is compared.
func (s *State) Equal(o *State) bool { return len(Diff(s, o)) == 0 }

func fleeting(o Object) bool {
	switch v := o.(type) {
	case *Neighbour:
		return v.Permanent == nil || !*v.Permanent
	case *FDBEntry, *Listener, *Holder, *Lease, *Machine:
		return true
	}
	return false
}

// Clone copies an object deeply.
func Clone(o Object) Object {
	if o == nil {
		return nil
	}
	switch v := o.(type) {
	case *Link:
		return v.clone()
	case *Sysctl:
		c := *v
		return &c
	case *Address:
		c := *v
		if v.Facts != nil {
			f := *v.Facts
			c.Facts = &f
		}
		return &c
	case *Route:
		c := *v
		c.NextHops = slices.Clone(v.NextHops)
		if v.Facts != nil {
			f := *v.Facts
			c.Facts = &f
		}
		return &c
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("clone %s: %v (this is a bug in vmnet)", o.Ref(), err))
	}
	c := New(o.Ref().Kind)
	if err := json.Unmarshal(b, c); err != nil {
		panic(fmt.Sprintf("clone %s: %v (this is a bug in vmnet)", o.Ref(), err))
	}
	return c
}

// clone copies a link. The pointers to scalars are shared: nobody writes through them.
func (l *Link) clone() *Link {
	c := *l
	if l.Bridge != nil {
		b := *l.Bridge
		c.Bridge = &b
	}
	if l.Port != nil {
		p := *l.Port
		c.Port = &p
	}
	if l.Facts != nil {
		f := *l.Facts
		if f.IPv4 != nil {
			v := *f.IPv4
			f.IPv4 = &v
		}
		if f.IPv6 != nil {
			v := *f.IPv6
			f.IPv6 = &v
		}
		c.Facts = &f
	}
	return &c
}

func normalise(o Object) {
	switch v := o.(type) {
	case *Link:
		if v.MAC != nil && *v.MAC != strings.ToLower(*v.MAC) {
			v.MAC = new(strings.ToLower(*v.MAC))
		}
	case *Route:
		v.Dst = v.Dst.Masked()
		if v.Type == "unicast" {
			v.Type = ""
		}
	case *Neighbour:
		if v.MAC != nil {
			v.MAC = new(strings.ToLower(*v.MAC))
		}
	case *Dnsmasq:
		v.normalise()
	case *Grant:
		v.Src, v.Dst = everywhere(v.Src), everywhere(v.Dst)
	case *PolicyRule:
		v.Src, v.Dst = masked(v.Src), masked(v.Dst)
		if v.Action == "lookup" {
			v.Action = ""
		}
	case *Table:
		byName := func(a, b *Chain) int { return cmp.Compare(a.Name, b.Name) }
		if !slices.IsSortedFunc(v.Chains, byName) {
			slices.SortFunc(v.Chains, byName)
		}
		slices.SortFunc(v.Sets, func(a, b *Set) int { return cmp.Compare(a.Name, b.Name) })
		for _, set := range v.Sets {
			byKey := func(a, b Element) int { return bytes.Compare(a.Key, b.Key) }
			if !slices.IsSortedFunc(set.Elements, byKey) {
				slices.SortFunc(set.Elements, byKey)
			}
		}
	}
}

func masked(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return p
	}
	return p.Masked()
}

// everywhere is the zero Prefix for one of length 0.
func everywhere(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Bits() == 0 {
		return netip.Prefix{}
	}
	return masked(p)
}

// FormatVersion is the version of the JSON form of a State: "MAJOR.MINOR".
const FormatVersion = "1.0"

type stateJSON struct {
	FormatVersion string                     `json:"format_version"`
	Blind         []string                   `json:"blind,omitempty"`
	Generation    uint32                     `json:"generation,omitempty"`
	Unstable      bool                       `json:"unstable,omitempty"`
	Objects       map[Kind][]json.RawMessage `json:"objects"`
}

// MarshalJSON writes the snapshot: objects by kind, in the order of their names.
func (s *State) MarshalJSON() ([]byte, error) {
	j := stateJSON{FormatVersion: FormatVersion, Blind: s.Blind, Generation: s.Generation, Unstable: s.Unstable, Objects: map[Kind][]json.RawMessage{}}
	for o := range s.All() {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
		}
		j.Objects[o.Ref().Kind] = append(j.Objects[o.Ref().Kind], b)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes. Another major version is refused.
func (s *State) UnmarshalJSON(b []byte) error {
	var j stateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("decode state: %w", err)
	}
	if major, _, _ := strings.Cut(j.FormatVersion, "."); major != "1" {
		return fmt.Errorf("decode state: format_version %q is not one this version reads (1.x)", j.FormatVersion)
	}
	if j.Objects == nil {
		return errors.New("decode state: it has no \"objects\", so it is not a snapshot")
	}
	*s = State{Blind: j.Blind, Generation: j.Generation, Unstable: j.Unstable}
	for k, raws := range j.Objects {
		for _, raw := range raws {
			o, err := unmarshalObject(k, raw)
			if err != nil {
				return err
			}
			s.Put(o)
		}
	}
	return nil
}
