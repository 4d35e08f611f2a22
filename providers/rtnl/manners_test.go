package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

const pairUp = `
	link add v0 address 02:00:00:00:00:0a type veth peer name v1
	link set v0 up
	link set v1 up
	addr add 192.0.2.10/24 dev v0
`

// live returns the object as it is.
func (h *host) live(r schema.Ref) schema.Object {
	h.Helper()
	o := h.read().Get(r)
	if o == nil {
		h.Fatalf("%s is not there", r)
	}
	return o
}

func (h *host) link(name string) *schema.Link { return h.live(schema.LinkRef(name)).(*schema.Link) }

// change is a copy of a live link, changed.
func change(l *schema.Link, f func(*schema.Link)) *schema.Link {
	c := schema.Clone(l).(*schema.Link)
	f(c)
	return c
}

// An update that fails in the middle leaves nothing of itself.
func TestLinkUpdateIsUndone(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+"link add br0 address 02:00:00:00:00:b0 type bridge\nlink add br1 address 02:00:00:00:00:b1 type bridge\nlink set v0 master br0\nbridge link set dev v0 isolated on hairpin on", func(h *host) {
		for name, spoil := range map[string]func(*schema.Link){
			"unknown master":  func(l *schema.Link) { l.Master = new("nope") },
			"not a bridge":    func(l *schema.Link) { l.Master = new("v1") },
			"itself":          func(l *schema.Link) { l.Master = new("v0") },
			"MTU too large":   func(l *schema.Link) { l.MTU = new(uint32(100000)) },
			"multicast MAC":   func(l *schema.Link) { l.MAC = new("01:00:00:00:00:01") },
			"no MAC":          func(l *schema.Link) { l.MAC = new("x") },
			"long alias":      func(l *schema.Link) { l.Alias = new(strings.Repeat("x", 300)) },
			"state":           func(l *schema.Link) { l.Port.State = new("nonsense"); l.Master = new("br0"); l.Up = new(true) },
			"other type":      func(l *schema.Link) { l.Type = "bridge" },
			"up with bad MTU": func(l *schema.Link) { l.Up = new(false); l.MTU = new(uint32(1)) },
		} {
			l := h.link("v0")
			err := h.try(l, change(l, func(l *schema.Link) {
				l.Alias, l.Master, l.MTU, l.Up = new("half"), new("br1"), new(uint32(1400)), new(false)
				l.Port.Guard = new(true)
				spoil(l)
			}))
			if err == nil {
				t.Errorf("%s: succeeded", name)
				h.do(h.link("v0"), l)
				continue
			}
			after := h.link("v0")
			after.Port.State = l.Port.State
			if d := schema.Compare(after, l); len(d) > 0 {
				t.Errorf("%s: %v left %v behind", name, err, d)
			}
		}
	})
}

// A link whose creation fails in the middle is not there.
func TestLinkCreationIsUndone(t *testing.T) {
	t.Parallel()
	inHost(t, "", func(h *host) {
		start := h.read()
		h.refused(nil, &schema.Link{Name: "br0", Type: "bridge", Alias: new(strings.Repeat("x", 300))}, nil)
		if mayTun() {
			h.refused(nil, &schema.Link{Name: "tap0", Type: "tap", Master: new("nope")}, fs.ErrNotExist)
		}
		h.refused(nil, &schema.Link{Name: "a-name-of-16-chars", Type: "bridge"}, nil)
		h.refused(nil, &schema.Link{Name: "a-name-of-16-chars", Type: "tap"}, nil)
		h.refused(nil, &schema.Link{Name: "mv0", Type: "macvlan", Pair: "nope"}, fs.ErrNotExist)
		h.refused(nil, &schema.Link{Name: "eth9", Type: "device"}, errors.ErrUnsupported)
		h.same(start, h.read(), "at the end")
	})
}

