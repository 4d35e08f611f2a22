package trace_test

import (
	"fmt"
	"strings"
)

// richMatch is a match on any header bit there is: for frames of which every bit is known (FIREWALL's whole list of what must be
// understood, in nft's words).
func (t *tableGen) richMatch() string {
	g := t.generator
	inIP := t.fam == "ip" || t.fam == "ip6" || t.fam == "inet"
	v4, v6 := t.fam != "ip6", t.fam != "ip"
	n := func(max int) string { return fmt.Sprint(g.r.IntN(max)) }
	num := func(key string, vals ...int) string {
		v := vals[g.r.IntN(len(vals))]
		switch g.r.IntN(6) {
		case 0:
			return fmt.Sprintf("%s != %d", key, v)
		case 1:
			return fmt.Sprintf("%s < %d", key, max(v, 1))
		case 2:
			return fmt.Sprintf("%s >= %d", key, v)
		case 3:
			return fmt.Sprintf("%s %d-%d", key, v, v+1+g.r.IntN(20))
		case 4:
			return fmt.Sprintf("%s { %d, %d-%d }", key, v, v+2, v+4)
		}
		return fmt.Sprintf("%s %d", key, v)
	}
	for {
		switch g.r.IntN(44) {
		case 0:
			if v4 {
				return num("ip ttl", 1, 2, 63, 64, 128, 200)
			}
		case 1:
			if v4 {
				return "ip dscp " + pick(g, "cs1", "!= cs0", "{ ef, af11, 0x04 }", "0x3f", "cs0-cs3")
			}
		case 2:
			if v4 {
				return "ip ecn " + pick(g, "not-ect", "ce", "!= ect0", "ect1")
			}
		case 3:
			if v4 {
				return num("ip length", 34, 40, 46, 60, 80)
			}
		case 4:
			if v4 {
				return num("ip id", 100, 1000, 40000, 65000)
			}
		case 5:
			if v4 {
				return "ip frag-off & " + pick(g, "0x4000 != 0", "0x4000 == 0", "0x1fff == 0", "0x3fff != 0")
			}
		case 6:
			if v4 {
				return "ip protocol " + pick(g, "tcp", "udp", "icmp", "esp", "ah", "gre", "47", "{ tcp, 50, 132 }", "!= udp", "sctp", "igmp")
			}
		case 7:
			if v4 {
				return pick(g, "ip hdrlength 5", "ip hdrlength != 5", "ip version 4", "ip hdrlength > 4")
			}
		case 8:
			if v6 {
				return num("ip6 hoplimit", 1, 2, 63, 64, 128, 254)
			}
		case 9:
			if v6 {
				return "ip6 dscp " + pick(g, "cs1", "!= cs0", "{ ef, af11, 0x04 }", "0x3f")
			}
		case 10:
			if v6 {
				return pick(g, "ip6 nexthdr "+pick(g, "tcp", "udp", "ipv6-icmp", "60", "44", "{ 0, 58 }", "!= tcp"), num("ip6 length", 14, 20, 26, 40, 60), "ip6 flowlabel "+pick(g, "0", "!= 0", "< 1000"))
			}
		case 11:
			if v6 {
				return "exthdr " + pick(g, "frag", "dst", "hbh", "rt", "mh") + pick(g, " exists", " missing")
			}
		case 12:
			if v6 {
				return pick(g, "frag frag-off 0", "frag nexthdr 17", "dst nexthdr tcp", "hbh hdrlength 0", "frag id < 2147483648", "frag more-fragments 0")
			}
		case 13:
			return num(pick(g, "tcp window", "tcp urgptr"), 0, 1000, 30000, 60000)
		case 14:
			return "tcp doff " + pick(g, "5", "!= 5", "> 5")
		case 15:
			return "tcp flags " + pick(g, "& (fin|syn|rst|ack) == syn", "== syn|ack", "!= syn", "& fin != 0", "{ syn, ack }", "fin,rst", "& (fin|psh|urg) == fin|psh|urg", "& ecn != 0", "== 0x0")
		case 16:
			return num("udp length", 14, 20, 34, 60)
		case 17:
			return pick(g, "sctp", "udplite", "dccp", "th") + pick(g, " sport ", " dport ") + g.op() + g.ports()
		case 18:
			return num("sctp vtag", 0, 1)
		case 19:
			return pick(g, num("esp spi", 1000, 1<<30), num("ah spi", 1000, 1<<30), num("esp sequence", 1<<31), "comp cpi != 5")
		case 20:
			if v4 {
				return pick(g, "icmp type "+pick(g, "3", "echo-request", "{ 0, 3, 8, 11 }", "!= 8", "11-14"), "icmp code "+pick(g, "0", "1", "!= 0", "{ 0, 2 }"), num("icmp id", 1000, 60000), num("icmp sequence", 1000, 40000))
			}
		case 21:
			if v6 {
				return pick(g, "icmpv6 type "+pick(g, "1", "echo-request", "{ 128, 129, 3 }", "!= 128", "133-137"), "icmpv6 code "+pick(g, "0", "1", "!= 0"), num("icmpv6 id", 1000, 60000))
			}
		case 22:
			if v4 {
				return "igmp type " + pick(g, "0x11", "!= 0x11")
			}
		case 23, 24:
			if t.fam == "bridge" || t.fam == "netdev" || t.hook == "prerouting" || t.hook == "input" || t.hook == "forward" {
				return "ether saddr " + g.op() + pick(g, macA.String(), macB.String(), macW.String(), "{ "+macA.String()+", 52:56:00:00:00:00-52:56:00:00:01:ff }", "& ff:ff:00:00:00:00 == 52:56:00:00:00:00")
			}
		case 25:
			if t.fam == "bridge" || t.fam == "netdev" {
				return "ether daddr " + g.op() + pick(g, macA.String(), macB.String(), "02:00:00:00:00:fe", "& 01:00:00:00:00:00 == 00:00:00:00:00:00")
			}
		case 26:
			return num("meta length", 34, 40, 46, 54, 60, 80)
		case 27:
			return "meta protocol " + pick(g, "ip", "ip6", "!= ip", "{ ip, ip6 }", "arp")
		case 28:
			return "meta pkttype " + pick(g, "host", "!= host", "other", "{ broadcast, multicast }", "host")
		case 29:
			if inIP && (t.hook == "prerouting" || t.hook == "input" || t.hook == "forward") {
				return pick(g, "iif ", "iif != ") + pick(g, "virbr-lab", "eno1", "lo")
			}
		case 30:
			if inIP && (t.hook == "output" || t.hook == "postrouting" || t.hook == "forward") {
				return pick(g, "oif ", "oif != ") + pick(g, "virbr-lab", "eno1", "lo")
			}
		case 31:
			if t.hook == "prerouting" || t.hook == "input" || t.hook == "forward" {
				return pick(g, "iifgroup 0", "iifgroup != 0", "iiftype ether", "iiftype != ether", "meta iifkind bridge", "meta iifkind != veth")
			}
		case 32:
			if inIP {
				return pick(g, "ct zone 0", "ct protocol "+pick(g, "tcp", "udp", "!= tcp", "{ icmp, 47 }"), "ct l3proto ipv4", "ct mark & 0x3 != 0", "ct mark { 0x0, 0x1 }", "ct mark > 0x1")
			}
		case 33:
			if inIP {
				return "ct " + pick(g, "original", "reply") + pick(g, " proto-src ", " proto-dst ") + g.op() + fmt.Sprint(pick(g, somePorts...))
			}
		case 34:
			if t.fam == "ip" {
				return "ct " + pick(g, "original", "reply") + pick(g, " saddr ", " daddr ") + g.op() + g.prefix4()
			}
		case 35:
			if inIP && (t.hook == "prerouting" || t.hook == "input" || t.hook == "forward" || t.hook == "output" || t.hook == "postrouting") && t.fam != "ip6" {
				return "fib " + pick(g, "saddr", "daddr") + pick(g, "", " . mark") + " type " + pick(g, "local", "unicast", "!= local", "broadcast")
			}
		case 36:
			if t.fam == "ip" && t.hook == "postrouting" {
				return "rt nexthop " + pick(g, "192.0.2.1", "!= 192.0.2.1", "10.20.0.9")
			}
		case 37:
			return "@th," + n(6) + "," + fmt.Sprint(1+g.r.IntN(9)) + pick(g, " < ", " != ", " >= ") + pick(g, "1", "0", "2")
		case 38:
			if v4 && t.fam != "netdev" {
				at := 64 + g.r.IntN(10) // hop limit and protocol, or the addresses: never the checksum, which NAT changes
				if g.chance(50) {
					at = 96 + g.r.IntN(58)
				}
				return fmt.Sprintf("@nh,%d,%d %s", at, 1+g.r.IntN(6), pick(g, "0", "1", "!= 1"))
			}
		case 39:
			return "meta l4proto " + pick(g, "{ 6, 17, 132 }", "47", "50", "51", "!= { 6, 17 }", "sctp", "1-17", "udplite", "2")
		case 40:
			if v4 {
				return "ip " + pick(g, "saddr", "daddr") + " . ip protocol . th " + pick(g, "sport", "dport") + pick(g, " ", " != ") + "{ " + g.prefix4() + " . " + pick(g, "tcp", "udp", "6-17") + " . " + strings.TrimPrefix(g.ports(), "!= ") + " }"
			}
		case 41:
			if t.hook == "prerouting" || t.hook == "input" || t.hook == "forward" {
				return "iifname " + pick(g, "{ virbr-lab, eno1 }", `{ "v*", eno1 }`, "!= { lo, vnet0 }")
			}
		case 42:
			return "meta mark " + pick(g, "& 0xff00 == 0", "{ 0x0, 0x3-0x5 }", "< 0x2", "0x40")
		case 43:
			if v4 {
				return pick(g, "tcp option maxseg exists", "tcp option sack-permitted missing", "ip option lsrr exists", "ip option ra missing")
			}
		}
	}
}

