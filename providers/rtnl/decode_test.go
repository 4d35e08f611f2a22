package rtnl

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

var update = flag.Bool("update", false, "read the seeds of the fuzz targets from the kernel again")

// decoders are what is fuzzed: a message to an object, and back for those that are written.
type decoder struct {
	target string // of the fuzz test, and the folder of its seeds
	typ    uint16
	header func(family uint8) []byte
	family []uint8
	// again decodes, encodes and decodes again; ok is false for a message that is none.
	again func(b []byte) (first, second schema.Object, ok bool, err error)
}

func decoders() []decoder {
	family := []uint8{unix.AF_INET, unix.AF_INET6}
	short := func(n int) func(uint8) []byte {
		return func(f uint8) []byte { b := make([]byte, n); b[0] = f; return b }
	}
	return []decoder{
		{"FuzzLink", unix.RTM_GETLINK, short(unix.SizeofIfInfomsg), []uint8{0}, linkAgain},
		{"FuzzAddress", unix.RTM_GETADDR, short(unix.SizeofIfAddrmsg), family, addressAgain},
		{"FuzzRoute", unix.RTM_GETROUTE, short(unix.SizeofRtMsg), family, routeAgain},
		{"FuzzRule", unix.RTM_GETRULE, short(sizeofRuleHeader), family, ruleAgain},
		{"FuzzNeighbour", unix.RTM_GETNEIGH, short(unix.SizeofNdMsg), []uint8{0}, neighbourAgain},
		{"FuzzFDB", unix.RTM_GETNEIGH, short(unix.SizeofNdMsg), []uint8{unix.AF_BRIDGE}, fdbAgain},
		{"FuzzNextHop", unix.RTM_GETNEXTHOP, short(8), []uint8{0}, nextHopAgain},
	}
}

func linkAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	l, ok := decodeLink(b)
	if !ok {
		return nil, nil, false, nil
	}
	return l.Link, l.Link, true, nil
}

func nextHopAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	h, ok := decodeNextHop(b, few())
	r := &schema.Route{OnLink: new(false)}
	spell(r, h, map[uint32]hop{h.id: h})
	return r, r, ok, nil
}

// again is the common part of the others.
func again[T any, P interface {
	*T
	schema.Object
}](b []byte, decode func([]byte) (P, bool), encode func(P) (*message, error)) (first, second schema.Object, ok bool, err error) {
	o, ok := decode(b)
	if !ok {
		return nil, nil, false, nil
	}
	m, err := encode(o)
	if err != nil {
		return o, nil, true, err
	}
	p, ok := decode(m.b)
	if !ok {
		return o, nil, true, fmt.Errorf("what was encoded is not decoded: %x", m.b)
	}
	return o, p, true, nil
}

func addressAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	return again(b,
		func(b []byte) (*schema.Address, bool) { return decodeAddress(b, few()) },
		func(a *schema.Address) (*message, error) { return encodeAddress(a, index(a.Link)) })
}

func ruleAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	return again(b, decodeRule, encodeRule)
}

func neighbourAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	return again(b,
		func(b []byte) (*schema.Neighbour, bool) { return decodeNeighbour(b, few()) },
		func(e *schema.Neighbour) (*message, error) { return encodeNeighbour(e, index(e.Link)) })
}

func fdbAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	return again(b,
		func(b []byte) (*schema.FDBEntry, bool) { return decodeFDB(b, few()) },
		func(e *schema.FDBEntry) (*message, error) { return encodeFDB(e, index(e.Link)) })
}

func routeAgain(b []byte) (schema.Object, schema.Object, bool, error) {
	return again(b,
		func(b []byte) (*schema.Route, bool) {
			r, ok := decodeRoute(b, few())
			return r.Route, ok
		},
		func(r *schema.Route) (*message, error) {
			e := routeEncoder{index: map[string]int{}}
			for _, dev := range r.Devices() {
				e.index[dev] = index(dev)
			}
			return e.encode(r)
		})
}

