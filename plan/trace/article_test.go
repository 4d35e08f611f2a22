package trace_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/schema"
)

// The two rules of the founding article, with real TCP: each is found, in both backends, and taking it out lets the
// connection through.
func TestArticle(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := articleWorld(t)
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
			article(t, tool, w.LAN().From(w.Server4), "FORWARD", "-d 192.168.1.100 -p tcp --dport 22 -j DROP",
				"eno1>vnet0 tcp 203.0.113.10:40000 > 192.168.1.100:22", "block request")
			article(t, tool, w.Host(), "INPUT", "-s 192.168.0.0/16 -p tcp --sport 22 -j DROP",
				"host>vnet0 tcp any > 192.168.1.100:22", "block reply")
		}
	})
}

func articleWorld(t *testing.T) *world.World {
	t.Helper()
	for _, line := range []string{
		"sysctl net.ipv4.ip_forward=1", "sysctl net.ipv6.conf.default.accept_dad=0",
		"ip link add br0 type bridge", "ip addr add 192.168.1.1/24 dev br0", "ip link set br0 up",
	} {
		if err := do(line); err != nil {
			t.Fatal(err)
		}
	}
	w, err := world.New(world.Spec{Guests: []world.Guest{{
		Name: "vm", Device: "vnet0", Bridge: "br0",
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.100/24")}, Gateways: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
	}}})
	if err == nil {
		err = errors.Join(w.Guest("vm").Serve(22), w.LAN().Route(netip.MustParsePrefix("192.168.1.0/24"), w.Host4.Addr()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// article adds the rule and takes it away again.
func article(t *testing.T, tool string, client *world.Node, chain, rule, flow, want string) {
	t.Helper()
	for _, op := range []string{"-A", "-D"} {
		if err := run(tool + " " + op + " " + chain + " " + rule); err != nil {
			t.Fatal(err)
		}
		res := trace.Walk(articleState(t), parseFlow(t, flow))
		patience := 3 * time.Second
		if op == "-A" {
			patience = 300 * time.Millisecond
		}
		_, err := client.Within(patience).TCP(netip.MustParseAddrPort("192.168.1.100:22"))
		switch {
		case op == "-D" && (err != nil || res.Verdict != trace.Pass):
			t.Errorf("%s, without %s: %v, vmnet says %s\n%s", tool, rule, err, say(res), show(res))
		case op == "-A" && (err == nil || !strings.HasPrefix(say(res), want) || res.Decider.Chain != chain || !strings.HasSuffix(res.Decider.Text, "22 -j DROP")):
			t.Errorf("%s, with %s: %v, vmnet says %s\n%s", tool, rule, err, say(res), show(res))
		}
	}
}

// articleState reads the host of the calling thread.
func articleState(t *testing.T) *schema.State {
	t.Helper()
	b := &bed{}
	var err error
	if b.rt, err = rtnl.Open(); err != nil {
		t.Fatal(err)
	}
	defer b.rt.Close()
	if b.nft, err = nft.Open(); err != nil {
		t.Fatal(err)
	}
	defer b.nft.Close()
	s, err := b.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
