package trace

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/bdd"
)

// someAspects are those of an IPv4 packet between three interfaces.
func someAspects() []aspect {
	return []aspect{
		{kind: aspectIface, word: "in", first: 0, bits: 2, names: []string{"eth0", "br0", "another interface"}},
		{kind: aspectProto, word: "proto", first: 2, bits: 8},
		{kind: aspectState, word: "ct state", first: 10, bits: 7},
		{kind: aspectAddr, word: "to", first: 17, bits: 32},
		{kind: aspectPort, word: "dport", first: 49, bits: 16},
		{kind: aspectAddr, word: "from", first: 65, bits: 32},
	}
}

// possible are the packets that there are: one interface of those listed, one state.
func possible(s *bdd.Space) bdd.Node {
	one := bdd.False
	for _, i := range []int{0, 1, 2, 3, 6} {
		is := bdd.True
		for k := range 7 {
			v := s.Var(10 + k)
			if k != i {
				v = s.Not(v)
			}
			is = s.And(is, v)
		}
		one = s.Or(one, is)
	}
	return s.And(one, s.Not(s.EqConst(s.Vars(0, 2), []byte{0xc0})))
}

func TestPhrase(t *testing.T) {
	s := bdd.New(0)
	as := someAspects()
	field := func(word string) bdd.Vec {
		a := as[slices.IndexFunc(as, func(a aspect) bool { return a.word == word })]
		return s.Vars(a.first, a.bits)
	}
	tcp := s.EqConst(field("proto"), []byte{6})
	ssh := s.And(tcp, s.EqConst(field("dport"), []byte{0, 22}))
	lab := s.Prefix(field("to"), []byte{10, 20}, 16)
	for _, c := range []struct {
		set  bdd.Node
		want string
	}{
		{bdd.True, "everything"},
		{ssh, "tcp dport 22"},
		{s.And(s.EqConst(field("in"), []byte{0}), ssh), "in eth0 tcp dport 22"},
		{s.Diff(ssh, s.EqConst(field("in"), []byte{0})), "in != eth0 tcp dport 22"},
		{s.And(lab, s.And(tcp, s.Var(11))), "to 10.20.0.0/16 tcp ct state established"},
		{s.Not(lab), "to != 10.20.0.0/16"},
		{s.InRange(field("from"), []byte{10, 0, 0, 3}, []byte{10, 0, 0, 9}), "from 10.0.0.3-10.0.0.9"},
		{s.Not(tcp), "proto != tcp"},
		{s.Or(s.And(tcp, lab), s.Diff(lab, s.EqConst(field("proto"), []byte{6}))), "to 10.20.0.0/16"},
		{s.Or(ssh, s.And(tcp, s.InRange(field("dport"), []byte{0x1f, 0x90}, []byte{0x1f, 0x9a}))), "tcp dport 22,8080-8090"},
		{s.Or(s.And(lab, ssh), s.Diff(tcp, lab)), "to != 10.20.0.0/16 tcp; to 10.20.0.0/16 tcp dport 22"},
	} {
		parts, whole := slabs(s, s.And(c.set, possible(s)), as, 20)
		var got []string
		for _, p := range parts {
			text, _ := phrase(s, as, p.at)
			got = append(got, text)
		}
		if text := strings.Join(got, "; "); text != c.want || !whole {
			t.Errorf("%q (whole %v), want %q", text, whole, c.want)
		}
	}
}

func TestICMPText(t *testing.T) {
	for ports, want := range map[string]string{
		"768-1023,2048-2303,2816-3327": "type 3,8,11-12", "!= 2048-2303": "type != 8", "769": "type 3/1", "769-1023": "type 3/1-3/255", "0-255,…": "type 0,…",
	} {
		if got := icmpText(ports); got != want {
			t.Errorf("%s is %q, want %q", ports, got, want)
		}
	}
}

// Slabs are disjoint and cover the set.
func TestSlabs(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	as := someAspects()
	for range 100 {
		s := bdd.New(0)
		set := bdd.False
		for range 4 {
			is := possible(s)
			for _, a := range as {
				if r.IntN(2) == 0 {
					v := make([]byte, (a.bits+7)/8)
					for i := range v {
						v[i] = byte(r.Uint32())
					}
					is = s.And(is, s.Prefix(s.Vars(a.first, a.bits), v, r.IntN(a.bits+1)))
				}
			}
			if set = s.Or(set, is); r.IntN(3) == 0 {
				set = s.Diff(possible(s), set)
			}
		}
		parts, whole := slabs(s, set, as, 1<<20)
		all := bdd.False
		for _, p := range parts {
			one := p.rest
			for _, at := range p.at {
				one = s.And(one, at)
			}
			if !s.Disjoint(all, one) {
				t.Fatal("slabs overlap")
			}
			all = s.Or(all, one)
			if text := witness(s, as, one); strings.Contains(text, "?") {
				t.Errorf("witness %q", text)
			}
		}
		if all != set || !whole {
			t.Fatalf("slabs do not cover the set (whole %v)", whole)
		}
	}
}