// index is the number in a name that few made.
func index(name string) int {
	n, err := strconv.ParseInt(strings.TrimPrefix(name, "#"), 10, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

// TestRoundTrip decodes what the kernel once sent, encodes it and decodes it again: nothing may be lost.
func TestRoundTrip(t *testing.T) {
	if *update {
		updateSeeds(t)
	}
	for _, d := range decoders() {
		seeds, err := filepath.Glob(filepath.Join("testdata/fuzz", d.target, "kernel-*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", d.target, err)
		}
		for _, name := range seeds {
			b := readSeed(t, name)
			first, second, ok, err := d.again(b)
			if !ok {
				t.Errorf("%s: not decoded", name)
				continue
			}
			if n, isNeighbour := first.(*schema.Neighbour); isNeighbour && !*n.Permanent && !n.Proxy {
				continue // learned: never written as it is
			}
			if r, isRoute := first.(*schema.Route); isRoute && (len(r.Other) > 0) {
				first, second = loose(r), loose(second.(*schema.Route))
			}
			if f, isFDB := first.(*schema.FDBEntry); isFDB {
				f.Master = second.(*schema.FDBEntry).Master // the kernel knows the port's
			}
			if err != nil {
				t.Errorf("%s: %v: %v", name, first, err)
			} else if diff := cmp.Diff(facts(first), facts(second), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("%s: %v: (-decoded +decoded again)\n%s", name, first, diff)
			}
		}
	}
}

// loose is a route without what a nexthop object stands for.
func loose(r *schema.Route) *schema.Route {
	c := schema.Clone(r).(*schema.Route)
	if bytes.Contains(c.Other, []byte{8, 0, rtaNHID, 0}) {
		c.NextHops, c.Gateway, c.Link = nil, netip.Addr{}, ""
	}
	return c
}

// facts leaves out what the kernel adds.
func facts(o schema.Object) schema.Object {
	c := schema.Clone(o)
	switch v := c.(type) {
	case *schema.Address:
		v.Facts = nil
	case *schema.Route:
		v.Facts = nil
		if v.Type != "" && v.Dst.Addr().Is6() {
			v.Link = ""
		}
	}
	return c
}

// updateSeeds fills testdata with messages of a rich namespace: one of each shape.
func updateSeeds(t *testing.T) {
	t.Helper()
	inHost(t, rich(), func(h *host) {
		for _, d := range decoders() {
			shapes := map[string][]byte{}
			for _, f := range d.family {
				_, err := dump(t.Context(), h.p.conn, d.typ, d.header(f), func(b []byte) (bool, bool) {
					shapes[shape(b, len(d.header(f)))] = slices.Clone(b)
					return false, false
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			dir := filepath.Join("testdata/fuzz", d.target)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for s, b := range shapes {
				name := fmt.Sprintf("kernel-%.4x", sha256.Sum256([]byte(s)))
				text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", b)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// shape is the attributes that a message has, and a little of its header.
func shape(b []byte, header int) string {
	s := fmt.Sprint(b[0])
	if header == unix.SizeofRtMsg || header == sizeofRuleHeader {
		s += fmt.Sprint(b[7])
	}
	for t, v := range attrs(b[header:]) {
		s += fmt.Sprint(" ", t)
		if header == unix.SizeofIfInfomsg && t == unix.IFLA_LINKINFO {
			for t, v := range attrs(v) {
				s += fmt.Sprint("/", t)
				if t == unix.IFLA_INFO_KIND {
					s += str(v)
				}
			}
		}
	}
	return s
}

func readSeed(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	quoted := strings.TrimSuffix(strings.TrimPrefix(string(text), "go test fuzz v1\n[]byte("), ")\n")
	b, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return []byte(b)
}

// The fuzz targets feed messages that no kernel would send: nothing may panic, and what was decoded has a name.
func fuzz(f *testing.F, target string) {
	f.Helper()
	i := slices.IndexFunc(decoders(), func(d decoder) bool { return d.target == target })
	d := decoders()[i]
	f.Fuzz(func(t *testing.T, b []byte) {
		first, second, ok, err := d.again(b)
		if ok && (first.String() == "" || first.Ref().Name == "") {
			t.Errorf("%x decoded to %#v", b, first)
		}
		if ok && err == nil {
			_ = second.Ref()
		}
	})
}

func FuzzLink(f *testing.F)      { fuzz(f, "FuzzLink") }
func FuzzAddress(f *testing.F)   { fuzz(f, "FuzzAddress") }
func FuzzRoute(f *testing.F)     { fuzz(f, "FuzzRoute") }
func FuzzRule(f *testing.F)      { fuzz(f, "FuzzRule") }
func FuzzNeighbour(f *testing.F) { fuzz(f, "FuzzNeighbour") }
func FuzzFDB(f *testing.F)       { fuzz(f, "FuzzFDB") }
func FuzzNextHop(f *testing.F)   { fuzz(f, "FuzzNextHop") }

// FuzzError feeds answers that say what went wrong.
func FuzzError(f *testing.F) {
	answer := native.AppendUint32(nil, 0xffffffea) // EINVAL
	answer = append(answer, make([]byte, unix.SizeofNlMsghdr)...)
	m := &message{answer}
	m.str(unix.NLMSGERR_ATTR_MSG, "Invalid prefix for given prefix length")
	f.Add(m.b)
	f.Add(m.b[:7])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := acknowledged(part{typ: unix.NLMSG_ERROR, flags: unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS, body: b}); err != nil && err.Error() == "" {
			t.Errorf("%x is an error without words", b)
		}
	})
}