// What changed meanwhile is not touched: compare-and-set.
func TestStale(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+"route add default via 192.0.2.1 src 192.0.2.10", func(h *host) {
		s := h.read()
		l := s.Link("v0")
		a := s.Get(schema.AddressRef("v0", prefixOf("192.0.2.10/24")))
		r := s.Get(schema.Ref{Kind: schema.KindRoute, Name: "main 0.0.0.0/0 via 192.0.2.1 dev v0"})
		h.ip("link set v0 mtu 1300\nroute replace default via 192.0.2.1 dev v0")
		h.refused(l, change(l, func(l *schema.Link) { l.Alias = new("x") }), nil)
		h.refused(l, nil, nil)
		h.refused(r, nil, nil)
		h.ip("addr del 192.0.2.10/24 dev v0")
		h.refused(a, nil, fs.ErrNotExist)
		err := h.try(l, nil)
		if want := `delete link/v0: it changed meanwhile: mtu is "1300", not "1500"`; err == nil || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	})
}

// The state of a port follows carrier; so it is no reason to refuse, unless it is what is to change.
func TestPortState(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+"link add br0 address 02:00:00:00:00:b0 type bridge\nlink set br0 up\nlink set v0 master br0", func(h *host) {
		l := h.link("v0")
		if *l.Port.State != "forwarding" {
			t.Fatalf("state %s", *l.Port.State)
		}
		off := change(l, func(l *schema.Link) { l.Port.State = new("disabled") })
		h.do(l, off)
		if got := h.out("bridge -d link show dev v0 | grep -o 'state [a-z]*'"); got != "state disabled" {
			t.Errorf("bridge(8) says %q", got)
		}
		now := h.link("v0")
		h.do(inState(now, "forwarding"), change(inState(now, "forwarding"), func(l *schema.Link) { l.Port.Isolated = new(true) }))
		now = h.link("v0")
		if *now.Port.State != "disabled" || !*now.Port.Isolated {
			t.Errorf("state %s, isolated %v", *now.Port.State, *now.Port.Isolated)
		}
		h.do(now, inState(now, "forwarding"))
		if got := *h.link("v0").Port.State; got != "forwarding" {
			t.Errorf("state %s", got)
		}
		h.refused(off, l, nil) // it is not disabled any more
	})
}

// inState is a link whose port is in another state.
func inState(l *schema.Link, state string) *schema.Link {
	return change(l, func(l *schema.Link) { l.Port.State = &state })
}

// A bridge that was given an address and an MTU keeps them when its ports come and go.
func TestBridgeKeepsItsOwn(t *testing.T) {
	t.Parallel()
	inHost(t, "link add v0 address 02:00:00:00:00:0a mtu 1300 type veth peer name v1", func(h *host) {
		h.do(nil, &schema.Link{Name: "br0", Type: "bridge", MAC: new("02:00:00:00:00:b0"), MTU: new(uint32(1500))})
		h.do(nil, &schema.Link{Name: "br1", Type: "bridge"})
		for _, br := range []string{"br0", "br1"} {
			l := h.link("v0")
			h.do(l, change(l, func(l *schema.Link) { l.Master, l.Port = &br, nil }))
		}
		l := h.link("br0")
		if *l.MTU != 1500 || *l.MAC != "02:00:00:00:00:b0" || !*l.MACPinned {
			t.Errorf("br0 is now %v", l)
		}
		l = h.link("br1")
		if *l.MTU != 1300 || *l.MAC != "02:00:00:00:00:0a" || *l.MACPinned {
			t.Errorf("br1 is now %v, pinned %v", l, *l.MACPinned)
		}
		// Its address follows the ports, so another one is no reason to refuse. Pinning keeps it from then on.
		h.do(change(l, func(l *schema.Link) { l.MAC = new("02:00:00:00:00:99") }), change(l, func(l *schema.Link) { l.MAC = new("02:00:00:00:00:99"); l.Alias = new("x") }))
		l = h.link("br1")
		h.do(l, change(l, func(l *schema.Link) { l.MACPinned = new(true) }))
		if !*h.link("br1").MACPinned {
			t.Error("br1 is not pinned")
		}
		v := h.link("v0")
		h.do(v, change(v, func(l *schema.Link) { l.Master, l.Port = new(""), nil }))
		if got := *h.link("br1").MAC; got != "02:00:00:00:00:0a" {
			t.Errorf("br1 has the address %s", got)
		}
		// Unpinning is a no-op.
		l = h.link("br1")
		h.do(l, change(l, func(l *schema.Link) { l.MACPinned = new(false) }))
	})
}

