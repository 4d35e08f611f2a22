package trace_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
)

// A default route of another table leads everybody's packets to the uplink, those to the senders' own network, too, if the host
// ever saw them: guests send them to each other.
func TestBeyondIsNotTheSendersOwnNetwork(t *testing.T) {
	t.Parallel()
	guests := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
	const byTable = `
route default via 192.0.2.1 dev eno1 table 100
rule 100 iif virbr-lab lookup 100
`
	guest, outside := netip.MustParseAddr("10.20.0.11"), netip.MustParseAddr("203.0.113.77")
	for name, q := range map[string]trace.Query{
		"out": {From: "vnet1", Src: guest, SrcSet: guests, To: "eno1", Dst: outside},
		"in":  {From: "eno1", Src: outside, To: "vnet1", Dst: guest, DstSet: []netip.Prefix{netip.MustParsePrefix("10.20.0.11/32")}},
	} {
		a := trace.New(parseState(t, lab+byTable)).Judge(q)
		if a.Verdict != trace.Pass {
			t.Errorf("%s: %s", name, a.Verdict)
			for _, p := range a.Parts {
				t.Logf("%s %s %s", p.Verdict, p.Packets, say(p.Witness))
			}
		}
	}
}
