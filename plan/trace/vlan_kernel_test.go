package trace_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/guest"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/providers/sysctl"
	"github.com/vmnet/vmnet/schema"
)

// TestVLANsAsTheKernel is judged by a kernel that has VLAN-aware bridges: first frame by frame, then by whole conversations.
func TestVLANsAsTheKernel(t *testing.T) {
	t.Parallel()
	guest.Run(t, func() {
		t.Run("frames", func(t *testing.T) { world.InNewHost(t, func() { trace.JudgeVLANBridges(t) }) })
		t.Run("pings", func(t *testing.T) { world.InNewHost(t, func() { judgeVLANFlows(t) }) })
	})
}

// judgeVLANFlows pings between guests and the host over VLAN-aware bridges, ARP and all: what is said to pass must, what is
// said to be blocked must not, whether the bridge is asked before it has seen anybody or afterwards.
func judgeVLANFlows(t *testing.T) {
	t.Helper()
	l, err := newVLANLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for _, c := range vlanCases {
		l.try(t, strings.Fields(c.ports), c.host, c.want)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l.Rand = rand.New(rand.NewPCG(seed, 0))
	for range 5 {
		ports, host := l.throw()
		l.try(t, ports, host, nil)
	}
	t.Logf("%d flows: %d pass, %d are blocked, %d depend", l.passed+l.blocked+l.depend, l.passed, l.blocked, l.depend)
	if l.depend > l.passed+l.blocked {
		t.Error("too many depend")
	}
}

// vlanCases are set-ups as people get them wrong, with what is to be said of them.
var vlanCases = []struct {
	ports string // of a, b, c and d
	host  string // of the bridge itself
	want  map[string]string
}{
	{"10pu 10pu 20pu 10", "1pu,10", map[string]string{"a>b": "pass", "a>c": "VN209", "a>d": "pass", "d>a": "pass", "a>host": "pass", "host>a": "pass", "host>d": "pass", "c>host": "depends"}},
	{"10pu 10p 20pu 10", "1pu", map[string]string{"a>b": "VN210", "b>a": "VN210", "a>host": "VN209", "host>a": "VN208", "d>a": "pass"}},
	{"1pu,10 10pu,isolated 10pu,isolated 10", "1pu,10", map[string]string{"b>c": "VN204", "b>d": "pass", "host>b": "pass"}},
	{"10pu,nolearn 10pu 10pu,static=a 10,locked", "1pu,10", map[string]string{"b>a": "VN213", "d>b": "VN212"}},
	{"10pu 10pu 10pu,static=a 10", "1pu,10", map[string]string{"b>a": "pass"}},                  // the entry has moved
	{"10pu 10pu,20,static=b 10pu 10", "10pu,20u,plain", map[string]string{"b>host": "depends"}}, // what was heard counts, not what was entered
}

// vlanLab is four machines at ports of a bridge: a, b and c know nothing of VLANs, d has its address in VLAN 10. The host has
// its address on br0.10, or where host says "plain", on br0.
type vlanLab struct {
	*rand.Rand
	w                       *world.World
	rt                      *rtnl.Provider
	passed, blocked, depend int
}

var vlanHosts = map[string]netip.Addr{
	"a": netip.MustParseAddr("10.20.0.11"), "b": netip.MustParseAddr("10.20.0.12"), "c": netip.MustParseAddr("10.20.0.13"), "d": netip.MustParseAddr("10.20.0.14"),
	"host": netip.MustParseAddr("10.20.0.1"),
}

func newVLANLab() (*vlanLab, error) {
	spec := world.Spec{NoHostAddress: true, Uplink: "lan0x"}
	for i, name := range []string{"a", "b", "c", "d"} {
		g := world.Guest{Name: name, Device: "v" + name, MAC: fmt.Sprintf("52:54:00:00:00:0%d", i)}
		if name != "d" {
			g.Addrs = []netip.Prefix{netip.PrefixFrom(vlanHosts[name], 24)}
		}
		spec.Guests = append(spec.Guests, g)
	}
	w, err := world.New(spec)
	if err != nil {
		return nil, err
	}
	rt, err := rtnl.Open()
	if err == nil {
		err = w.Guest("d").Do(func() error {
			return ipBatch("link add link eth0 name eth0.10 type vlan id 10", "addr add "+vlanHosts["d"].String()+"/24 dev eth0.10", "link set eth0.10 up")
		})
	}
	return &vlanLab{w: w, rt: rt}, err
}

func (l *vlanLab) close() {
	l.rt.Close()
	l.w.Close()
}

func ipBatch(lines ...string) error {
	return runInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
}

// throw throws the dice for a set-up.
func (l *vlanLab) throw() (ports []string, host string) {
	any := func(of ...string) string { return of[l.IntN(len(of))] }
	for _, name := range []string{"a", "b", "c", "d"} {
		p := any("10pu", "10pu", "10pu", "20pu", "20pu", "10p", "10u", "1pu,10", "10pu,20", "20p,10u", "10pu,20u")
		if name == "d" {
			p = any("10", "10", "10", "1pu,10", "10,20") // not 10pu: nobody outside knows that it sends tags all the same
		}
		p += any("", "", "", ",isolated", ",isolated", ",noflood", ",nolearn", ",noflood,nolearn", ",nobcast", ",locked", ",hairpin")
		if l.IntN(6) == 0 {
			p += ",static=" + any("a", "b", "c", "d")
		}
		ports = append(ports, p)
	}
	return ports, any("1pu,10", "1pu,10", "10pu,plain", "1pu,10u", "1pu", "1pu,10,20", "10p", "10u", "20pu,10u,plain", "1pu,plain", "10pu,20u,plain")
}

// build makes it so.
func (l *vlanLab) build(ports []string, host string) error {
	if exec.Command("ip", "link", "show", "br0").Run() == nil {
		if err := ipBatch("link del br0"); err != nil {
			return err
		}
	}
	ip := []string{"link add br0 address 02:00:00:00:00:b0 type bridge vlan_filtering 1 vlan_default_pvid 0", "link set br0 up"}
	var bridge, late []string
	vlan := func(dev, word, self string) {
		id := strings.TrimRight(word, "pu")
		line := fmt.Sprintf("vlan add vid %s dev %s%s", id, dev, self)
		for letter, flag := range map[string]string{"p": " pvid", "u": " untagged"} {
			if strings.Contains(word, letter) {
				line += flag
			}
		}
		bridge = append(bridge, line)
	}
	words := map[string]string{
		"isolated": "isolated on", "noflood": "flood off", "nolearn": "learning off", "nobcast": "bcast_flood off", "locked": "locked on", "hairpin": "hairpin on",
	}
	for i, spec := range ports {
		dev := "v" + string("abcd"[i])
		ip = append(ip, "link set "+dev+" master br0")
		for _, word := range strings.Split(spec, ",") {
			if of, ok := strings.CutPrefix(word, "static="); ok {
				for _, id := range []string{"10", "20"} {
					late = append(late, fmt.Sprintf("fdb replace 52:54:00:00:00:0%d dev %s master static vlan %s", strings.Index("abcd", of), dev, id))
				}
			} else if flag := words[word]; flag != "" {
				ip = append(ip, "link set "+dev+" type bridge_slave "+flag)
			} else {
				vlan(dev, word, "")
			}
		}
	}
	on := "br0.10"
	for _, word := range strings.Split(host, ",") {
		if word == "plain" {
			on = "br0"
		} else {
			vlan("br0", word, " self")
		}
	}
	if on != "br0" {
		ip = append(ip, "link add link br0 name br0.10 type vlan id 10", "link set br0.10 up")
	}
	ip = append(ip, "addr add "+vlanHosts["host"].String()+"/24 dev "+on)
	if err := ipBatch(ip...); err != nil {
		return err
	}
	if err := runInput(strings.Join(bridge, "\n")+"\n", "bridge", "-batch", "-"); err != nil {
		return err
	}
	if err := runInput(strings.Join(late, "\n")+"\n", "bridge", "-force", "-batch", "-"); err != nil && !strings.Contains(err.Error(), "RTNETLINK answers") {
		return err // a static entry in a VLAN that the port is not in is refused
	}
	return errors.Join(l.forget(), l.settle())
}

// forget empties the neighbour tables of the machines.
func (l *vlanLab) forget() error {
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i, name := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			errs[i] = l.w.Guest(name).Do(func() error { return run("ip neigh flush all") })
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// settle waits until the host's links have a carrier (link_watch.c).
func (l *vlanLab) settle() error {
	for range 1000 {
		objects, err := l.rt.Read(context.Background())
		if err != nil {
			return err
		}
		s := schema.NewState(objects...)
		ready := true
		for _, name := range []string{"br0", "br0.10", "va", "vb", "vc", "vd"} {
			if d := s.Link(name); d != nil {
				ready = ready && d.Facts.OperState == "up"
			}
		}
		if ready {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("the links do not become ready")
}

func (l *vlanLab) walker() (*trace.Walker, error) {
	s := &schema.State{}
	for _, p := range []interface {
		Read(ctx context.Context) ([]schema.Object, error)
	}{l.rt, sysctl.New("")} {
		objects, err := p.Read(context.Background())
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			s.Put(o)
		}
	}
	return trace.New(s), nil
}

// passing are the flows that pass.
func passing(got map[string]bool) map[string]bool {
	maps.DeleteFunc(got, func(_ string, passed bool) bool { return !passed })
	return got
}

// try asks about every flow of a set-up, pings, and asks again.
func (l *vlanLab) try(t *testing.T, ports []string, host string, want map[string]string) {
	t.Helper()
	if err := l.build(ports, host); err != nil {
		t.Fatal(err)
	}
	before, err := l.walker()
	if err != nil {
		t.Fatal(err)
	}
	got := l.pings()
	after, err := l.walker()
	if err != nil {
		t.Fatal(err)
	}
	// A packet lost on a busy machine is no verdict: what does not pass must not do so twice.
	for name, passed := range got {
		if !passed && after.Walk(vlanFlow(name)).Verdict == trace.Pass {
			maps.Copy(got, passing(l.pings()))
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		for when, w := range map[string]*trace.Walker{"before": before, "after": after} {
			res := w.Walk(vlanFlow(name))
			switch {
			case res.Verdict == trace.Depends:
				l.depend++
			case res.Verdict == trace.Pass:
				l.passed++
			default:
				l.blocked++
			}
			if res.Verdict != trace.Depends && (res.Verdict == trace.Pass) != got[name] {
				t.Errorf("ports %s host %s: %s passes: %v; %s the packets vmnet says %s\n%s", ports, host, name, got[name], when, say(res), show(res))
			}
			if want[name] != "" && when == "after" && !strings.Contains(say(res), want[name]) {
				t.Errorf("ports %s host %s: %s: %s, want %s", ports, host, name, say(res), want[name])
			}
		}
	}
}

func vlanFlow(name string) trace.Flow {
	from, to, _ := strings.Cut(name, ">")
	f := trace.Flow{From: "v" + from, To: "v" + to, Src: vlanHosts[from], Dst: vlanHosts[to], Proto: "icmp"}
	if from == "host" {
		f.From = ""
	}
	if to == "host" {
		f.To, f.Local = "", true
	}
	return f
}

// pings tries every flow.
func (l *vlanLab) pings() map[string]bool {
	got := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for from := range vlanHosts {
		n := l.w.Guest(from)
		if from == "host" {
			n = l.w.Host()
		}
		for to, addr := range vlanHosts {
			if to == from {
				continue
			}
			all.Go(func() {
				err := n.Within(900 * time.Millisecond).Ping(addr)
				mu.Lock()
				defer mu.Unlock()
				got[from+">"+to] = err == nil
			})
		}
	}
	all.Wait()
	return got
}