// A default route that moves to another device is made before it is broken, in both families.
func TestMakeBeforeBreak(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+`
		link add v2 type veth peer name v3
		link set v2 up
		link set v3 up
		addr add 192.0.2.20/24 dev v2
		route add default via 192.0.2.1 dev v0 metric 100 initcwnd 30
		-6 route add default via fe80::1 dev v0 metric 100
	`, func(h *host) {
		start := h.read()
		for _, name := range []string{"main 0.0.0.0/0 via 192.0.2.1 dev v0 metric 100", "main ::/0 via fe80::1 dev v0 metric 100"} {
			old := h.live(schema.Ref{Kind: schema.KindRoute, Name: name}).(*schema.Route)
			moved := schema.Clone(old).(*schema.Route)
			moved.Link, moved.Facts = "v2", nil
			h.do(nil, moved)
			h.refused(nil, moved, fs.ErrExist)
			if old.Dst.Addr().Is4() {
				if got := h.out("ip route get 203.0.113.1 | grep -o 'dev [^ ]*'"); got != "dev v2" {
					t.Errorf("the new route is not in front: %s", got)
				}
			}
			h.do(old, nil)
			h.refused(old, nil, fs.ErrNotExist)
			if got := h.read().Get(moved.Ref()); got == nil || schema.Equal(got, old) {
				t.Errorf("after the move: %v", got)
			}
			if old.Dst.Addr().Is4() && !strings.Contains(h.out("ip route show default"), "initcwnd 30") {
				t.Error("initcwnd was lost on the way")
			}
			// And back, in the same way.
			h.do(nil, old)
			h.do(moved, nil)
		}
		h.same(start, h.read(), "at the end")
	})
}

// Of routes that differ in their device or gateway only, the one meant is changed and deleted.
func TestTwinRoutes(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+`
		addr add 192.0.2.11/24 dev v0
		addr add 2001:db8::10/64 dev v0 nodad
		route add default via 192.0.2.1 dev v0 metric 100
		route append default via 192.0.2.2 dev v0 metric 100
		route append default via 192.0.2.3 dev v0 metric 100
		route add default via 192.0.2.2 dev v0 metric 200
		-6 route add 2001:db8:1::/48 dev v0
		-6 route append 2001:db8:1::/48 dev v1
	`, func(h *host) {
		start := h.read()
		for name, src := range map[string]string{
			"main 0.0.0.0/0 via 192.0.2.2 dev v0 metric 100": "192.0.2.11",
			"main 0.0.0.0/0 via 192.0.2.3 dev v0 metric 100": "192.0.2.11",
			"main 2001:db8:1::/48 dev v1 metric 1024":        "2001:db8::10",
		} {
			old := h.live(schema.Ref{Kind: schema.KindRoute, Name: name}).(*schema.Route)
			updated := schema.Clone(old).(*schema.Route)
			updated.Source, updated.Proto = addr(src), new(uint8(schema.ProtoVMNET))
			h.do(old, updated)
			s := start.Clone()
			s.Put(updated)
			h.same(s, h.read(), "after an update")
			h.do(updated, old)
			h.same(start, h.read(), "after its undo")
			h.do(old, nil)
			s.Delete(old.Ref())
			h.same(s, h.read(), "after a deletion")
			h.do(nil, old)
			h.same(start, h.read(), "after its undo")
		}
	})
}

// Everything a route carries comes back, also what vmnet does not understand; also routes the kernel made.
func TestRoutesComeBack(t *testing.T) {
	t.Parallel()
	inHost(t, rich()+"rule del pref 101", func(h *host) { // which hides the main table
		start := h.read()
		// Local routes of link-local addresses come when duplicate address detection is done with them, and what expires does so meanwhile.
		routes := func(ip string) string {
			return h.out(ip + " route show table all | grep -v '^local fe80::' | sed 's/ expires [0-9]*sec//' | sort")
		}
		six, four := routes("ip -6"), routes("ip")
		for r := range schema.Each[*schema.Route](start) {
			if r.Dst.Addr().Is6() && (r.Metric == 0 || r.Table == schema.TableLocal || r.Facts.Expires > 0) {
				continue // of the local table: the kernel's own
			}
			if r.Table == schema.TableLocal {
				continue
			}
			h.do(r, nil)
			if h.read().Get(r.Ref()) != nil {
				t.Errorf("%s is still there", r.Ref())
			}
			h.do(nil, r)
		}
		h.same(start, h.read(), "at the end")
		if got := routes("ip -6"); got != six {
			t.Errorf("got\n%s\nwant\n%s", got, six)
		}
		if got := routes("ip"); got != four {
			t.Errorf("got\n%s\nwant\n%s", got, four)
		}
	})
}

