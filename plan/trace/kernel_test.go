package trace_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// standard are probes over every path of the bed. Tags number them.
func standard(b *bed) []probe {
	var out []probe
	add := func(proto byte, src, dst string, dport uint16) {
		n := uint32(len(out) + 1)
		p := parcel{tag: n, proto: proto, src: netip.MustParseAddr(src), dst: netip.MustParseAddr(dst), sport: uint16(40000 + n), dport: dport}
		if proto != 6 && proto != 17 {
			p.sport, p.dport = 0, 0
		}
		out = append(out, b.newProbe(p))
	}
	for _, proto := range []byte{6, 17} {
		for _, port := range []uint16{22, 80, 443, 2222} {
			add(proto, "10.20.0.11", "203.0.113.10", port) // out
			add(proto, "203.0.113.10", "10.20.0.11", port) // in
			add(proto, "10.20.0.11", "10.20.0.12", port)   // peers
			add(proto, "203.0.113.10", "192.0.2.10", port) // a forward, or the host
			add(proto, "10.20.0.11", "192.0.2.10", port)   // hairpin
		}
	}
	add(17, "10.20.0.11", "10.20.0.1", 53)
	add(17, "10.20.0.1", "10.20.0.11", 22)
	add(17, "10.20.0.1", "10.20.0.11", 53)
	add(17, "192.0.2.10", "203.0.113.10", 53)
	add(17, "192.0.2.10", "192.0.2.10", 2222)
	add(17, "10.20.0.1", "192.0.2.10", 53)
	add(17, "127.0.0.1", "127.0.0.1", 2222)
	add(1, "10.20.0.11", "203.0.113.10", 0)
	add(1, "10.20.0.11", "10.20.0.12", 0)
	add(1, "10.20.0.11", "10.20.0.1", 0)
	add(1, "10.20.0.1", "10.20.0.12", 0)
	add(6, "2001:db8:20::11", "2001:db8:99::10", 443)
	add(6, "2001:db8:99::10", "2001:db8:20::11", 443)
	add(17, "2001:db8:20::11", "2001:db8:20::12", 53)
	add(58, "2001:db8:20::11", "2001:db8:99::10", 0)
	// TCP to the host itself would be answered by its kernel: not asked.
	kept := out[:0]
	for _, pr := range out {
		if pr.p.proto == 6 && b.endOf(pr.p.dst) == "h" && pr.p.dport != 2222 {
			continue
		}
		kept = append(kept, pr)
	}
	return kept
}

// judge compares what vmnet says of every probe with what the kernel does, and returns the number of Depends.
func judge(t *testing.T, b *bed, w *trace.Walker, probes []probe, about string) (depends int) {
	t.Helper()
	wrong, results, got, err := b.judge(w, probes)
	if err != nil {
		t.Fatal(err)
	}
	for _, pr := range wrong {
		res := results[pr.p.tag]
		t.Errorf("%s\n%+v\nthe kernel says %q, vmnet %q: %s\n%s", about, pr.p, got[pr.p.tag], verdictOf(res), say(res), show(res))
	}
	for _, res := range results {
		if res.Verdict == trace.Depends {
			depends++
		}
	}
	return depends
}

