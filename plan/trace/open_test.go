package trace_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// boxed reads "forward: in virbr-lab to 10.0.0.0/8 tcp dport 22 ct 6", "…: all" for no limits.
func boxed(tb testing.TB, s string) trace.Asked {
	tb.Helper()
	hook, text, _ := strings.Cut(s, ": ")
	a := trace.Asked{Hook: hook, Box: trace.Box{V4: true, V6: true, Exact: true}}
	w := strings.Fields(text)
	for i := 0; i+1 < len(w); i += 2 {
		switch v := w[i+1]; w[i] {
		case "in":
			a.Box.IIF = trace.Names{List: []string{v}}
		case "out":
			a.Box.OIF = trace.Names{List: []string{v}}
		case "notin":
			a.Box.IIF = trace.Names{List: []string{v}, Not: true}
		case "from":
			a.Box.Src = []netip.Prefix{netip.MustParsePrefix(v)}
		case "to":
			a.Box.Dst = []netip.Prefix{netip.MustParsePrefix(v)}
		case "proto":
			a.Box.Proto = v
		case "sport", "dport":
			n := netip.MustParseAddrPort("0.0.0.0:" + v).Port()
			r := []schema.PortRange{{First: n, Last: n}}
			if w[i] == "sport" {
				a.Box.SPort = r
			} else {
				a.Box.DPort = r
			}
		case "ct":
			a.Box.CT = map[string]uint32{"answers": 6, "new": 8}[v]
		default:
			tb.Fatalf("what is %q", w[i])
		}
	}
	return a
}