// darkMatch is a match that no snapshot can answer.
func (t *tableGen) darkMatch() string {
	g := t.generator
	for {
		switch g.r.IntN(9) {
		case 0, 1:
			return "limit rate " + pick(g, "over ", "") + pick(g, "1/minute", "100/second burst 5 packets", "10 mbytes/second")
		case 2:
			return "meta " + pick(g, "hour \"08:00\"-\"20:00\"", "day \"Sunday\"", "time > \"2026-01-01 00:00:00\"")
		case 3:
			return "numgen " + pick(g, "inc", "random") + " mod 3 " + pick(g, "0", "< 2", "!= 1")
		case 4:
			if t.fam != "ip6" {
				return "jhash ip saddr mod 4 seed 0xbeef " + pick(g, "0", "< 2")
			}
		case 5:
			return "quota " + pick(g, "over ", "until ") + pick(g, "200 bytes", "100 mbytes")
		case 6:
			if t.fam == "ip" || t.fam == "inet" {
				return "ct count " + pick(g, "over ", "") + "3"
			}
		case 7:
			return "meta cpu " + pick(g, "0", "!= 0")
		case 8:
			return "meta random < 1000000000"
		}
	}
}

// richVerdict is an effect on any header, or a way of ending a rule that the plain generator does not have.
func (t *tableGen) richVerdict() string {
	g := t.generator
	inIP := t.fam == "ip" || t.fam == "ip6" || t.fam == "inet"
	v4, v6 := t.fam != "ip6", t.fam != "ip"
	for {
		switch g.r.IntN(22) {
		case 0:
			if v4 && t.fam != "netdev" {
				return pick(g, "ip ttl set 64", "ip ttl set 2", "ip dscp set ef", "ip ecn set ce", "ip id set 1000")
			}
		case 1:
			if v6 && t.fam != "netdev" {
				return pick(g, "ip6 hoplimit set 64", "ip6 dscp set cs1", "ip6 hoplimit set 2")
			}
		case 2:
			return "meta mark set " + pick(g, "meta mark << 2", "meta mark >> 1", "(meta mark | 0x10) & 0xfe", "0x40", "meta mark xor 0xff")
		case 3:
			if t.fam == "ip" || t.fam == "inet" {
				return pick(g, "meta mark set ip saddr map { 10.20.0.0/29 : 0x1, 10.20.0.8-10.20.0.11 : 0x2, * : 0x4 }", "meta mark set tcp dport map { 22 : 0x1, 80-443 : 0x2 }")
			}
		case 4:
			return "meta pkttype set " + pick(g, "host", "other", "broadcast")
		case 5:
			return pick(g, "meta priority set 1:2", "meta nftrace set 0", "log prefix \"x\" level debug continue")
		case 6:
			if inIP {
				return "ct mark set " + pick(g, "ct mark | 0x2", "meta mark & 0x1", "ct mark xor 0x3", "0x10")
			}
		case 7:
			if inIP && (t.hook == "input" || t.hook == "forward" || t.hook == "output") {
				switch t.fam {
				case "ip":
					return "reject with " + pick(g, "icmp type host-unreachable", "icmp type admin-prohibited", "icmp type port-unreachable")
				case "inet":
					return "reject with " + pick(g, "icmpx type admin-prohibited", "icmpx type no-route")
				}
				return "reject with icmpv6 type admin-prohibited"
			}
		case 8:
			if inIP && (t.hook == "input" || t.hook == "forward" || t.hook == "output") {
				return "meta l4proto tcp reject with tcp reset"
			}
		case 9:
			if (t.hook == "prerouting" || t.hook == "input" || t.hook == "forward") && len(t.subs) > 0 {
				return "iifname vmap { virbr-lab : " + pick(g, "accept", "drop", "continue", "jump "+t.subs[0]) + ", eno1 : " + pick(g, "accept", "return", "drop", "goto "+t.subs[0]) + " }"
			}
		case 10:
			return "meta l4proto vmap { tcp : " + pick(g, "accept", "drop", "continue") + ", udp : " + pick(g, "accept", "return") + ", 47 : drop, * : " + pick(g, "continue", "drop", "return") + " }"
		case 11:
			if v4 {
				return "ip saddr . ip daddr vmap { 10.20.0.0/24 . 203.0.113.0/24 : " + pick(g, "drop", "accept") + ", 10.20.0.8/30 . 10.20.0.12/30 : " + pick(g, "drop", "return") + " }"
			}
		case 12:
			if t.fam == "bridge" && (t.hook == "prerouting" || t.hook == "forward" || t.hook == "postrouting") {
				return pick(g, "ether saddr set 52:54:00:00:00:0c", "meta mark set 0x1")
			}
		case 13:
			return pick(g, "continue", "counter", "counter accept", "counter drop")
		case 14:
			if v4 && t.fam != "netdev" {
				return "ip dscp vmap { cs0 : " + pick(g, "continue", "return", "accept") + ", cs1 : drop, 0x04-0x20 : " + pick(g, "accept", "drop") + " }"
			}
		case 15:
			return "tcp flags vmap { syn : " + pick(g, "accept", "drop", "continue") + ", ack : " + pick(g, "drop", "return") + " }"
		case 16:
			return "meta mark vmap { 0x0 : " + pick(g, "accept", "continue", "return", "drop") + ", 0x1-0x3 : " + pick(g, "drop", "accept") + " }"
		case 17:
			if v4 {
				return "icmp type vmap { 8 : " + pick(g, "drop", "accept", "continue") + ", 0-3 : drop, 11 : return }"
			}
		case 18:
			if v6 {
				return "ip6 saddr vmap { 2001:db8:20::/125 : " + pick(g, "drop", "accept") + ", 2001:db8:20::8-2001:db8:20::b : " + pick(g, "drop", "return") + ", 2001:db8:99::/48 : drop }"
			}
		case 19:
			if len(t.subs) > 0 {
				return "th dport vmap { 0-79 : " + pick(g, "accept", "return") + ", 80 : " + pick(g, "jump ", "goto ") + pick(g, t.subs...) + ", 81-1023 : drop }"
			}
		case 20:
			if v4 && (t.fam == "ip" || t.fam == "inet") && t.hook == "prerouting" && g.chance(30) {
				return pick(g, "ip daddr set 10.20.0.9", "tcp dport set 22", "udp dport set ip saddr map { 10.20.0.8 : 53 }")
			}
		case 21:
			if t.hook == "prerouting" || t.hook == "output" {
				if t.fam != "bridge" && t.fam != "netdev" {
					return "notrack"
				}
			}
		}
	}
}