// TestKernel asks the kernel the questions of TestWalk, and more.
func TestKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		b := newBed(t)
		defer func() {
			if err := b.close(); err != nil {
				t.Error(err)
			}
		}()
		for _, c := range kernelCases {
			if err := b.reset(); err != nil {
				t.Fatal(err)
			}
			undo := prepare(t, c.setup)
			s, err := b.state(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			probes := standard(b)
			if !strings.Contains(c.setup, nat22) {
				kept := probes[:0]
				for _, pr := range probes {
					if pr.p.proto != 6 || b.endOf(pr.p.dst) != "h" {
						kept = append(kept, pr)
					}
				}
				probes = kept
			}
			for i := range probes {
				if b.endOf(probes[i].p.dst) == "h" && probes[i].p.dport == 2222 {
					probes[i].flow.To = ""
				}
			}
			before := t.Failed()
			n := judge(t, b, trace.New(s).Acquainted(), probes, c.name+"\n"+c.setup)
			if n != c.depends {
				t.Errorf("%s: %d flows depend, want %d", c.name, n, c.depends)
			}
			if !before && t.Failed() {
				t.Logf("first failure in %s", c.name)
			}
			for _, u := range undo {
				if err := do(u); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// prepare runs the lines of a set-up: nft rules in "nft {…}", sysctls as key=value with a way back, commands.
func prepare(t *testing.T, setup string) (undo []string) {
	t.Helper()
	rules := ""
	for line := range strings.SplitSeq(setup, "\n") {
		line = strings.TrimSpace(line)
		cmd, back, _ := strings.Cut(line, " ## ")
		switch {
		case line == "":
		case command.MatchString(line):
			if err := do(cmd); err != nil {
				t.Fatal(err)
			}
			if back != "" {
				undo = append(undo, back)
			}
		default:
			rules += line + "\n"
		}
	}
	if rules != "" { // nft 1.0.6 wants the last brace on a line of its own
		rules = strings.ReplaceAll(rules, " }", "\n}")
		if err := runInput(rules, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	return undo
}

var command = regexp.MustCompile(`^(ip (link|addr|route|rule) |sysctl |iptables)`)

func do(cmd string) error {
	if kv, ok := strings.CutPrefix(cmd, "sysctl "); ok {
		k, v, _ := strings.Cut(kv, "=")
		return writeSysctl(k, v)
	}
	return run(cmd)
}

const nat22 = `table ip nat {
		chain prerouting { type nat hook prerouting priority -100; ip daddr 192.0.2.10 tcp dport 2222 dnat to 10.20.0.12:22; ip daddr 192.0.2.10 udp dport 2222 dnat to 10.20.0.12; }
		chain postrouting { type nat hook postrouting priority 100; ip saddr 10.20.0.0/24 ip daddr != 10.20.0.0/24 masquerade; }
	}
	`

var kernelCases = []struct {
	name, setup string
	depends     int
}{
	{"nothing", "", 0},
	{"nat and a forward", nat22, 0},
	{"nat and a forward, bridges hidden", "sysctl net.bridge.bridge-nf-call-iptables=0 ## sysctl net.bridge.bridge-nf-call-iptables=1\n" + nat22, 0},
	{"hairpin masqueraded", "sysctl net.bridge.bridge-nf-call-iptables=0 ## sysctl net.bridge.bridge-nf-call-iptables=1\n" + nat22 +
		"add rule ip nat postrouting ip saddr 10.20.0.0/24 oifname virbr-lab masquerade", 0},
	{"forward policy drop", "table inet f { chain f { type filter hook forward priority 0; policy drop; } }", 0},
	{"forward policy drop, bridges hidden", `sysctl net.bridge.bridge-nf-call-iptables=0 ## sysctl net.bridge.bridge-nf-call-iptables=1
		sysctl net.bridge.bridge-nf-call-ip6tables=0 ## sysctl net.bridge.bridge-nf-call-ip6tables=1
		table inet f { chain f { type filter hook forward priority 0; policy drop; } }`, 0},
	{"per bridge", `sysctl net.bridge.bridge-nf-call-iptables=0 ## sysctl net.bridge.bridge-nf-call-iptables=1
		ip link set virbr-lab type bridge nf_call_iptables 1 ## ip link set virbr-lab type bridge nf_call_iptables 0
		table ip f { chain f { type filter hook forward priority 0; policy drop; } }`, 0},
	{"one direction only", nat22 + `table inet f { chain f { type filter hook forward priority 0; policy drop; iifname virbr-lab accept; } }`, 0},
	{"established comes back", nat22 + `table inet f { chain f { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname "virbr*" oifname != "virbr-lab" accept; ct status dnat accept; } }`, 0},
	{"docker, two tables", nat22 + `table ip filter { chain USER { ip saddr 10.20.0.0/24 tcp dport 80 return; tcp dport 443 drop; }
		chain FORWARD { type filter hook forward priority 0; policy drop; jump USER; ct state established accept; iifname virbr-lab accept; } }
		table inet own { chain f { type filter hook forward priority -5; policy accept; accept; } }`, 0},
	{"input and output", `table inet f { chain i { type filter hook input priority 0; policy drop; udp dport 53 accept; ct state established accept; }
		chain o { type filter hook output priority 0; policy accept; udp sport 53 ct direction reply drop; } }`, 0},
	{"sets, maps, concatenations", `table inet f {
		set ports { type inet_service; flags interval; elements = { 22-80, 2222 }; }
		set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.20.0.0/24 . 443, 203.0.113.0/24 . 80-90 }; }
		map v { type ipv4_addr : verdict; elements = { 10.20.0.11 : jump sub, 203.0.113.10 : drop }; }
		chain sub { tcp dport @ports accept; ip daddr . tcp dport @pairs drop; }
		chain f { type filter hook forward priority 0; policy drop; ct state established accept; ip saddr . th dport @pairs drop; ip saddr vmap @v; udp dport { 53, 80 } accept; meta l4proto vmap { icmp : accept, ipv6-icmp : accept }; } }`, 2}, // what stands where an ICMP message has no port is its checksum
	{"odd slices and masks", `table ip f { chain f { type filter hook forward priority 0; policy accept;
		ip saddr 10.0.0.0/11 ip daddr & 0.0.0.7 == 2 tcp dport 22 drop; ip daddr 203.0.112.0/23 tcp dport & 0xff00 == 0 drop; udp dport 1024-65535 drop; tcp flags & (syn|ack) == syn tcp dport 443 drop; } }`, 0},
	{"marks between hooks", `table ip m { chain p { type filter hook prerouting priority -150; tcp dport 80 meta mark set 0x17; tcp dport 22 ct mark set 5; }
		chain f { type filter hook forward priority 0; meta mark & 0xf0 == 0x10 drop; ct mark 5 ct direction reply drop; } }`, 0},
	{"later hooks see the new port", nat22 + `table ip f { chain p { type filter hook prerouting priority -150; tcp dport 22 ip daddr 10.20.0.12 drop; }
		chain q { type filter hook prerouting priority -90; tcp dport 2222 drop; }
		chain f { type filter hook forward priority 0; meta l4proto udp ct original proto-dst 2222 drop; } }`, 0},
	{"notrack", `table ip r { chain p { type filter hook prerouting priority -300; udp dport 53 notrack; tcp dport 80 notrack; tcp sport 80 notrack; } }
		table ip f { chain f { type filter hook forward priority 0; policy drop; ct state new,established accept; }
		chain i { type filter hook input priority 0; policy drop; ct state untracked accept; } }`, 0},
	{"nat chains run where NAT runs", `table ip n { chain p { type nat hook prerouting priority 10; ip daddr 192.0.2.10 udp dport 2222 dnat to 10.20.0.12; } }
		table ip f { chain q { type filter hook prerouting priority 0; udp dport 2222 ip daddr 192.0.2.10 drop; } }`, 0},
	{"first mapping wins", `table ip n { chain p { type nat hook prerouting priority -90; udp dport 2222 dnat to 10.20.0.11; } }
		table ip o { chain p { type nat hook prerouting priority -95; ip daddr 192.0.2.10 udp dport 2222 accept; udp dport 2222 dnat to 10.20.0.12; } }`, 0},
	{"fib", `table inet f { chain p { type filter hook prerouting priority 0; fib daddr type local udp dport 53 drop; fib saddr . iif oif missing drop; } 
		chain f { type filter hook forward priority 0; fib daddr oifname eno1 tcp dport 443 drop; } }`, 0},
	{"fib wants another way", `ip route add 10.20.0.11/32 dev eno1 ## ip route del 10.20.0.11/32 dev eno1
		table ip f { chain p { type filter hook prerouting priority 0; fib saddr . iif oif missing drop; } }`, 0},
	{"bridge family", `table bridge f { chain f { type filter hook forward priority -200; iifname vnet0 ip protocol tcp tcp dport 22 drop; }
		chain i { type filter hook input priority -200; ether saddr 52:54:00:00:00:0a udp dport 53 drop; }
		chain o { type filter hook output priority -200; oifname vnet1 ip protocol icmp drop; ip daddr 10.20.0.11 udp dport 22 drop; } }`, 0},
	{"bridge marks seen by IP", `table bridge f { chain p { type filter hook prerouting priority -300; tcp dport 80 meta mark set 9; } }
		table ip f { chain f { type filter hook forward priority 0; meta mark 9 drop; } }`, 0},
	{"netdev ingress", `table netdev f { chain i { type filter hook ingress device vnet0 priority 0; tcp dport 80 drop; udp sport 53 drop; } 
		chain j { type filter hook ingress device eno1 priority 0; tcp sport 443 drop; } }`, 0},
	{"netdev ingress of the bridge itself", `table netdev f { chain i { type filter hook ingress device virbr-lab priority 0; tcp dport 80 drop; udp dport 53 drop; } }`, 0},
	{"netdev egress of the bridge itself", `table netdev f { chain e { type filter hook egress device virbr-lab priority 0; tcp dport 80 drop; udp dport 53 drop; udp sport 443 drop; } }`, 0},
	{"inet ingress", `table inet f { chain i { type filter hook ingress device eno1 priority 0; tcp dport 22 drop; } }`, 0},
	{"postrouting", nat22 + `table ip f { chain p { type filter hook postrouting priority 50; oifname eno1 ip saddr 10.20.0.0/24 tcp dport 80 drop; }
		chain q { type filter hook postrouting priority 150; oifname eno1 ip saddr 192.0.2.10 tcp dport 443 drop; iifname vnet0 udp dport 22 drop; iifname virbr-lab udp dport 80 drop; } }`, 0},
	{"a limit", `table ip f { chain f { type filter hook forward priority 0; udp dport 22 limit rate 1/minute drop; limit rate 1/minute log prefix "x" level debug; } }`, 3},
	{"forwarding off", `sysctl net.ipv4.ip_forward=0 ## sysctl net.ipv4.ip_forward=1
		` + nat22, 0},
	{"forwarding off at one link", "sysctl net.ipv4.conf.eno1.forwarding=0 ## sysctl net.ipv4.conf.eno1.forwarding=1", 0},
	{"IPv6 forwarding off", "sysctl net.ipv6.conf.all.forwarding=0 ## sysctl net.ipv6.conf.all.forwarding=1", 0},
	{"blackhole", "ip route add blackhole 203.0.113.0/24 ## ip route del blackhole 203.0.113.0/24", 0},
	{"no default", "ip route del default via 192.0.2.1 dev eno1 ## ip route add default via 192.0.2.1 dev eno1", 0},
	{"policy rules", `ip rule add from 10.20.0.0/24 to 203.0.113.0/24 lookup 100 ## ip rule del from 10.20.0.0/24 to 203.0.113.0/24 lookup 100
		ip route add prohibit default table 100 ## ip route flush table 100`, 0},
	{"marked routes", `ip rule add fwmark 0x7/0xf blackhole ## ip rule del fwmark 0x7/0xf
		table ip m { chain p { type filter hook prerouting priority -150; tcp dport 80 meta mark set 0x17; } 
		chain o { type route hook output priority -150; udp dport 53 meta mark set 7; } }`, 0},
	{"suppress", `ip rule add lookup main suppress_prefixlength 0 ## ip rule del lookup main suppress_prefixlength 0
		ip rule add iif virbr-lab lookup 100 ## ip rule del iif virbr-lab lookup 100
		ip route add unreachable default table 100 ## ip route flush table 100`, 0},
	{"rp_filter strict", `sysctl net.ipv4.conf.all.rp_filter=1 ## sysctl net.ipv4.conf.all.rp_filter=0
		ip route add 203.0.113.0/24 dev virbr-lab ## ip route del 203.0.113.0/24 dev virbr-lab`, 0},
	{"isolated", `ip link set vnet0 type bridge_slave isolated on ## ip link set vnet0 type bridge_slave isolated off
		ip link set vnet1 type bridge_slave isolated on ## ip link set vnet1 type bridge_slave isolated off`, 0},
	{"a port down", "ip link set vnet1 down ## ip link set vnet1 up", 0},
	{"a port without its bridge", "ip link set vnet1 nomaster ## ip link set vnet1 master virbr-lab", 0},
	{"a forward from the host", nat22 + `table ip n { chain o { type nat hook output priority -100; udp dport 2222 dnat to 10.20.0.12; } }`, 0},
	{"a forward from localhost", `sysctl net.ipv4.conf.virbr-lab.route_localnet=1 ## sysctl net.ipv4.conf.virbr-lab.route_localnet=0
		table ip n { chain o { type nat hook output priority -100; udp dport 2222 dnat to 10.20.0.12; }
		chain p { type nat hook postrouting priority 100; ip saddr 127.0.0.1 oifname virbr-lab masquerade; } }`, 0},

	// Each of these was once a disagreement.
	{"the output hook keeps its interface after DNAT", `table ip n { chain o { type nat hook output priority -100; udp dport 2222 dnat to 10.20.0.12; } }
		table ip f { chain o { type filter hook output priority 0; oifname virbr-lab udp dport 2222 drop; udp dport 53 oifname lo drop; } }`, 0},
	{"bridged NAT makes a packet the host's", `table ip n { chain p { type nat hook prerouting priority -100; udp dport { 22, 443 } redirect to :53; } }
		table ip f { chain i { type filter hook input priority 0; policy drop; meta pkttype host udp dport 53 accept; } }`, 0},
	{"bridged NAT changes the frame's destination", `table ip n { chain p { type nat hook prerouting priority -100; ip daddr 192.0.2.10 dnat to 10.20.0.12; } }
		table bridge b { chain f { type filter hook forward priority 10; policy drop; ether daddr 52:54:00:00:00:0b accept; } }`, 0},
	{"IP's postrouting of bridged packets sees the host's type", `table ip f { chain p { type filter hook postrouting priority 0; oifname virbr-lab meta pkttype host tcp dport 22 drop; meta pkttype other meta l4proto udp drop; } }`, 0},
	{"entries are confirmed before loopback input", `table ip f { chain i { type filter hook input priority 0; iifname lo ct status confirmed udp dport 53 drop; iifname virbr-lab ct status confirmed udp dport 53 drop; } }`, 0},
	{"answers that conntrack does not see", `table ip r { chain p { type filter hook prerouting priority -300; tcp sport 80 notrack; udp sport 443 notrack; } }
		table ip f { chain f { type filter hook forward priority 0; tcp dport 80 ct state invalid drop; udp dport 443 ct state established drop; } }`, 0},
	{"a port rewritten before conntrack", `table ip r { chain p { type filter hook prerouting priority -300; udp dport 53 udp dport set 54; } 
		chain o { type filter hook output priority -300; udp dport 53 udp dport set 54; } }`, 0},
	{"NAT starts from what conntrack knows", `table ip n { chain q { type filter hook postrouting priority 0; udp dport 53 udp sport set 1024; udp dport 80 ip saddr set 10.20.0.9; }
		chain p { type nat hook postrouting priority 100; oifname eno1 meta l4proto { tcp, udp } masquerade to :1024-65535; } }`, 5}, // answers that match no entry any more
	{"later packets rewritten", `table ip f { chain f { type filter hook forward priority 0; ct state established tcp dport 443 tcp dport set 444; } }`, 0},
	{"iptables-nft", `iptables -A FORWARD -d 10.20.0.11 -p tcp --dport 22 -j DROP ## iptables -F
		iptables -A INPUT -s 10.0.0.0/8 -p udp --sport 22 -j DROP ## iptables -F
		iptables -t nat -A POSTROUTING -s 10.20.0.0/24 -o eno1 -j MASQUERADE ## iptables -t nat -F
		iptables -A FORWARD -m multiport -p tcp --dports 443,8000:8080 -j REJECT ## iptables -F`, 0},
}
