package hosttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// Differ makes random changes, sensible and senseless ones, to a host and to sim until limit is over, and fails at the first
// after which they are not the same. The seed alone decides what is tried; it is printed with a failure.
func Differ(t testing.TB, h Host, seed uint64, limit time.Duration) {
	t.Helper()
	s := newScene(t, h)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	s.log = append(s.log, fmt.Sprintf("seed %d", seed))
	end := time.Now().Add(limit)
	made := 0
	for time.Now().Before(end) {
		c := r.change(s.live)
		if c.Before != nil && c.After != nil && schema.Equal(c.Before, c.After) {
			continue // nothing to do: whether that is refused is nobody's business
		}
		if _, _, err := sim.Cascade(s.model, c); errors.Is(err, sim.ErrUnmodelled) {
			continue
		}
		if s.do(c) == nil {
			made++
		}
	}
	t.Logf("seed %d: %d changes, %d of them refused", seed, len(s.log)-1, len(s.log)-1-made)
}

// random chooses changes.
type random struct{ *rand.Rand }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

// maybe is &v half of the time, else nil.
func maybe[T any](r random, v T) *T {
	if r.IntN(2) == 0 {
		return nil
	}
	return &v
}

func (r random) change(s *schema.State) schema.Change {
	c := r.wish(s)
	if r.IntN(12) == 0 && c.Before != nil {
		if other := altered(c.Before); other != nil {
			c.Before = other
		}
	}
	return c
}

// wish creates, deletes or updates something: what is there is more often updated or deleted, what is not is created.
func (r random) wish(s *schema.State) schema.Change {
	o := r.object()
	live := s.Get(o.Ref())
	if _, ok := o.(*schema.Sysctl); ok {
		return schema.Change{Ref: o.Ref(), Before: live, After: o}
	}
	switch {
	case live == nil && r.IntN(10) > 0:
		return schema.Change{Ref: o.Ref(), After: o}
	case live == nil:
		return schema.Change{Ref: o.Ref(), Before: whole(o)}
	case r.IntN(10) == 0:
		return schema.Change{Ref: o.Ref(), After: o}
	case r.IntN(3) == 0:
		return schema.Change{Ref: o.Ref(), Before: live}
	}
	return r.update(live, o)
}

// whole makes sure that altered finds what it alters.
func whole(o schema.Object) schema.Object {
	if l, ok := o.(*schema.Link); ok && l.MTU == nil {
		l.MTU = new(uint32(1500))
	}
	return o
}

func (r random) update(live, o schema.Object) schema.Change {
	switch v := o.(type) {
	case *schema.Link:
		want := r.linkUpdate(v.Name, live.(*schema.Link))
		return schema.Change{Ref: o.Ref(), Before: live, After: schema.Merge(live, want)}
	case *schema.PolicyRule:
		return schema.Change{Ref: o.Ref(), Before: live}
	}
	return schema.Change{Ref: o.Ref(), Before: live, After: schema.Merge(live, o)}
}

func (r random) object() schema.Object {
	switch n := r.IntN(100); {
	case n < 45:
		return r.link()
	case n < 65:
		return r.address()
	case n < 82:
		return r.route()
	case n < 88:
		return &schema.Neighbour{Link: r.device(), IP: ip(pick(r, "10.0.0.7", "10.1.0.7", "2001:db8::7")), MAC: new(pick(r, "02:00:00:00:00:07", "02:00:00:00:00:08")), Permanent: new(true)}
	case n < 96:
		return r.sysctl()
	}
	return &schema.PolicyRule{Family: pick(r, "ip", "ip6"), Priority: uint32(100 + r.IntN(2)), Mark: 1, Mask: 0xff, Table: 100, Proto: new(uint8(118))}
}

// device is a link that may or may not be there.
func (r random) device() string { return pick(r, "br0", "br1", "v0", "v1", "w0", "w1", "v0", "br0") }

func (r random) mac() string { return fmt.Sprintf("02:00:00:00:00:%02x", 0x10+r.IntN(40)) }

// link is one to create. It is not up at once: then the kernel would make an address of a hardware address that it chose by
// itself.
func (r random) link() *schema.Link {
	switch name := r.device(); name {
	case "br0", "br1":
		l := &schema.Link{Name: name, Type: "bridge", MAC: maybe(r, r.mac()), MTU: maybe(r, pick[uint32](r, 1400, 1500))}
		if l.MAC != nil {
			l.Up = maybe(r, true)
		}
		return l
	case "v1", "w1":
		return &schema.Link{Name: name, Type: "veth", Pair: name[:1] + "0"}
	default:
		l := &schema.Link{Name: name, Type: "veth", Pair: name[:1] + "1", MAC: maybe(r, r.mac())}
		if l.MAC != nil { // else a bridge would follow an address that the kernel chose by itself
			l.Master = maybe(r, "br0")
		}
		return l
	}
}

