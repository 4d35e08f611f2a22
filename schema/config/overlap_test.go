package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for f := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

func TestAggregate(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", "[]"},
		{"10.0.1.0/24 10.0.0.0/24", "[10.0.0.0/23]"},
		{"10.0.1.0/24 10.0.2.0/24", "[10.0.1.0/24 10.0.2.0/24]"},
		{"10.0.0.0/24 10.0.1.0/24 10.0.2.0/24 10.0.3.0/24", "[10.0.0.0/22]"},
		{"10.0.0.0/8 10.0.5.0/24 10.0.0.0/8", "[10.0.0.0/8]"},
		{"fd00:1::/64 10.0.0.0/24 fd00:1:0:1::/64", "[10.0.0.0/24 fd00:1::/63]"},
		{"0.0.0.0/1 128.0.0.0/1", "[0.0.0.0/0]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(aggregate(prefixes(tt.in))); got != tt.want {
			t.Errorf("aggregate(%s) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, out, want string }{
		{"10.0.0.0/22", "10.0.1.0/24", "[10.0.0.0/24 10.0.2.0/23]"},
		{"10.0.0.0/24 10.0.1.0/24", "10.0.1.0/24", "[10.0.0.0/24]"},
		{"10.0.0.0/24 10.0.1.0/24", "10.0.0.0/16", "[]"},
		{"10.0.0.0/24", "fd00::/64", "[10.0.0.0/24]"},
		{"fd00::/63", "fd00::/64", "[fd00:0:0:1::/64]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(without(prefixes(tt.in), netip.MustParsePrefix(tt.out))); got != tt.want {
			t.Errorf("without(%s, %s) = %s, want %s", tt.in, tt.out, got, tt.want)
		}
	}
}

// Whatever is joined and taken out, the same addresses stay.
func TestAggregateKeepsAddresses(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var in []netip.Prefix
		for range rnd.IntN(20) {
			in = append(in, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(256))}), 24+rnd.IntN(9)).Masked())
		}
		drop := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(256))}), 24+rnd.IntN(9)).Masked()
		joined := aggregate(in)
		left := without(joined, drop)
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if has(in, a) != has(joined, a) || has(left, a) != (has(in, a) && !drop.Contains(a)) {
				t.Fatalf("%v joined %v, without %v %v: wrong about %s", in, joined, drop, left, a)
			}
		}
	}
}

func has(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// How the ends of policies relate, in the words of the language: "a meets b" and "a holds b".
func TestEndsRelate(t *testing.T) {
	t.Parallel()
	k := &comparer{
		networkOf: map[string]string{"guest.g": "nat.lab"},
		inside:    prefixes("10.0.0.0/24 10.1.0.0/24"), hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}
	ends := map[string]schema.Endpoint{
		"lab": {Kind: "network", Address: "nat.lab", Prefixes: prefixes("10.0.0.0/24")},
		"dev": {Kind: "network", Address: "nat.dev", Prefixes: prefixes("10.1.0.0/24")},
		"g":   {Kind: "guest", Address: "guest.g", Prefixes: prefixes("10.0.0.5/32")},
	}
	end := func(s string) schema.Endpoint {
		if e, ok := ends[s]; ok {
			return e
		}
		if strings.Contains(s, "/") {
			return schema.Endpoint{Kind: "prefix", Prefixes: prefixes(s)}
		}
		return schema.Endpoint{Kind: s}
	}
	tests := []struct {
		a, b         string
		meets, holds bool
	}{
		{"any", "host", true, true},
		{"host", "any", true, false},
		{"host", "host", true, true},
		{"host", "lab", false, false},
		{"host", "outside", false, false},
		{"10.0.0.0/24", "host", true, false},
		{"lab", "g", true, true},
		{"g", "lab", true, false},
		{"dev", "g", false, false},
		{"lab", "dev", false, false},
		{"lab", "lab", true, true},
		{"outside", "lab", false, false},
		{"outside", "203.0.113.0/24", true, true},
		{"outside", "10.0.0.0/8", true, false},
		{"outside", "10.0.0.0/25", false, false},
		{"203.0.113.0/24", "outside", true, false},
		{"10.0.0.0/8", "lab", true, true},
		{"10.0.0.0/25", "lab", true, false},
		{"10.0.0.0/25", "g", true, true},
		{"10.0.0.0/25", "10.0.0.128/25", false, false},
	}
	for _, tt := range tests {
		if got := k.meets(end(tt.a), end(tt.b)); got != tt.meets {
			t.Errorf("%s meets %s: %v, want %v", tt.a, tt.b, got, tt.meets)
		}
		if got := k.holds(end(tt.a), end(tt.b)); got != tt.holds {
			t.Errorf("%s holds %s: %v, want %v", tt.a, tt.b, got, tt.holds)
		}
	}
}
