package plan_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// The route to a network goes with its link: who is there is not behind the default route for that.
func TestAskBehindLinkThatIsDown(t *testing.T) {
	t.Parallel()
	host := func(up bool) *schema.State {
		s := schema.NewState(
			&schema.Link{Name: "br0", Type: "bridge", Up: &up, Facts: &schema.LinkFacts{Index: 2, Carrier: up}},
			&schema.Link{Name: "eno1", Type: "device", Up: new(true), Facts: &schema.LinkFacts{Index: 3, Carrier: true}},
			&schema.Address{Link: "br0", Prefix: netip.MustParsePrefix("10.20.0.1/24")},
			&schema.Address{Link: "eno1", Prefix: netip.MustParsePrefix("192.0.2.10/24")},
			&schema.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: "eno1", Table: schema.TableMain},
			&schema.Route{Dst: netip.MustParsePrefix("192.0.2.0/24"), Link: "eno1", Table: schema.TableMain},
			&schema.Route{Dst: netip.MustParsePrefix("10.20.0.1/32"), Link: "br0", Table: schema.TableLocal, Type: "local"},
			&schema.Route{Dst: netip.MustParsePrefix("192.0.2.10/32"), Link: "eno1", Table: schema.TableLocal, Type: "local"},
			&schema.PolicyRule{Family: "ip", Priority: 0, Table: schema.TableLocal},
			&schema.PolicyRule{Family: "ip", Priority: 32766, Table: schema.TableMain},
			&schema.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"},
		)
		if up {
			s.Put(&schema.Route{Dst: netip.MustParsePrefix("10.20.0.0/24"), Link: "br0", Table: schema.TableMain})
		}
		return s
	}
	ask := func(s *schema.State, from, to string) plan.Traced {
		end := func(p string) schema.Endpoint {
			return schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{netip.MustParsePrefix(p)}}
		}
		return plan.Ask(s, &schema.Desired{State: schema.NewState()}, plan.Question{Goal: schema.Goal{From: end(from), To: end(to), Service: schema.Service{Proto: "tcp"}, Allow: true}})
	}
	for _, c := range []struct{ from, to, code string }{
		{"10.20.0.11/32", "10.20.0.1/32", trace.CodeBridgeDown},
		{"10.20.0.11/32", "203.0.113.77/32", trace.CodeBridgeDown},
		{"203.0.113.77/32", "10.20.0.11/32", trace.CodeNoRoute},
	} {
		got := ask(host(false), c.from, c.to)
		if got.Verdict != trace.Block || got.Parts[0].Witness.Decider.Code != c.code || !strings.Contains(strings.Join(got.Assumed, "\n"), "behind br0, which is down") {
			t.Errorf("%s -> %s with br0 down: %s %+v %q", c.from, c.to, got.Verdict, got.Parts, got.Assumed)
		}
	}
	if got := ask(host(true), "203.0.113.77/32", "10.20.0.1/32"); got.Verdict != trace.Pass || strings.Contains(strings.Join(got.Assumed, "\n"), "down") {
		t.Errorf("with br0 up: %s %q", got.Verdict, got.Assumed)
	}
	elsewhere := host(false)
	elsewhere.Put(&schema.Route{Dst: netip.MustParsePrefix("10.20.0.0/24"), Link: "eno1", Gateway: netip.MustParseAddr("192.0.2.2"), Table: schema.TableMain})
	if got := ask(elsewhere, "10.20.0.11/32", "192.0.2.10/32"); strings.Contains(strings.Join(got.Assumed, "\n"), "which is down") {
		t.Errorf("another route is in force, and yet %q", got.Assumed)
	}
}