func TestOpened(t *testing.T) {
	t.Parallel()
	const dockerish = lab + `
		*filter
		:FORWARD DROP
		-A FORWARD -i docker0 -j ACCEPT
		`
	for _, c := range []struct {
		name, before, after string
		asked               []string
		want                []string
	}{
		{"nothing changed", dockerish, dockerish, nil, nil},
		{
			"an accept", dockerish, dockerish + "-A FORWARD -s 10.20.0.0/24 -i virbr-lab -p tcp --dport 443 -j ACCEPT", nil,
			[]string{"forward: in virbr-lab from 10.20.0.0/24 tcp dport 443"},
		},
		{
			"an accept that is asked for", dockerish, dockerish + "-A FORWARD -s 10.20.0.0/24 -i virbr-lab -p tcp --dport 443 -j ACCEPT",
			[]string{"forward: in virbr-lab from 10.20.0.0/24 proto tcp"},
			nil,
		},
		{
			"half of it is asked for", dockerish, dockerish + "-A FORWARD -s 10.20.0.0/24 -i virbr-lab -p tcp --dport 443 -j ACCEPT",
			[]string{"forward: in virbr-lab from 10.20.0.0/25 proto tcp"},
			[]string{"forward: in virbr-lab from 10.20.0.128/25 tcp dport 443"},
		},
		{
			"asked for at another hook", dockerish, dockerish + "-A FORWARD -s 10.20.0.1/32 -j ACCEPT",
			[]string{"input: from 10.20.0.1/32"},
			[]string{"forward: in != docker0 from 10.20.0.1"},
		},
		{
			"answers", dockerish, dockerish + "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			[]string{"forward: out virbr-lab ct answers"},
			[]string{"forward: in != docker0 out != virbr-lab ct state established,related in IPv4"},
		},
		{"a rule that can never be reached", dockerish, dockerish + "-A FORWARD -i docker0 -d 10.0.0.1 -j ACCEPT", nil, nil},
		{
			"a drop taken out", lab + "*filter\n-A FORWARD -d 10.20.0.11/32 -p tcp --dport 22 -j DROP", lab + "*filter\n", nil,
			[]string{"forward: to 10.20.0.11 tcp dport 22"},
		},
		{
			"what another table stops all the same is not opened", lab + "*filter\n-A FORWARD -d 10.20.0.11/32 -p tcp --dport 22 -j DROP\n*inet x\n:fwd filter forward -10 accept\n-A fwd ! -i eno1 -j DROP",
			lab + "*filter\n*inet x\n:fwd filter forward -10 accept\n-A fwd ! -i eno1 -j DROP", nil,
			[]string{"forward: in eno1 to 10.20.0.11 tcp dport 22"},
		},
		{
			"a policy", lab + "*filter\n:INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT", lab + "*filter\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT", nil,
			[]string{"input: in != lo proto != tcp in IPv4", "input: in != lo tcp dport != 22 in IPv4"},
		},
		{
			"forwarding", dockerish + "-A FORWARD -s 10.20.0.0/24 -j ACCEPT\nsysctl net.ipv4.ip_forward=0\nsysctl net.ipv4.conf.virbr-lab.forwarding=0\nsysctl net.ipv4.conf.eno1.forwarding=0\nsysctl net.ipv4.conf.vnet1.forwarding=0\nsysctl net.ipv4.conf.vnet2.forwarding=0",
			dockerish + "-A FORWARD -s 10.20.0.0/24 -j ACCEPT", nil,
			[]string{"forward: in docker0 in IPv4", "forward: in != docker0 from 10.20.0.0/24"},
		},
		{
			"forwarding of one link", dockerish + "-A FORWARD -s 10.20.0.0/24 -j ACCEPT\nsysctl net.ipv4.conf.virbr-lab.forwarding=0",
			dockerish + "-A FORWARD -s 10.20.0.0/24 -j ACCEPT", nil,
			[]string{"forward: in virbr-lab from 10.20.0.0/24"},
		},
		{
			"a chain of one's own", lab + "*filter\n:FORWARD DROP\n:A\n-A FORWARD -j A\n-A A -p tcp -j RETURN\n-A A -j ACCEPT", lab + "*filter\n:FORWARD DROP\n:A\n-A FORWARD -j A\n-A A -p tcp --dport 22 -j RETURN\n-A A -j ACCEPT", nil,
			[]string{"forward: tcp dport != 22 in IPv4"},
		},
		{
			"what nobody can foresee may let through", dockerish, dockerish + "-A FORWARD -d 10.20.0.11/32 -m limit -j ACCEPT", nil,
			[]string{"forward: in != docker0 to 10.20.0.11"},
		},
		{
			"but it is the same in both", dockerish + "-A FORWARD -d 10.20.0.11/32 -m limit -j ACCEPT", dockerish + "-A FORWARD -s 10.20.0.11/32 -j ACCEPT\n-A FORWARD -d 10.20.0.11/32 -m limit -j ACCEPT", nil,
			[]string{"forward: in != docker0 from 10.20.0.11"},
		},
		{
			"a mark for others to look at", lab + "*filter\n*mangle\n-A FORWARD -s 10.20.0.11/32 -j DROP", lab + "*filter\n*mangle\n-A FORWARD -s 10.20.0.12/32 -j MARK --set-mark 1\n-A FORWARD -s 10.20.0.11/32 -j DROP", nil,
			[]string{"forward: from 10.20.0.12"},
		},
		{
			"bridged", lab + "*bridge x\n:fwd filter forward 0 accept\n-A fwd -i vnet1 -j DROP", lab + "*bridge x\n:fwd filter forward 0 accept\n", nil,
			[]string{"bridge forward: in vnet1", "arp bridge forward: in vnet1"},
		},
		{
			"legacy", lab + "*filter legacy\n:FORWARD DROP\n", lab + "*filter legacy\n:FORWARD DROP\n-A FORWARD -d 10.20.0.11/32 -j ACCEPT", nil,
			[]string{"forward: to 10.20.0.11"},
		},
		{
			"what crosses a bridge is no more shown to IP", lab + "sysctl net.bridge.bridge-nf-call-iptables=1\n*filter\n:FORWARD DROP\n-A FORWARD -d 10.20.0.11/32 -j ACCEPT",
			lab + "sysctl net.bridge.bridge-nf-call-iptables=0\n*filter\n:FORWARD DROP\n-A FORWARD -d 10.20.0.11/32 -j ACCEPT",
			[]string{"bridge forward: from 10.20.0.0/25"},
			[]string{"bridge forward: across virbr-lab from != 10.20.0.0/25 to != 10.20.0.11"},
		},
		{
			"a port that leads elsewhere", lab + masq, lab + masq + "-A PREROUTING -i eno1 -p tcp --dport 2222 -j DNAT --to 10.20.0.11:22", nil,
			[]string{"prerouting: in eno1 tcp dport 2222 in IPv4"},
		},
		{
			"masquerading", lab, lab + masq, nil, []string{"postrouting: from 10.20.0.0/24 to != 10.20.0.0/24"},
		},
		{
			"a chain that translates nothing", lab + masq, lab + "*nat\n:EMPTY\n-A POSTROUTING -j EMPTY\n-A POSTROUTING -s 10.20.0.0/24 ! -d 10.20.0.0/24 -j MASQUERADE", nil, nil,
		},
		{
			"an exception from NAT", lab + masq, lab + "*nat\n-A POSTROUTING -d 192.0.2.0/24 -j RETURN\n-A POSTROUTING -s 10.20.0.0/24 ! -d 10.20.0.0/24 -j MASQUERADE", nil,
			[]string{"postrouting: from 10.20.0.0/24 to 192.0.2.0/24"},
		},
		{
			"ICMP", lab + "*filter\n:INPUT DROP", lab + "*filter\n:INPUT DROP\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -p udp --sport 68 --dport 67 -j ACCEPT",
			[]string{"input: proto udp"},
			[]string{"input: icmp in IPv4"},
		},
		{
			"where no connection is known, and known later", lab + "*bridge x\n:in filter input 0 accept\n-A in -i vnet1 -p tcp -j DROP\n*inet f\n:in filter input 0 drop\n-A in -p tcp --dport 22 -j ACCEPT",
			lab + "*bridge x\n:in filter input 0 accept\n*inet f\n:in filter input 0 drop\n-A in -p tcp --dport 22 -j ACCEPT",
			[]string{"forward: in virbr-lab", "input: in virbr-lab ct answers"},
			[]string{"input: in virbr-lab to 10.20.0.1,10.20.0.255,127.0.0.0/8,192.0.2.10,192.0.2.255,224.0.0.0/4,255.255.255.255 tcp dport 22 ct state invalid,new,untracked", "input: in virbr-lab to ff00::/8 tcp dport 22 ct state invalid,new,untracked"},
		},
		{
			"all that is new dies later", lab + "*bridge x\n:in filter input 0 accept\n-A in -i vnet1 -p tcp -j DROP\n*inet f\n:in filter input 0 drop\n-A in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			lab + "*bridge x\n:in filter input 0 accept\n*inet f\n:in filter input 0 drop\n-A in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			[]string{"forward: in virbr-lab", "input: in virbr-lab ct answers"},
			nil,
		},
		{
			"but for what is led elsewhere first", lab + masq + "-A PREROUTING -i virbr-lab -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80\n*bridge x\n:in filter input 0 accept\n-A in -i vnet1 -p tcp -j DROP\n*inet f\n:in filter input 0 drop",
			lab + masq + "-A PREROUTING -i virbr-lab -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80\n*bridge x\n:in filter input 0 accept\n*inet f\n:in filter input 0 drop",
			[]string{"forward: in virbr-lab"},
			[]string{"bridge input: in vnet1 tcp dport 8080 in IPv4"},
		},
		{
			"raw", lab + "*raw\n-A PREROUTING -i virbr-lab -p udp -j DROP\n*filter\n:INPUT DROP\n:FORWARD DROP\n-A FORWARD -d 203.0.113.10/32 -j ACCEPT",
			lab + "*raw\n*filter\n:INPUT DROP\n:FORWARD DROP\n-A FORWARD -d 203.0.113.10/32 -j ACCEPT",
			nil,
			[]string{"forward: in virbr-lab to 203.0.113.10 udp ct state invalid,established,related,new"},
		},
		{"more drops open nothing", lab + "*filter\n", lab + "*filter\n:FORWARD DROP\n-A FORWARD -i virbr-lab -j ACCEPT\n*inet x\n:in filter input 0 drop", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var asked []trace.Asked
			for _, a := range c.asked {
				asked = append(asked, boxed(t, a))
			}
			got, err := trace.Opened(trace.New(parseState(t, c.before)), trace.New(parseState(t, c.after)), asked)
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, o := range got {
				texts = append(texts, o.String())
				t.Logf("%s: %s, %.3g", o, o.Witness, o.Share)
			}
			if g, w := strings.Join(texts, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("opened\n%s\nwant\n%s", g, w)
			}
		})
	}
}

