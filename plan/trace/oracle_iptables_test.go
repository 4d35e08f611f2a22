package trace_test

import (
	"fmt"
	"slices"
	"strings"
)

// hooksOf are the chains each table of iptables has.
var hooksOf = map[string][]string{
	"raw":      {"PREROUTING", "OUTPUT"},
	"mangle":   {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat":      {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
	"filter":   {"INPUT", "FORWARD", "OUTPUT"},
	"security": {"INPUT", "FORWARD", "OUTPUT"},
}

// restore is a random file for iptables-restore or ip6tables-restore: every match and target of theirs that says something of
// a packet's headers.
func (g *generator) restore(v6, nat bool) string {
	var b strings.Builder
	for _, table := range []string{"raw", "mangle", "nat", "filter", "security"} {
		if !g.chance(50) || table == "nat" && !nat {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		hooks := hooksOf[table]
		if table == "filter" && g.chance(30) {
			fmt.Fprintf(&b, ":%s DROP\n", pick(g, hooks...))
		}
		subs := []string{}
		for i := range g.r.IntN(3) {
			subs = append(subs, fmt.Sprintf("SUB%d", i))
			fmt.Fprintf(&b, ":SUB%d -\n", i)
		}
		for i, c := range append(slices.Clone(subs), hooks...) {
			to := subs
			if i < len(subs) {
				to = subs[:i]
			}
			for range g.r.IntN(5) {
				fmt.Fprintf(&b, "-A %s %s\n", c, g.richRule(table, c, v6, to))
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// richRule is a rule of iptables with up to a handful of matches.
func (g *generator) richRule(table, chain string, v6 bool, subs []string) string {
	var w []string
	not := func() string { return pick(g, "", "", "", "! ") }
	prefix := g.prefix4
	if v6 {
		prefix = g.prefix6
	}
	if g.chance(40) {
		w = append(w, not()+pick(g, "-s ", "-d ")+prefix())
	}
	if g.chance(20) && (chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD") {
		w = append(w, not()+"-i "+pick(g, "virbr-lab", "eno1", "virbr+", "lo", "v+"))
	}
	if g.chance(20) && (chain == "OUTPUT" || chain == "POSTROUTING" || chain == "FORWARD") {
		w = append(w, not()+"-o "+pick(g, "virbr-lab", "eno1", "e+", "lo"))
	}
	proto := pick(g, "", "", "tcp", "tcp", "udp", "udp", "icmp", "sctp", "esp", "ah", "gre", "47", "udplite", "dccp", "2")
	if v6 && proto == "icmp" {
		proto = "ipv6-icmp"
	}
	if proto != "" {
		w = append(w, pick(g, "", "", "", "", "", "! ")+"-p "+proto)
		if strings.HasPrefix(w[len(w)-1], "!") {
			proto = "" // no option of a protocol goes with that
		}
	}
	for range g.r.IntN(4) {
		if m := g.extension(chain, proto, v6); m != "" {
			w = append(w, m)
		}
	}
	return strings.Join(append(w, g.richTarget(table, chain, proto, v6, subs)), " ")
}

// extension is one -m of iptables-extensions(8), or an option of the protocol.
func (g *generator) extension(chain, proto string, v6 bool) string {
	not := func() string { return pick(g, "", "", "", "! ") }
	prefix := g.prefix4
	if v6 {
		prefix = g.prefix6
	}
	if g.dark && g.chance(15) {
		return pick(g, "-m limit --limit 1/min", "-m limit --limit 100/sec --limit-burst 3", "-m statistic --mode random --probability 0.5", "-m statistic --mode nth --every 3 --packet 1", "-m string --algo bm --string "+pick(g, "vO", "abc"),
			"-m recent --name x "+pick(g, "--set", "--rcheck --seconds 60", "--update --hitcount 3"), "-m hashlimit --hashlimit-above 5/min --hashlimit-name h --hashlimit-mode srcip", "-m time --timestart 08:00 --timestop 20:00", "-m connlimit --connlimit-above 2",
			"-m quota --quota 1000", "-m connbytes --connbytes 10: --connbytes-dir both --connbytes-mode packets", "-m cpu --cpu 0")
	}
	ports := strings.ReplaceAll(g.ports(), "-", ":")
	inward := chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD"
	if g.chance(50) {
		switch proto {
		case "tcp":
			return pick(g, not()+"--sport "+ports, not()+"--dport "+ports, "--syn", "! --syn", "--tcp-flags SYN,ACK,FIN,RST SYN", not()+"--tcp-flags ALL "+pick(g, "SYN", "NONE", "ALL", "SYN,ACK", "FIN,PSH,URG"),
				"-m multiport "+not()+pick(g, "--dports ", "--sports ", "--ports ")+pick(g, "22,80,1000:2222", "53", "21:23,443,1024:65535"), not()+"--tcp-option "+pick(g, "2", "4"))
		case "udp", "udplite", "dccp":
			if proto != "udp" && g.chance(50) {
				return "-m multiport " + not() + pick(g, "--dports ", "--sports ") + "22,80,1000:2222"
			}
			if proto == "udplite" {
				return ""
			}
			return pick(g, "--sport ", "--dport ") + ports
		case "sctp":
			return pick(g, "-m multiport --ports 22,80,1000:2222", not()+"--dport "+ports, not()+"--sport "+ports)
		case "icmp":
			return not() + "--icmp-type " + pick(g, "echo-request", "echo-reply", "3", "3/1", "8/0", "11", "any", "destination-unreachable")
		case "ipv6-icmp":
			return not() + "--icmpv6-type " + pick(g, "echo-request", "echo-reply", "1", "1/4", "3", "133")
		case "esp":
			return "-m esp " + not() + "--espspi " + pick(g, "0:1000000", "1000000:4000000000")
		case "ah":
			return "-m ah " + not() + "--ahspi " + pick(g, "0:1000000", "1000000:4000000000")
		case "":
			if v6 {
				return pick(g, "-m ah "+not()+"--ahspi "+pick(g, "0:1000000", "1000000:4000000000")+pick(g, "", " --ahres"), "-m ah --ahspi 0:4294967295 "+not()+"--ahlen 24", "-m rt --rt-type 0 "+not()+"--rt-segsleft 0")
			}
		}
	}
	for {
		switch g.r.IntN(28) {
		case 0:
			return "-m conntrack " + not() + "--ctstate " + pick(g, "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "NEW,ESTABLISHED", "UNTRACKED", "NEW,UNTRACKED", "DNAT", "SNAT", "NEW,DNAT")
		case 1:
			return "-m state " + not() + "--state " + pick(g, "NEW", "ESTABLISHED,RELATED", "INVALID", "UNTRACKED")
		case 2:
			return "-m conntrack " + not() + "--ctstatus " + pick(g, "SEEN_REPLY", "CONFIRMED", "EXPECTED", "NONE", "ASSURED", "SEEN_REPLY,CONFIRMED")
		case 3:
			return "-m conntrack " + not() + pick(g, "--ctorigsrc ", "--ctorigdst ", "--ctreplsrc ", "--ctrepldst ") + prefix()
		case 4:
			return "-m conntrack " + not() + "--ctproto " + pick(g, "tcp", "udp", "47")
		case 5:
			return "-m conntrack " + not() + pick(g, "--ctorigdstport ", "--ctorigsrcport ", "--ctreplsrcport ") + ports
		case 6:
			return "-m conntrack --ctdir " + pick(g, "ORIGINAL", "REPLY")
		case 7, 8:
			return "-m mark " + not() + "--mark " + pick(g, "0x1", "0x2", "0x1/0x3", "0x0/0xff", "0x10/0x10")
		case 9:
			return "-m connmark " + not() + "--mark " + pick(g, "0x0", "0x1/0x3", "0x2")
		case 10:
			if v6 {
				return "-m addrtype " + not() + pick(g, "--dst-type ", "--src-type ") + pick(g, "LOCAL", "UNICAST", "MULTICAST")
			}
			return "-m addrtype " + not() + pick(g, "--dst-type ", "--src-type ") + pick(g, "LOCAL", "UNICAST", "LOCAL,BROADCAST", "MULTICAST")
		case 11:
			if !v6 && inward {
				return "-m addrtype --dst-type LOCAL --limit-iface-in"
			}
		case 12:
			if v6 {
				return "-m iprange " + not() + pick(g, "--src-range ", "--dst-range ") + pick(g, "2001:db8:20::9-2001:db8:20::c", "2001:db8:98::-2001:db8:99::ffff")
			}
			return "-m iprange " + not() + pick(g, "--src-range 10.20.0.9-10.20.0.12", "--dst-range 203.0.113.1-203.0.113.64", "--src-range 0.0.0.0-127.255.255.255")
		case 13:
			if inward {
				return "-m mac " + not() + "--mac-source " + pick(g, macA.String(), macB.String(), macW.String())
			}
		case 14:
			if v6 {
				return "-m hl " + pick(g, "--hl-eq 64", "--hl-lt 64", "--hl-gt 63", "! --hl-eq 255")
			}
			return "-m ttl " + pick(g, "--ttl-eq 64", "--ttl-lt 64", "--ttl-gt 63", "! --ttl-eq 255", "--ttl-eq 2")
		case 15:
			return "-m length " + not() + "--length " + pick(g, "34:46", "0:40", "60:65535", "34", "54")
		case 16:
			return "-m dscp " + not() + pick(g, "--dscp 0x0", "--dscp-class EF", "--dscp 0x3f", "--dscp-class CS1")
		case 17:
			return "-m tos " + not() + "--tos " + pick(g, "0x10", "0x0/0x1c", "0xfc/0xfc")
		case 18:
			return "-m ecn " + not() + "--ecn-ip-ect " + pick(g, "0", "1", "2", "3")
		case 19:
			return "-m pkttype " + not() + "--pkt-type " + pick(g, "unicast", "broadcast", "multicast")
		case 20:
			if !v6 {
				return not() + "-f"
			}
			return "-m frag --fragfirst"
		case 21:
			if v6 {
				return "-m ipv6header " + not() + "--header " + pick(g, "dst", "hop", "frag", "prot", "auth", "route,prot", "dst,prot", "none", "esp") + pick(g, " --soft", "")
			}
		case 22:
			if inward {
				return "-m physdev " + not() + pick(g, "--physdev-in vnet0", "--physdev-in vnet+", "--physdev-is-in", "--physdev-is-bridged")
			}
		case 23:
			if chain == "FORWARD" || chain == "POSTROUTING" {
				return "-m physdev " + not() + pick(g, "--physdev-out vnet1", "--physdev-is-out") + " --physdev-is-bridged"
			}
		case 24:
			if inward && g.dark {
				return "-m policy --dir in --pol " + pick(g, "none", "ipsec")
			}
		case 25:
			if chain == "PREROUTING" {
				return "-m rpfilter " + pick(g, "", "--loose", "--invert", "--validmark", "--accept-local", "--accept-local --loose")
			}
		case 26:
			if inward {
				return "-m devgroup " + not() + "--src-group 0x0"
			}
		case 27:
			return "-m comment --comment \"a b\""
		}
	}
}

func (g *generator) richTarget(table, chain, proto string, v6 bool, subs []string) string {
	ported := proto == "tcp" || proto == "udp"
	for {
		switch g.r.IntN(12) {
		case 0, 1:
			return "-j ACCEPT"
		case 2, 3:
			if table != "nat" {
				return "-j DROP"
			}
		case 4:
			return "-j RETURN"
		case 5:
			if len(subs) > 0 {
				return pick(g, "-j ", "-g ") + pick(g, subs...)
			}
		case 6:
			if table == "filter" {
				if proto == "tcp" && g.chance(30) {
					return "-j REJECT --reject-with tcp-reset"
				}
				if v6 {
					return pick(g, "-j REJECT", "-j REJECT --reject-with icmp6-adm-prohibited")
				}
				return pick(g, "-j REJECT", "-j REJECT --reject-with icmp-host-prohibited", "-j REJECT --reject-with icmp-admin-prohibited")
			}
		case 7, 8:
			if table == "mangle" {
				return "-j " + g.mangleTarget(proto, v6)
			}
			if table == "raw" && !strings.HasPrefix(chain, "SUB") {
				return pick(g, "-j CT --notrack", "-j NOTRACK", "-j CT --notrack")
			}
		case 9:
			return pick(g, "-j LOG --log-level debug", "", "", "-j NFLOG --nflog-group 7")
		case 10, 11:
			if table == "nat" {
				if to := g.natTarget(chain, proto, v6, ported); to != "" {
					return "-j " + to
				}
			}
		}
	}
}

func (g *generator) mangleTarget(proto string, v6 bool) string {
	ttl := pick(g, "TTL --ttl-set 64", "TTL --ttl-dec 1", "TTL --ttl-inc 3")
	if v6 {
		ttl = pick(g, "HL --hl-set 64", "HL --hl-dec 1", "HL --hl-inc 3")
	}
	if proto == "tcp" && g.chance(10) {
		return "ECN --ecn-tcp-remove"
	}
	return pick(g, "MARK --set-mark 0x1", "MARK --set-mark 0x2", "MARK --or-mark 0x2", "MARK --and-mark 0x1", "MARK --xor-mark 0x3", "MARK --set-xmark 0x10/0x30",
		"CONNMARK --set-mark 0x1", "CONNMARK --save-mark", "CONNMARK --restore-mark", "CONNMARK --set-xmark 0x2/0x6", "CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x3", "CONNMARK --save-mark --mask 0x1",
		ttl, ttl, "DSCP --set-dscp 0x04", "DSCP --set-dscp-class EF", "TOS --set-tos 0x10", "TOS --and-tos 0xf0", "CLASSIFY --set-class 1:1", "CHECKSUM --checksum-fill")
}

func (g *generator) natTarget(chain, proto string, v6, ported bool) string {
	switch chain {
	case "PREROUTING", "OUTPUT":
		to := pick(g, labHosts...)
		if v6 {
			to = pick(g, labHosts6...)
			if ported && g.chance(40) {
				to = "[" + to + "]:22"
			}
			return pick(g, "DNAT --to "+to, "DNAT --to "+to, "REDIRECT", "NETMAP --to 2001:db8:20::/120")
		}
		if ported {
			to += pick(g, "", ":22")
		}
		if proto == "udp" && g.chance(30) {
			return pick(g, "REDIRECT", "REDIRECT --to-ports 8080")
		}
		return pick(g, "DNAT --to "+to, "DNAT --to "+to, "DNAT --to "+to, "NETMAP --to 10.20.0.8/30")
	case "POSTROUTING":
		if v6 {
			return pick(g, "MASQUERADE", "SNAT --to 2001:db8:2::10", "SNAT --to 2001:db8:20::1", "NETMAP --to 2001:db8:2::/120")
		}
		return pick(g, "MASQUERADE", "SNAT --to 192.0.2.10", "SNAT --to 10.20.0.1", "NETMAP --to 192.0.2.8/29")
	case "INPUT":
		if v6 {
			return "SNAT --to 2001:db8:2::1"
		}
		return "SNAT --to 192.0.2.1"
	}
	return ""
}

// ebtables is a list of rules for ebtables-nft, one command a line.
func (g *generator) ebtables() string {
	var b strings.Builder
	not := func() string { return pick(g, "", "", "! ") }
	for range 1 + g.r.IntN(5) {
		chain := pick(g, "INPUT", "FORWARD", "FORWARD", "OUTPUT")
		var w []string
		switch g.r.IntN(5) {
		case 0:
			w = append(w, "-s "+not()+pick(g, macA.String(), macB.String(), "52:56:00:00:00:00/ff:ff:00:00:00:00"))
		case 1:
			w = append(w, "-d "+not()+pick(g, macA.String(), macB.String(), "Unicast", "Broadcast"))
		case 2:
			if chain != "OUTPUT" {
				w = append(w, "-i "+not()+pick(g, "vnet0", "vnet1", "vnet+"))
			}
		case 3:
			if chain != "INPUT" {
				w = append(w, "-o "+not()+pick(g, "vnet0", "vnet1", "vnet+"))
			}
		}
		switch g.r.IntN(6) {
		case 0, 1, 2:
			w = append(w, "-p IPv4")
			if g.chance(50) {
				w = append(w, pick(g, "--ip-src ", "--ip-dst ")+not()+g.prefix4())
			}
			if g.chance(50) {
				w = append(w, "--ip-proto "+pick(g, "tcp", "udp"), pick(g, "--ip-dport ", "--ip-sport ")+not()+strings.ReplaceAll(g.ports(), "-", ":"))
			}
			if g.chance(20) {
				w = append(w, "--ip-tos "+not()+pick(g, "0x10", "0x00"))
			}
		case 3:
			w = append(w, "-p IPv6")
			if g.chance(50) {
				w = append(w, pick(g, "--ip6-src ", "--ip6-dst ")+not()+g.prefix6())
			}
			if g.chance(50) {
				w = append(w, "--ip6-proto "+pick(g, "tcp", "udp"), "--ip6-dport "+strings.ReplaceAll(g.ports(), "-", ":"))
			}
		case 4:
			w = append(w, "--pkttype-type "+not()+pick(g, "host", "otherhost", "multicast"))
		case 5:
			w = append(w, "--mark "+not()+pick(g, "0x1", "0x0", "0x1/0x3"))
		}
		fmt.Fprintf(&b, "-A %s %s -j %s\n", chain, strings.Join(w, " "), pick(g, "ACCEPT", "DROP", "DROP", "CONTINUE", "RETURN", "mark --mark-set 0x1 --mark-target CONTINUE"))
	}
	if g.chance(20) {
		fmt.Fprintf(&b, "-P %s DROP\n", pick(g, "INPUT", "FORWARD", "OUTPUT"))
	}
	return b.String()
}