// linkUpdate leaves STP and the state of ports alone: both take their time.
func (r random) linkUpdate(name string, live *schema.Link) *schema.Link {
	l := &schema.Link{Name: name}
	if live.Up != nil && *live.Up && r.IntN(4) == 0 {
		// Alone: a change that takes a link down and then fails cannot bring back what went with it.
		l.Up = new(false)
		return l
	}
	for range 1 + r.IntN(2) {
		switch n := r.IntN(100); {
		case n < 45:
			l.Up = new(true)
		case n < 65:
			l.Master = new(pick(r, "", "br0", "br1", "br0", "br1", "v0", "nosuch"))
			if live.Bridge != nil || *l.Master == "v0" || *l.Master == "nosuch" {
				// Alone, and not out of another bridge, for the same reason.
				if live.Master == nil || *live.Master != "" {
					return &schema.Link{Name: name}
				}
				return &schema.Link{Name: name, Master: l.Master}
			}
		case n < 75:
			l.MTU = new(pick[uint32](r, 1000, 1279, 1280, 1400, 1500, 9000))
		case n < 84:
			l.MAC = new(r.mac())
		case n < 85:
			return &schema.Link{Name: name, MAC: new(pick(r, "00:00:00:00:00:00", "01:00:00:00:00:00"))}
		case n < 86:
			return &schema.Link{Name: name, MTU: new(uint32(20))}
		case n < 90:
			l.Alias = new(pick(r, "", "vmnet:bridge.lan", "x"))
		case n < 95 && live.Port != nil:
			l.Port = &schema.Port{Isolated: maybe(r, true), Learning: maybe(r, false), Hairpin: maybe(r, true)}
		case live.Bridge != nil:
			l.Bridge = &schema.Bridge{ForwardDelay: maybe(r, pick[uint32](r, 0, 1500)), McastSnoop: maybe(r, r.IntN(2) == 0)}
		}
	}
	return l
}

func (r random) address() *schema.Address {
	a := &schema.Address{Link: r.device(), Proto: new(pick[uint8](r, 0, 118))}
	if r.IntN(3) > 0 {
		a.Prefix = prefix(pick(r, "10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.1.0.1/24", "10.2.0.1/32", "10.3.0.0/31", "10.0.9.1/16"))
		a.NoPrefixRoute = pick(r, nil, nil, nil, new(true))
		return a
	}
	a.Prefix = prefix(pick(r, "2001:db8::1/64", "2001:db8::2/64", "2001:db8:1::1/64", "2001:db8:2::1/128", "fe80::1/64"))
	a.NoDAD = maybe(r, true)
	return a
}

func (r random) route() *schema.Route {
	n := &schema.Route{Table: pick[uint32](r, 254, 254, 100), Proto: new(uint8(118)), Link: r.device()}
	if r.IntN(3) == 0 {
		n.Dst, n.Metric = prefix(pick(r, "::/0", "2001:db8:8::/48")), pick[uint32](r, 1024, 512)
		switch r.IntN(4) {
		case 0:
			n.Gateway = ip(pick(r, "fe80::9", "fe80::8"))
		case 1, 2:
			n.Gateway = ip(pick(r, "2001:db8::9", "2001:db8:1::9"))
		}
		return n
	}
	n.Dst, n.Metric = prefix(pick(r, "0.0.0.0/0", "10.8.0.0/16", "10.9.0.0/24")), pick[uint32](r, 0, 0, 100)
	switch r.IntN(8) {
	case 0:
		n.Link, n.Type = "", "blackhole"
	case 1:
		n.Link = ""
		n.NextHops = []schema.NextHop{{Link: r.device(), Gateway: ip("10.0.0.8"), Weight: 1}, {Link: r.device(), Gateway: ip("10.1.0.8"), Weight: 1}}
	case 2, 3, 4:
		n.Gateway = ip(pick(r, "10.0.0.254", "10.1.0.254", "192.0.2.1"))
		n.OnLink = pick(r, nil, nil, new(true))
	}
	if n.Type == "" && r.IntN(4) == 0 {
		n.Source = ip(pick(r, "10.0.0.1", "10.1.0.1"))
	}
	n.MTU = pick(r, nil, nil, new(uint32(1300)))
	return n
}

func (r random) sysctl() *schema.Sysctl {
	value := pick(r, "0", "1")
	switch r.IntN(6) {
	case 0:
		return &schema.Sysctl{Key: pick(r, "net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"), Value: value}
	case 1:
		return &schema.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: value}
	case 2:
		return &schema.Sysctl{Key: schema.LinkSysctl("ipv6", r.device(), "disable_ipv6"), Value: value}
	case 3:
		return &schema.Sysctl{Key: schema.LinkSysctl("ipv6", r.device(), "forwarding"), Value: value}
	case 4:
		return &schema.Sysctl{Key: schema.LinkSysctl("ipv4", r.device(), pick(r, "rp_filter", "forwarding", "proxy_arp")), Value: value}
	}
	return &schema.Sysctl{Key: "net.ipv4.conf.all.rp_filter", Value: value}
}
