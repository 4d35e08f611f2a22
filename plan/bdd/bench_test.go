package bdd

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// The variables of the synthetic ruleset, in the order that costs least on real ones: protocol, conntrack state (one-hot),
// then destination before source.
const (
	atProto = 0
	atState = 8
	atDst   = 13
	atDPort = 45
	atSrc   = 61
	atSPort = 93
)

// synthetic is rule i of the benchmark: from a host to a /24, a TCP port, new.
func synthetic(s *Space, i int) Node {
	x := uint32(i) * 2654435761
	src := binary.BigEndian.AppendUint32(nil, 0x0a000000|x>>8)
	dst := binary.BigEndian.AppendUint32(nil, 0xac100000|(x>>4)&0xfff<<8)
	port := binary.BigEndian.AppendUint16(nil, uint16(1+x%1000))
	m := s.EqConst(s.Vars(atSrc, 32), src)
	m = s.And(s.EqConst(s.Vars(atDPort, 16), port), m)
	m = s.And(s.Prefix(s.Vars(atDst, 32), dst, 24), m)
	m = s.And(s.Var(atState), m)
	return s.And(s.EqConst(s.Vars(atProto, 8), []byte{6}), m)
}

// BenchmarkChain is a chain of n rules that accept, then a drop: its matches, and the set it accepts.
func BenchmarkChain(b *testing.B) {
	for _, n := range []int{1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			s := New(1 << 26)
			for b.Loop() {
				s.Reset()
				chain(s, n)
			}
			if s.Err() != nil {
				b.Fatal(s.Err())
			}
			b.ReportMetric(float64(s.Size()), "nodes")
		})
	}
}

// chain runs everything through the rules.
func chain(s *Space, n int) (accepted Node) {
	rules := make([]Node, n)
	for i := range rules {
		rules[i] = synthetic(s, i)
	}
	left := True
	for _, m := range rules {
		accepted = s.Or(accepted, s.And(left, m))
		left = s.Diff(left, m)
	}
	return accepted
}

// BenchmarkEqConst is the commonest question: a field that is known.
func BenchmarkEqConst(b *testing.B) {
	s := New(0)
	packet := Const([]byte{10, 0, 7, 9})
	for b.Loop() {
		s.EqConst(packet, []byte{10, 0, 7, 9})
	}
}

// BenchmarkCube builds a match of plain variables that is there already.
func BenchmarkCube(b *testing.B) {
	s := New(0)
	v := s.Vars(0, 32)
	for b.Loop() {
		s.EqConst(v, []byte{10, 0, 7, 9})
	}
}

// BenchmarkOneOf builds a set of 10,000 ranges.
func BenchmarkOneOf(b *testing.B) {
	var lo, hi [][]byte
	for i := range uint32(10_000) {
		lo = append(lo, binary.BigEndian.AppendUint32(nil, i*400_000+i%7))
		hi = append(hi, binary.BigEndian.AppendUint32(nil, i*400_000+i%7+i%1000))
	}
	b.ReportAllocs()
	s := New(0)
	for b.Loop() {
		s.Reset()
		s.OneOf(s.Vars(0, 32), lo, hi)
	}
	b.ReportMetric(float64(s.Size()), "nodes")
}
