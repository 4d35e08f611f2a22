package trace_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestSourceOfItsOwnChoice: a program that connects is routed once more when it has a source address, one that pings is not.
func TestSourceOfItsOwnChoice(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		l, err := newNeighbourLab()
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if err := l.w.LAN().Serve(80); err != nil {
			t.Fatal(err)
		}
		to := netip.MustParseAddr("192.0.2.1")
		for _, rule := range []string{"", "from 192.0.2.10 blackhole", "from 192.0.2.99 blackhole"} {
			if rule != "" {
				if err := do("ip rule add pref 100 " + rule); err != nil {
					t.Fatal(err)
				}
			}
			w, err := l.walker()
			if err != nil {
				t.Fatal(err)
			}
			_, dial := l.w.Host().Dial(netip.AddrPortFrom(to, 80))
			for proto, kernel := range map[string]error{"tcp": dial, "icmp": l.w.Host().Ping(to)} {
				res := w.Walk(trace.Flow{Dst: to, Proto: proto, DstPort: 80})
				if (res.Verdict == trace.Pass) != (kernel == nil) {
					t.Errorf("%s with rule %q: vmnet says %s, the kernel %v\n%s", proto, rule, say(res), kernel, show(res))
				}
			}
			if res := w.Walk(trace.Flow{Dst: to, Proto: "udp", DstPort: 80}); rule == "from 192.0.2.10 blackhole" && res.Verdict != trace.Depends {
				t.Errorf("udp: %s, whether the program connects is not known", say(res))
			}
			if rule != "" {
				if err := do("ip rule del pref 100 " + rule); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
