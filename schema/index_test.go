package schema

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestIndex changes a state at random and compares what its indexes say with a state built anew.
func TestIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := &State{}
	for step := range 3000 {
		o := randomObject(rng)
		if rng.IntN(3) == 0 {
			s.Delete(o.Ref())
		} else {
			s.Put(o)
		}
		switch rng.IntN(10) {
		case 0:
			before := s.Clone()
			want := fmt.Sprint(before.Refs(KindRoute), before.Dependents(LinkRef("l1")))
			s.Put(randomObject(rng))
			s.Delete(randomObject(rng).Ref())
			if got := fmt.Sprint(before.Refs(KindRoute), before.Dependents(LinkRef("l1"))); got != want {
				t.Fatalf("step %d: a change of the clone's origin shows in the clone: %s, want %s", step, got, want)
			}
		case 1:
			checkIndex(t, s)
		}
	}
}

func randomObject(rng *rand.Rand) Object {
	name := func() string { return fmt.Sprintf("l%d", rng.IntN(5)) }
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(5))})
	switch rng.IntN(4) {
	case 0:
		l := &Link{Name: name(), Facts: &LinkFacts{Index: 1 + rng.IntN(9)}}
		if rng.IntN(2) == 0 {
			l.Master = new(name())
		}
		l.Facts.Index = int(l.Name[1]) // one link, one number
		return l
	case 1:
		return &Address{Link: name(), Prefix: netip.PrefixFrom(ip, 24)}
	case 2:
		return &Route{Table: TableMain, Dst: netip.PrefixFrom(ip, 32), Link: name(), Source: ip}
	}
	return &Route{Table: TableMain, Dst: netip.PrefixFrom(ip, 32), NextHops: []NextHop{{Link: name()}, {Link: name()}}}
}

func checkIndex(t *testing.T, s *State) {
	t.Helper()
	fresh := &State{}
	for _, o := range s.objects {
		fresh.Put(o)
	}
	for _, k := range Kinds() {
		if got, want := s.Refs(k), fresh.Refs(k); !slices.Equal(got, want) {
			t.Fatalf("Refs(%s) = %v, want %v", k, got, want)
		}
	}
	for i := range 5 {
		link := LinkRef(fmt.Sprintf("l%d", i))
		if got, want := s.Dependents(link), fresh.Dependents(link); !slices.Equal(got, want) {
			t.Fatalf("Dependents(%s) = %v, want %v", link, got, want)
		}
		ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		if got, want := s.WithIP(ip), fresh.WithIP(ip); !slices.Equal(got, want) {
			t.Fatalf("WithIP(%s) = %v, want %v", ip, got, want)
		}
		if got, want := s.LinkByIndex('0'+i), fresh.LinkByIndex('0'+i); got != want {
			t.Fatalf("LinkByIndex = %v, want %v", got, want)
		}
	}
}