// Everything else comes back, too.
func TestOthersComeBack(t *testing.T) {
	t.Parallel()
	inHost(t, rich(), func(h *host) {
		start := h.read()
		rules := h.out("ip rule; ip -6 rule")
		for o := range start.All() {
			switch v := o.(type) {
			case *schema.PolicyRule:
				if v.Priority == 0 {
					continue // without the rule of the local table, nothing works
				}
			case *schema.Neighbour:
				if !*v.Permanent && !v.Proxy {
					continue
				}
			case *schema.FDBEntry:
				if v.State != "static" && !strings.HasSuffix(v.MAC, ":23") {
					continue
				}
			default:
				continue
			}
			h.do(o, nil)
			if h.read().Get(o.Ref()) != nil {
				t.Errorf("%s is still there", o.Ref())
			}
			h.do(nil, o)
		}
		h.same(start, h.read(), "at the end")
		if got := h.out("ip rule; ip -6 rule"); got != rules {
			t.Errorf("got\n%s\nwant\n%s", got, rules)
		}
	})
}

// The kernel deletes the first rule that has what is asked for: a rule it would confuse with another is not deleted.
func TestRuleNotMistaken(t *testing.T) {
	t.Parallel()
	inHost(t, "rule add pref 100 from 10.0.0.0/8 lookup 7", func(h *host) {
		// ip(8) would refuse to add this one; others do not ask.
		if err := h.p.addRule(t.Context(), &schema.PolicyRule{Family: "ip", Priority: 100, Table: 7}, 0); err != nil {
			t.Fatal(err)
		}
		s := h.read()
		general := s.Get(schema.Ref{Kind: schema.KindPolicyRule, Name: "ip 100: from all lookup 7"})
		special := s.Get(schema.Ref{Kind: schema.KindPolicyRule, Name: "ip 100: from 10.0.0.0/8 lookup 7"})
		h.refused(general, nil, errors.ErrUnsupported)
		h.do(special, nil)
		h.do(general, nil)
	})
}

// What was learned gives way to what is set, and may be deleted.
func TestLearnedNeighbour(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp+"neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev v0 nud stale", func(h *host) {
		learned := h.live(schema.Ref{Kind: schema.KindNeighbour, Name: "v0 192.0.2.5"})
		h.do(nil, &schema.Neighbour{Link: "v0", IP: addr("192.0.2.5"), MAC: new("02:00:00:00:00:06"), Permanent: new(true)})
		h.refused(learned, nil, nil)
		h.do(h.live(learned.Ref()), nil)
	})
}

// An address cannot change its scope in place, and says so.
func TestAddressInPlace(t *testing.T) {
	t.Parallel()
	inHost(t, pairUp, func(h *host) {
		a := h.live(schema.AddressRef("v0", prefixOf("192.0.2.10/24"))).(*schema.Address)
		b := schema.Clone(a).(*schema.Address)
		b.Scope = new("link")
		h.refused(a, b, errors.ErrUnsupported)
		h.refused(nil, &schema.Address{Link: "nope", Prefix: prefixOf("192.0.2.1/24")}, fs.ErrNotExist)
		h.refused(nil, &schema.Route{Table: 254, Dst: prefixOf("2001:db8::/32"), Link: "v0"}, nil)
		if err := setSysctl("net/ipv6/conf/v0/disable_ipv6", "1"); err != nil {
			t.Fatal(err)
		}
		err := h.try(nil, &schema.Address{Link: "v0", Prefix: prefixOf("2001:db8::1/64")})
		if err == nil || errors.Is(err, fs.ErrPermission) || !errors.Is(err, unix.EACCES) {
			t.Errorf("error %v, want the kernel's EACCES that is not about privileges", err)
		}
	})
}

