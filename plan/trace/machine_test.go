package trace_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
)

// What a file says of a guest is held against what the tables of the host say.
func TestKnownMachines(t *testing.T) {
	t.Parallel()
	const (
		toB     = "host>vnet2 tcp 10.20.0.1:40000 > 10.20.0.12:22"
		outside = "eno1>vnet2 tcp 192.0.2.99:40000 > 10.20.0.12:80"
		wrong   = lab + "neigh 10.20.0.12 02:00:00:00:00:99 dev virbr-lab "
	)
	for _, c := range []struct{ name, state, flow, want string }{
		{"no entry", lab, toB, "pass"},
		{"an entry that the guest's answers correct", wrong + "stale", toB, "pass"},
		{"the guest's own", lab + "neigh 10.20.0.12 52:54:00:00:00:0b dev virbr-lab permanent", toB, "pass"},
		{"another one's", wrong + "permanent", toB, "block request VN313"},
		{"another one's, without ARP", wrong + "noarp", toB, "block request VN313"},
		{"from outside", wrong + "permanent", outside, "block request VN313"},
		{"guests do not ask the host", wrong + "permanent", peers, "pass"},
		{"answers of the host", wrong + "permanent", "vnet2>host udp 10.20.0.12:40000 > 10.20.0.1:53", "block reply VN313"},
		{"the guest was heard with it", wrong + "permanent\nfdb 02:00:00:00:00:99 dev vnet2", toB, "pass"},
		{"another guest was", wrong + "permanent\nfdb 02:00:00:00:00:99 dev vnet1", toB, "block request VN313"},
		{"the host has the address, too", lab + "addr 10.20.0.12/32 dev lo", peers, "depends request bridge: 10.20.0.12 is an address of the host's lo and of the machine with 52:54:00:00:00:0b: whoever answers first gets the packets"},
		{"and its answers", lab + "addr 10.20.0.12/32 dev lo", "vnet2>vnet1 tcp 10.20.0.12:40000 > 10.20.0.11:80", "depends reply bridge: 10.20.0.12 is an address of the host's lo and of the machine with 52:54:00:00:00:0b: whoever answers first gets the packets"},
		{"a permanent entry of the forwarding database", lab + "fdb 52:54:00:00:00:0b dev vnet2 permanent", peers, "block request VN213"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := trace.New(parseState(t, c.state)).Know([]trace.Machine{{Link: "virbr-lab", IP: netip.MustParseAddr("10.20.0.12"), MAC: "52:54:00:00:00:0B", Port: "vnet2"}})
			r := w.Walk(parseFlow(t, c.flow))
			if got := say(r); got != c.want {
				t.Errorf("%s\n got %s\nwant %s\n%s", c.flow, got, c.want, show(r))
			}
		})
	}
}