// natTable6 rewrites addresses of IPv6.
func (g *generator) natTable6(b *strings.Builder) {
	fam := pick(g, "ip6", "ip6", "inet")
	ip := ""
	if fam == "inet" {
		ip = "ip6 "
	}
	to := func() string { return pick(g, labHosts6...) }
	fmt.Fprintf(b, "table %s nat6 {\n%s", fam, tracked)
	chain := func(name, hook string, prio int, acts ...string) {
		fmt.Fprintf(b, "\tchain %s {\n\t\ttype nat hook %s priority %d;\n", name, hook, prio)
		for range 1 + g.r.IntN(4) {
			t := &tableGen{generator: g, fam: fam, hook: "any"}
			var m []string
			for range g.r.IntN(3) {
				m = append(m, t.match())
			}
			fmt.Fprintf(b, "\t\t%s %s\n", strings.Join(m, " "), pick(g, acts...))
		}
		b.WriteString("\t}\n")
	}
	dnat := []string{
		"dnat " + ip + "to " + to(), "tcp dport 22-81 dnat " + ip + "to [" + to() + "]:22", "udp dport { 53, 80 } dnat " + ip + "to [" + to() + "]:8080", "accept", "return",
		"meta l4proto { tcp, udp } redirect to :8080", "meta l4proto tcp redirect", "dnat " + "ip6 to ip6 daddr map { 2001:db8:2::10 : 2001:db8:20::c, 2001:db8:20::1 : 2001:db8:20::9 }",
		"dnat ip6 prefix to ip6 daddr map { 2001:db8:2::/120 : 2001:db8:20::/120 }",
	}
	chain("pre", "prerouting", pick(g, -103, -92, 9), dnat...)
	if g.chance(40) {
		chain("out", "output", -103, dnat[:7]...)
	}
	chain("post", "postrouting", 103, "oifname eno1 masquerade", "oifname eno1 snat "+ip+"to 2001:db8:2::10", "oifname virbr-lab masquerade", "accept", "ip6 daddr 2001:db8:20::/64 snat "+ip+"to 2001:db8:20::1", "masquerade")
	if g.chance(20) {
		chain("in", "input", 103, "snat "+ip+"to 2001:db8:2::1", "accept")
	}
	b.WriteString("}\n")
}