// TestOpenedForged: what bears a guest's address and is not the guest is asked for by nobody, where rules tell the two apart.
func TestOpenedForged(t *testing.T) {
	t.Parallel()
	mac := func(last byte) []byte { return []byte{0x52, 0x54, 0, 0, 0, last} }
	card := []schema.Expr{
		{Name: "payload", Base: "link", Offset: 6, Len: 6, DReg: 1},
		{Name: "cmp", SReg: 1, Op: "neq", Data: mac(1)},
		{Name: "immediate", Verdict: &schema.Verdict{Kind: "drop"}},
	}
	holders := []trace.Holder{
		{Addr: netip.MustParseAddr("10.20.0.11"), MAC: mac(1), Bridge: "virbr-lab", Port: "vnet1"},
		{Addr: netip.MustParseAddr("10.20.0.12"), MAC: mac(2), Bridge: "virbr-lab", Port: "vnet2"},
	}
	const routed, bridged = "*inet f\n:c filter forward 0 accept\n", "*bridge f\n:c filter forward 0 accept\n"
	const stop, wide, narrow = "-A c -p tcp --dport 443 -j DROP\n", "-A c -s 10.20.0.0/24 -j ACCEPT\n", "-A c -s 10.20.0.0/24 -p tcp --dport 443 -j ACCEPT\n"
	for _, c := range []struct {
		name, table, before, after string
		want                       string
	}{
		{"past a rule about MAC addresses", routed, stop + "-A c -s 10.20.0.11/32 -j MAC", wide, "from 10.20.0.11 "},
		{"for what the culprit stops", routed, stop + "-A c -s 10.20.0.11/32 -j MAC", narrow, ""},
		{"with nothing behind it", routed, stop, wide, ""},
		{"past a rule about ports", bridged, stop + "-A c -i vnet2 -s 10.20.0.11/32 -j DROP\n", wide, "in vnet2 from 10.20.0.11 "},
		{"a port is free again", bridged, "-A c -i vnet2 -j DROP\n", wide, ""},
		{"where nothing came in", "*bridge f\n:c filter output 0 accept\n", "-A c -p tcp --dport 80 -j DROP\n", wide, ""},
		{"an address is free again", bridged, "-A c -s 10.20.0.11/32 -j DROP\n", wide, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state := func(rules string) *trace.Walker {
				text, _, more := strings.Cut(rules, "-A c -s 10.20.0.11/32 -j MAC")
				s := parseState(t, lab+c.table+text)
				for tab := range schema.Each[*schema.Table](s) {
					if ch := tab.Chain("c"); more && ch != nil {
						from := parseState(t, c.table+"-A c -s 10.20.0.11/32 -j DROP")
						for o := range schema.Each[*schema.Table](from) {
							e := o.Chain("c").Rules[0].Exprs
							ch.Rules = append(ch.Rules, &schema.Rule{Text: "mac", Exprs: append(e[:len(e)-1:len(e)-1], card...)})
						}
					}
				}
				return trace.New(s)
			}
			asked := []trace.Asked{boxed(t, "forward: from 10.20.0.0/24"), boxed(t, "bridge forward: from 10.20.0.0/24")}
			got, err := trace.Opened(state(c.before), state(c.after+c.before), asked, holders...)
			if err != nil {
				t.Fatal(err)
			}
			var forged []string // these rules of bridges are about ARP and IPv6 too: what they open of that is no matter
			for _, o := range got {
				if strings.HasPrefix(o.Packets, "forged, ") {
					forged = append(forged, o.String())
				}
			}
			if c.want == "" && len(forged) > 0 || c.want != "" && (len(forged) == 0 || !strings.Contains(forged[0], c.want)) {
				t.Errorf("opened %v, want %q", forged, c.want)
			}
		})
	}
}
