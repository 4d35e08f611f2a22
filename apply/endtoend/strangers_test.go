package endtoend_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// strangers draws what others may have put on a host, in the words of their own tools.
type strangers struct {
	*rand.Rand
	// settled says that the file's own addresses are there already: else a rule that asks whose an address is comes to mean
	// something else by the plan, which says so.
	settled bool
	// IPv6 says that the network has it too, and that the rules are about that.
	IPv6 bool
}

func (r *strangers) one(of ...string) string { return of[r.IntN(len(of))] }

func (r *strangers) seldom(s string) string {
	if r.IntN(4) == 0 {
		return s
	}
	return ""
}

// script is a random choice of firewalls. A line that the kernel or the tool does not take is left out by it.
func (r *strangers) script() string {
	var lines []string
	for range 1 + r.IntN(4) {
		var some []string
		switch r.IntN(8) {
		case 0, 1:
			some = r.iptables("iptables-nft")
		case 2, 3:
			some = r.iptables("iptables-legacy")
		case 4, 5, 6:
			some = []string{r.nft(len(lines))}
		default:
			some = r.docker()
		}
		for _, l := range some {
			if r.IPv6 {
				l = inIPv6.Replace(l)
			}
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// inIPv6 says in IPv6 what was said in IPv4, on the same network and its neighbours.
var inIPv6 = strings.NewReplacer(
	"iptables-", "ip6tables-", "-p icmp", "-p ipv6-icmp", "l4proto icmp", "l4proto ipv6-icmp", "ip saddr", "ip6 saddr", "ip daddr", "ip6 daddr",
	"table ip ", "table ip6 ", "ipv4_addr", "ipv6_addr", "ip ttl", "ip6 hoplimit", "0.0.0.255 == 11", "::ff == ::11",
	"10.20.0.5-10.20.0.40", "fd00:20::5-fd00:20::40", "10.20.0.0/24", "fd00:20::/64", "10.20.0.8/29", "fd00:20::10/124", "10.20.0.11", "fd00:20::11",
	"10.20.0.12", "fd00:20::12", "10.0.0.0/8", "fd00::/8", "203.0.113.0/24", "2001:db8:113::/64", "203.0.113.10", "2001:db8:113::10",
	"192.0.2.0/24", "2001:db8:2::/64", "192.0.2.10", "2001:db8:2::10", "192.0.2.1", "2001:db8:2::1",
)

// iptables are rules in one table, some of them in a chain of their own.
func (r *strangers) iptables(tool string) []string {
	places := []string{"filter FORWARD", "filter FORWARD", "filter INPUT", "filter OUTPUT", "raw PREROUTING", "mangle PREROUTING", "mangle FORWARD", "mangle POSTROUTING", "security FORWARD"}
	table, chain, _ := strings.Cut(r.one(places...), " ")
	tool += " -t " + table
	var out []string
	into := chain
	if r.IntN(3) == 0 {
		into = fmt.Sprintf("own%d", r.IntN(100))
		out = append(out, tool+" -N "+into, fmt.Sprintf("%s -A %s %s %s %s", tool, chain, r.seldom(r.xmatch(chain)), r.one("-j", "-g"), into))
	}
	for range 1 + r.IntN(3) {
		target := r.one("DROP", "DROP", "DROP", "REJECT", "RETURN", "ACCEPT")
		if table != "filter" && target == "REJECT" {
			target = "DROP"
		}
		out = append(out, fmt.Sprintf("%s -A %s %s -j %s", tool, into, r.xmatch(chain), target))
	}
	if table == "filter" && chain == "FORWARD" && r.IntN(4) == 0 {
		out = append(out, tool+" -P FORWARD DROP")
	}
	return out
}

// xmatch is what a rule of iptables matches.
func (r *strangers) xmatch(chain string) string {
	var w []string
	not := func() string { return r.seldom("! ") }
	if r.IntN(3) == 0 {
		w = append(w, r.one(not()+"-s 10.20.0.0/24", not()+"-s 10.20.0.11", "-s 10.0.0.0/8", "-s 10.20.0.8/29", not()+"-s 192.0.2.0/24", "-m iprange --src-range 10.20.0.5-10.20.0.40"))
	}
	if r.IntN(3) == 0 {
		w = append(w, r.one(not()+"-d 10.20.0.0/24", not()+"-d 10.20.0.11", "-d 203.0.113.0/24", "-d 203.0.113.10", "-d 10.0.0.0/8", not()+"-d 192.0.2.10"))
	}
	if chain != "OUTPUT" && chain != "POSTROUTING" && r.IntN(3) == 0 {
		w = append(w, not()+r.one("-i eno1", "-i virbr-lab", "-i virbr+", "-i e+"))
	}
	if chain != "INPUT" && chain != "PREROUTING" && r.IntN(3) == 0 {
		w = append(w, not()+r.one("-o eno1", "-o virbr-lab", "-o virbr+", "-o e+"))
	}
	w = append(w, r.one("", "", "-p tcp", "-p udp", "-p icmp", "-p tcp --dport 22", "-p tcp --dport 1:1023", "-p tcp --sport 22", "-p udp --sport 80",
		"-p tcp -m multiport --dports 22,80,443", "-p tcp ! --dport 22", "-p tcp --syn", "! -p tcp"))
	w = append(w, r.seldom("-m conntrack "+r.one("--ctstate NEW", "! --ctstate RELATED,ESTABLISHED", "--ctstate ESTABLISHED", "! --ctstate DNAT")))
	if r.settled {
		w = append(w, r.seldom(r.one("-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL")))
	}
	w = append(w, r.seldom(r.one("-m mark --mark 0", "-m mark ! --mark 0x10/0x10", "-m mark --mark 7", "-m length --length 0:1400", "-m pkttype --pkt-type unicast")))
	return strings.Join(w, " ")
}

// nft is a table of somebody's own.
func (r *strangers) nft(n int) string {
	family := r.one("ip", "inet", "inet", "bridge")
	hook := r.one("forward", "forward", "input", "output", "prerouting", "postrouting")
	prio := r.one("-310", "-160", "-10", "0", "5", "50")
	if family == "bridge" {
		prio = r.one("-210", "0", "50")
	}
	policy := ""
	if hook == "forward" && r.IntN(5) == 0 {
		policy = "policy drop; "
		if family == "bridge" {
			policy += "ether type arp accept; "
		}
	}
	var own, base []string
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(2) {
			own = append(own, r.nmatch(family, hook)+" "+r.nverdict(family, hook))
		}
		base = append(base, r.seldom(r.nmatch(family, hook))+r.one(" jump own", " goto own"))
	}
	for range 1 + r.IntN(2) {
		base = append(base, r.nmatch(family, hook)+" "+r.nverdict(family, hook))
	}
	text := fmt.Sprintf("table %s st%d { set s { type ipv4_addr; flags interval; elements = { 10.20.0.8/29, 192.0.2.1, 203.0.113.10 }; }; chain own { %s }; chain c { type filter hook %s priority %s; %s%s }; }",
		family, n, semicolons(own), hook, prio, policy, semicolons(base))
	return "nft '" + text + "'"
}

func semicolons(rules []string) string {
	var b strings.Builder
	for _, x := range rules {
		b.WriteString(x + "; ")
	}
	return b.String()
}

func (r *strangers) nverdict(family, hook string) string {
	if r.IntN(6) == 0 && family != "bridge" && (hook == "forward" || hook == "input") {
		return "reject"
	}
	return r.one("drop", "drop", "counter drop", "accept", "return")
}

// nmatch is what a rule of nftables matches.
func (r *strangers) nmatch(family, hook string) string {
	var w []string
	not := func() string { return r.seldom("!= ") }
	if r.IntN(3) == 0 {
		w = append(w, "ip saddr "+r.one(not()+"10.20.0.0/24", not()+"10.20.0.11", "@s", "!= @s", "{ 10.20.0.11, 192.0.2.1 }", "10.20.0.5-10.20.0.40", "& 0.0.0.255 == 11"))
	}
	if r.IntN(3) == 0 {
		w = append(w, "ip daddr "+r.one(not()+"10.20.0.0/24", "10.20.0.11", "@s", "!= @s", "203.0.113.0/24", "{ 203.0.113.10, 10.20.0.12 }"))
	}
	in, out := `"virbr-lab"`, `"eno1"`
	if family == "bridge" {
		in, out = `"vnet0"`, `"vnet1"`
	}
	if hook != "output" && hook != "postrouting" && r.IntN(3) == 0 {
		w = append(w, "iifname "+not()+r.one(in, out, `"v*"`, `"e*"`))
	}
	if hook != "input" && hook != "prerouting" && r.IntN(3) == 0 {
		w = append(w, "oifname "+not()+r.one(in, out, `"v*"`, `"e*"`))
	}
	ports := []string{
		"meta l4proto tcp", "meta l4proto udp", "meta l4proto icmp", "meta l4proto != tcp", "tcp dport 22", "tcp dport { 22, 80, 443 }", "tcp dport 1-1023", "tcp dport != 22",
		"tcp sport 22", "udp sport 80", "tcp flags & (syn|ack) == syn", "udp dport 80",
	}
	w = append(w, r.one(ports...))
	if family != "bridge" {
		w = append(w, r.seldom(r.one("ct state new", "ct state != { established, related }", "ct state established", "ct status != dnat", "meta mark 0", "meta mark & 0x10 == 0", "meta length < 1400", "ip ttl > 60")))
		if r.settled {
			w = append(w, r.seldom(r.one("fib daddr type local", "fib daddr type != local")))
		}
	}
	return strings.Join(w, " ")
}

// docker is what Docker leaves on a host without containers.
func (r *strangers) docker() []string {
	tool := r.one("iptables-nft", "iptables-legacy")
	return []string{
		tool + " -N DOCKER-USER", tool + " -N DOCKER-FORWARD", tool + " -A DOCKER-USER -j RETURN", tool + " -A FORWARD -j DOCKER-USER",
		tool + " -A FORWARD -j DOCKER-FORWARD", tool + " -P FORWARD DROP",
	}
}