// While links come and go, each reading is complete: the links that stay are always there, with their addresses.
func TestReadDuringChanges(t *testing.T) {
	t.Parallel()
	var setup strings.Builder
	const stay = 100
	for i := range stay {
		fmt.Fprintf(&setup, "link add s%d type bridge\naddr add 10.0.%d.1/24 dev s%d\n", i, i, i)
	}
	inHost(t, setup.String(), func(h *host) {
		other, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		ctx, stop := context.WithCancel(t.Context())
		var churn sync.WaitGroup
		churn.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l := &schema.Link{Name: fmt.Sprintf("c%d", i%3), Type: "bridge", Up: new(true)}
				for _, c := range []schema.Change{{Ref: l.Ref(), After: l}, {Ref: l.Ref(), Before: l}} {
					if err := other.Do(ctx, c); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			}
		})
		defer churn.Wait()
		defer stop()
		for range 30 {
			objects, err := h.p.Read(t.Context())
			if err != nil {
				if !errors.Is(err, errInterrupted) {
					t.Fatal(err)
				}
				continue
			}
			s := schema.NewState(objects...)
			for i := range stay {
				name := fmt.Sprintf("s%d", i)
				if s.Link(name) == nil || s.Get(schema.AddressRef(name, prefixOf(fmt.Sprintf("10.0.%d.1/24", i)))) == nil {
					t.Fatalf("%s or its address is missing", name)
				}
			}
		}
	})
}

// A Provider stays in its namespace, whoever calls it.
func TestStaysInNamespace(t *testing.T) {
	t.Parallel()
	inHost(t, "link add br0 type bridge", func(h *host) {
		done := make(chan *schema.State)
		go func() { // on another thread, which is elsewhere
			objects, err := h.p.Read(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- schema.NewState(objects...)
		}()
		s := <-done
		if l := s.Link("br0"); l == nil || l.MACPinned == nil {
			t.Errorf("br0 is %v", l)
		}
	})
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	inHost(t, "", func(h *host) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.p.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Read: %v", err)
		}
		l := &schema.Link{Name: "br0", Type: "bridge"}
		if err := h.p.Do(ctx, schema.Change{Ref: l.Ref(), After: l}); !errors.Is(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
		h.read() // the socket is as good as before
	})
}

// A transmit queue that holds bytes and sends nothing is stuck; one without carrier, or at work, is not.
func TestStuckQueue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"eno1/queues/tx-0/tx_timeout": "3\n", "eno1/queues/tx-1/tx_timeout": "4\n", "eno1/queues/rx-0/tx_timeout": "9\n",
		"eno1/queues/tx-1/byte_queue_limits/inflight": "1514\n", "eno1/statistics/tx_packets": "77\n",
		"eno2/queues/tx-0/tx_timeout": "0\n", "eno2/queues/tx-0/byte_queue_limits/inflight": "0\n", "eno2/statistics/tx_packets": "1\n",
		"eno3/queues/tx-0/byte_queue_limits/inflight": "1514\n", "eno3/statistics/tx_packets": "1\n",
	} {
		path := filepath.Join(dir, "class/net", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := sysfs{fd, true}
	defer s.close()
	link := func(name string, carrier bool) *schema.Link {
		return &schema.Link{Name: name, Type: "device", Facts: &schema.LinkFacts{Carrier: carrier}}
	}
	links := []*schema.Link{link("eno1", true), link("eno2", true), link("eno3", false)}
	s.queues(t.Context(), links)
	for i, want := range []schema.LinkFacts{
		{Carrier: true, TxTimeouts: 7, TxQueueStopped: true},
		{Carrier: true},
		{},
	} {
		if !cmp.Equal(*links[i].Facts, want) {
			t.Errorf("%s: %+v, want %+v", links[i].Name, *links[i].Facts, want)
		}
	}
}

// A sysfs of another namespace is not believed.
func TestForeignSysfs(t *testing.T) {
	t.Parallel()
	inHost(t, "link add br0 address 02:00:00:00:00:b0 type bridge", func(h *host) {
		s := sysfs{dir: h.p.sys.dir}
		l := h.link("br0")
		if !s.shows(l) {
			t.Error("our own sysfs is not believed")
		}
		if s.shows(change(l, func(l *schema.Link) { l.Facts.Index++ })) || s.shows(change(l, func(l *schema.Link) { l.MAC = new("02:00:00:00:00:b1") })) {
			t.Error("a foreign sysfs is believed")
		}
		if (sysfs{dir: -1}).shows(l) {
			t.Error("no sysfs is believed")
		}
	})
}