// richRuleset is a ruleset for frames, of every family and hook there is.
func (g *generator) richRuleset() string {
	var b strings.Builder
	prio := g.r.Perm(39)
	next := func(base int) int {
		p := base + 1 + prio[0] // never where iptables or conntrack stand
		prio = prio[1:]
		return p
	}
	g.rich = true
	for i := range 1 + g.r.IntN(3) {
		g.table(&b, pick(g, "ip", "inet", "inet", "ip6"), fmt.Sprintf("t%d", i), next)
	}
	if g.chance(40) {
		g.table(&b, "bridge", "br", next)
	}
	if g.chance(25) {
		g.table(&b, "netdev", "dev", next)
	}
	if g.chance(50) {
		g.natTable(&b)
	}
	if g.chance(30) && !g.deaf6 {
		g.natTable6(&b)
	}
	if g.chance(10) {
		fmt.Fprintf(&b, "table inet asleep {\n\tflags dormant;\n\tchain c {\n\t\ttype filter hook forward priority %d; policy drop;\n\t}\n}\n", next(0))
	}
	return b.String()
}

// hooked are devices that a chain of the netdev family may be hooked to.
func (g *generator) hooked() []string {
	if g.rich {
		return []string{"vnet0", "vnet1", "eno1", "virbr-lab", "lo"}
	}
	return []string{"vnet0", "vnet1", "eno1"}
}
