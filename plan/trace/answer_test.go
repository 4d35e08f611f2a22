package trace_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// prefixes reads a list.
func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// outward is the lab's guests asking for the outside.
func outward(proto string, ports ...schema.PortRange) trace.Query {
	return trace.Query{
		From: "vnet1", To: "eno1", Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("203.0.113.10"),
		SrcSet: prefixes("10.20.0.0/24"), Service: schema.Service{Proto: proto, Ports: ports},
	}
}

// wherever is a query of somebody who asks what becomes of packets.
func wherever(q trace.Query) trace.Query {
	q.Anywhere = true
	return q
}

func port(n uint16) schema.PortRange { return schema.PortRange{First: n, Last: n} }

func TestAskOfTheHost(t *testing.T) {
	t.Parallel()
	w := trace.New(parseState(t, lab+`
		*filter
		-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP
		-A OUTPUT -s 192.0.2.10 -j DROP`))
	a := w.Ask(trace.Query{To: "vnet1", Dst: netip.MustParseAddr("10.20.0.11"), DstSet: prefixes("10.20.0.0/24"), Service: schema.Service{Proto: "tcp"}})
	if len(a.Parts) != 2 || a.Verdict != trace.Partly {
		t.Fatalf("got %+v", a)
	}
	if r := a.Parts[0].Witness; say(r) != "block reply ip filter INPUT: -s 10.0.0.0/8 -p tcp --sport 22 -j DROP" || r.Flow.DstPort != 22 || r.Flow.Src.IsValid() {
		t.Errorf("got %s of %+v", say(r), r.Flow)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	ask := func(rules string, q trace.Query) string {
		a := trace.New(parseState(t, lab+masq+rules)).Ask(q)
		out := string(a.Verdict)
		for _, p := range a.Parts {
			out += "\n" + string(p.Verdict) + " " + p.Packets
			if p.Witness.Decider != nil {
				out += " | " + say(p.Witness)
			}
		}
		return out
	}
	guests := outward("tcp", port(443))
	peers := trace.Query{From: "vnet1", To: "vnet2", Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("10.20.0.12"), SrcSet: prefixes("10.20.0.0/24"), DstSet: prefixes("10.20.0.0/24")}
	dnat := trace.Query{
		From: "eno1", To: "vnet1", Src: netip.MustParseAddr("203.0.113.10"), Dst: netip.MustParseAddr("192.0.2.10"), DstSet: prefixes("10.20.0.11/32"), WantDst: netip.MustParseAddr("10.20.0.11"),
		Via: &schema.Via{Proto: "tcp", Ports: schema.PortRange{First: 2222, Last: 2225}}, Service: schema.Service{Proto: "tcp", Ports: []schema.PortRange{{First: 22, Last: 25}}},
	}
	for _, c := range []struct {
		name, rules string
		q           trace.Query
		want        string
	}{
		{"all", "", guests, "pass\npass from 10.20.0.0/24 tcp dport 443"},
		{"none", "\n*filter\n:FORWARD DROP", guests, "block\nblock from 10.20.0.0/24 tcp dport 443 | block request ip filter FORWARD: policy drop"},
		{
			"a guest is cut off", "\n*filter\n-A FORWARD -s 10.20.0.64/26 -j DROP", guests,
			"partly\nblock from 10.20.0.64/26 tcp dport 443 | block request ip filter FORWARD: -s 10.20.0.64/26 -j DROP\npass from 10.20.0.0/26,10.20.0.128/25 tcp dport 443",
		},
		{
			"a part of the outside", "\n*filter\n-A FORWARD -d 198.51.100.0/24 -j DROP", guests,
			"partly\nblock from 10.20.0.0/24 to 198.51.100.0/24 tcp dport 443 | block request ip filter FORWARD: -d 198.51.100.0/24 -j DROP\npass from 10.20.0.0/24 to != 198.51.100.0/24 tcp dport 443",
		},
		{"what a route refuses is not the file's outside", "\nroute 198.51.100.0/24 type blackhole", guests, "pass\npass from 10.20.0.0/24 tcp dport 443"},
		{
			"but a part of all that may be asked about", "\nroute 198.51.100.0/24 type blackhole", wherever(guests),
			"partly\nblock from 10.20.0.0/24 to 198.51.100.0/24 tcp dport 443 | block request VN304\npass from 10.20.0.0/24 to != 198.51.100.0/24 tcp dport 443",
		},
		{
			"a part depends", "\n*filter\n-A FORWARD -s 10.20.0.7 -m limit -j DROP", guests,
			"depends\ndepends from 10.20.0.7 tcp dport 443 | depends request ip filter FORWARD: -s 10.20.0.7 -m limit -j DROP\npass from 10.20.0.0-10.20.0.6,10.20.0.8-10.20.0.255 tcp dport 443",
		},
		{
			"ports", "\n*filter\n-A FORWARD -p tcp --dport 25 -j DROP", outward("tcp"),
			"partly\nblock from 10.20.0.0/24 tcp dport 25 | block request ip filter FORWARD: -p tcp --dport 25 -j DROP\npass from 10.20.0.0/24 tcp dport 1-24,26-65535",
		},
		{"guests of one bridge", "", peers, "pass\npass from 10.20.0.0/24 to 10.20.0.0/24 tcp\npass from 10.20.0.0/24 to 10.20.0.0/24 udp\npass from 10.20.0.0/24 to 10.20.0.0/24 icmp"},
		{
			"rules about all but the answer's packets", `
			*filter
			-A FORWARD -s 10.20.0.66 -j DROP
			-A FORWARD -d 8.8.8.0/24 -p tcp --dport 443 -j DROP
			-A FORWARD -s 198.51.100.0/24 -p tcp --sport 443 -j DROP
			-A FORWARD -s 10.99.0.0/16 -m conntrack --ctstate NEW -j DROP
			-A FORWARD -i eth9 -j DROP
			-A FORWARD -d 127.0.0.0/8 -j DROP`, guests,
			"partly\nblock from 10.20.0.66 tcp dport 443 | block request ip filter FORWARD: -s 10.20.0.66 -j DROP\n" +
				"block from 10.20.0.0-10.20.0.65,10.20.0.67-10.20.0.255 to 8.8.8.0/24 tcp dport 443 | block request ip filter FORWARD: -d 8.8.8.0/24 -p tcp --dport 443 -j DROP\n" +
				"block from 10.20.0.0-10.20.0.65,10.20.0.67-10.20.0.255 to 198.51.100.0/24 tcp dport 443 | block reply ip filter FORWARD: -s 198.51.100.0/24 -p tcp --sport 443 -j DROP\n" +
				"pass from 10.20.0.0-10.20.0.65,10.20.0.67-10.20.0.255 to != 8.8.8.0/24,198.51.100.0/24 tcp dport 443",
		},
		{
			"a range of ports is led on", `
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2223 -j DNAT --to 10.20.0.11:23
			-A PREROUTING -d 192.0.2.10 -p tcp --dport 2224 -j DNAT --to 10.20.0.11:25`, dnat,
			"partly\nblock to 192.0.2.10 tcp dport 2225 | block request VN451\nblock to 192.0.2.10 tcp dport 2224 | block request VN451\npass to 192.0.2.10 tcp dport 2222-2223",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := ask(c.rules, c.q); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestCircles: the kernel loads no chains that jump in circles; here they must end, and soon.
func TestCircles(t *testing.T) {
	t.Parallel()
	rules := "\n*filter\n:A\n:B\n-A FORWARD -j A"
	for range 8 {
		rules += "\n-A A -m limit -j B\n-A B -m limit -j A"
	}
	w := trace.New(parseState(t, lab+rules))
	if a := w.Ask(outward("tcp")); a.Verdict != trace.Depends {
		t.Errorf("got %s", a.Verdict)
	}
	if r := w.Walk(parseFlow(t, out)); r.Verdict != trace.Depends {
		t.Errorf("got %s", say(r))
	}
}
