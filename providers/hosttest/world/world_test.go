package world_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

func build(t *testing.T, s world.Spec) *world.World {
	t.Helper()
	w, err := world.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func closeWorld(t *testing.T, w *world.World) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// bridged is a world with two guests on a bridge that is the LAN.
func bridged(t *testing.T) *world.World {
	t.Helper()
	w := build(t, world.Spec{NoHostAddress: true, Guests: []world.Guest{
		{
			Name: "a", MAC: "52:54:00:00:00:0a",
			Addrs:    []netip.Prefix{netip.MustParsePrefix("192.0.2.51/24"), netip.MustParsePrefix("2001:db8:2::51/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:2::1")},
		},
		{Name: "b", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.52/24"), netip.MustParsePrefix("2001:db8:2::52/64")}},
	}})
	if err := w.Bridge("br0", []netip.Prefix{w.Host4, w.Host6}, w.Uplink, "vnet0", "vnet1"); err != nil {
		t.Fatal(err)
	}
	return w
}

// Every question that can be asked is answered through a plain bridge, and by the right machine.
func TestPackets(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := bridged(t)
		defer closeWorld(t, w)
		for _, n := range []*world.Node{w.LAN(), w.Guest("b"), w.Host()} {
			if err := n.Serve(80); err != nil {
				t.Fatal(err)
			}
		}
		a := w.Guest("a").Within(3 * time.Second)
		for to, name := range map[string]string{
			"192.0.2.52": "b", "2001:db8:2::52": "b", "192.0.2.10": "host", "2001:db8:2::10": "host",
			"203.0.113.10": "lan", "2001:db8:113::10": "lan",
		} {
			addr := netip.MustParseAddr(to)
			at := netip.AddrPortFrom(addr, 80)
			if err := a.Ping(addr); err != nil {
				t.Error(err)
			}
			want := netip.MustParseAddr("192.0.2.51")
			if addr.Is6() {
				want = netip.MustParseAddr("2001:db8:2::51")
			}
			for _, ask := range []func(netip.AddrPort) (world.Answer, error){a.TCP, a.UDP} {
				got, err := ask(at)
				if err != nil {
					t.Error(err)
				} else if got.Node != name || got.From.Addr() != want {
					t.Errorf("%s answered as %q and saw %s, want %q and %s", to, got.Node, got.From.Addr(), name, want)
				}
			}
		}
	})
}

func TestConnectionLives(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := bridged(t)
		defer closeWorld(t, w)
		if err := w.LAN().Serve(80); err != nil {
			t.Fatal(err)
		}
		c, err := w.Guest("a").Within(3 * time.Second).Dial(netip.AddrPortFrom(w.Server4, 80))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Echo(bytes.Repeat([]byte("x"), 300_000)); err != nil {
			t.Error(err)
		}
		if c.Answer.MSS < 1400 || c.Answer.OwnMSS < 1400 {
			t.Errorf("MSS %d there, %d here: want that of Ethernet", c.Answer.MSS, c.Answer.OwnMSS)
		}
	})
}

// What does not arrive is an error, and in time.
func TestSilence(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := build(t, world.Spec{Guests: []world.Guest{{Name: "a", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}})
		defer closeWorld(t, w)
		start := time.Now()
		to := netip.MustParseAddr("10.0.0.2")
		a := w.Guest("a").Within(100 * time.Millisecond)
		if a.Ping(to) == nil {
			t.Error("ping: nobody is there, and yet an answer")
		}
		if _, err := a.TCP(netip.AddrPortFrom(to, 80)); err == nil {
			t.Error("tcp: nobody is there, and yet an answer")
		}
		if _, err := a.UDP(netip.AddrPortFrom(to, 80)); err == nil {
			t.Error("udp: nobody is there, and yet an answer")
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("three failures took %v", took)
		}
	})
}

// A host is new: no links, private /sys and /run, commands run in it, and Close leaves nothing behind.
func TestNewHost(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := build(t, world.Spec{Guests: []world.Guest{{Name: "a"}}})
		if err := os.WriteFile("/run/vmnet-test", nil, 0o644); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("/sys/class/net/vnet0"); err != nil {
			t.Errorf("sysfs shows another network: %v", err)
		}
		out, err := exec.CommandContext(t.Context(), "ls", "/sys/class/net", "/run").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "vnet0") || !strings.Contains(string(out), "vmnet-test") {
			t.Errorf("a command sees %q, %v", out, err)
		}
		closeWorld(t, w)
		links, err := os.ReadDir("/sys/class/net")
		if err != nil || len(links) != 1 {
			t.Errorf("after Close there are %v, %v; want lo only", links, err)
		}
	})
	world.InNewHost(t, func() {
		if _, err := os.Stat("/run/vmnet-test"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the next host has the /run of the one before: %v", err)
		}
	})
}

// fake notes what InNewHost does to a test.
type fake struct {
	world.TB
	failed bool
	ended  bool
}

func (f *fake) Helper()       {}
func (f *fake) Failed() bool  { return f.failed }
func (f *fake) Skipped() bool { return false }
func (f *fake) FailNow()      { f.ended = true }

func TestInNewHostFails(t *testing.T) {
	t.Parallel()
	f := &fake{}
	world.InNewHost(f, func() { f.failed = true; runtime.Goexit() })
	if !f.ended {
		t.Error("the test went on after its host had failed")
	}
}
