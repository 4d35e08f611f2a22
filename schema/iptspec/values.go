package iptspec

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// addresses brings the value of -s or -d into the form iptables -S prints: "10.0.0.0/8", "192.0.2.1/32". Host names and
// what cannot be read stay as they are.
func addresses(v string) string {
	list := strings.Split(v, ",")
	for i, a := range list {
		list[i] = address(a)
	}
	return strings.Join(list, ",")
}

func address(v string) string {
	host, mask, hasMask := strings.Cut(v, "/")
	a, err := netip.ParseAddr(padded(host, hasMask))
	if err != nil {
		return v
	}
	if !hasMask {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	if n, err := strconv.Atoi(mask); err == nil && n >= 0 && n <= a.BitLen() {
		return netip.PrefixFrom(a, n).Masked().String()
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return v
	}
	ab, mb := a.AsSlice(), m.AsSlice()
	ones, contiguous := 0, true
	for i := range ab {
		ab[i] &= mb[i]
		lead := bits.LeadingZeros8(^mb[i])
		if lead > 0 && ones < 8*i || mb[i] != ^byte(0xff>>lead) {
			contiguous = false
		}
		ones += lead
	}
	a, _ = netip.AddrFromSlice(ab)
	if contiguous {
		return netip.PrefixFrom(a, ones).String()
	}
	return a.String() + "/" + m.String()
}

// padded completes "10/8" and "192.168/16", which iptables takes.
func padded(host string, hasMask bool) string {
	if !hasMask || strings.Contains(host, ":") {
		return host
	}
	for dots := strings.Count(host, "."); dots < 3; dots++ {
		host += ".0"
	}
	return host
}

// protocol is the name iptables prints for a protocol.
func protocol(v string) string {
	v = strings.ToLower(v)
	if name, ok := protocolNames[v]; ok {
		return name
	}
	return v
}

// protocolNames are the names iptables prints, by number (Debian's /etc/protocols) and by other names.
var protocolNames = map[string]string{
	"0": "all", "icmpv6": "ipv6-icmp", "ipv6-mh": "mobility-header", "mh": "mobility-header",
	"1": "icmp", "2": "igmp", "3": "ggp", "4": "ipencap", "5": "st", "6": "tcp", "8": "egp", "9": "igp",
	"12": "pup", "17": "udp", "20": "hmp", "22": "xns-idp", "27": "rdp", "29": "iso-tp4", "33": "dccp",
	"36": "xtp", "37": "ddp", "38": "idpr-cmtp", "41": "ipv6", "43": "ipv6-route", "44": "ipv6-frag",
	"45": "idrp", "46": "rsvp", "47": "gre", "50": "esp", "51": "ah", "57": "skip", "58": "ipv6-icmp",
	"59": "ipv6-nonxt", "60": "ipv6-opts", "73": "rspf", "81": "vmtp", "88": "eigrp", "89": "ospf",
	"93": "ax.25", "94": "ipip", "97": "etherip", "98": "encap", "103": "pim", "108": "ipcomp", "112": "vrrp",
	"115": "l2tp", "124": "isis", "132": "sctp", "133": "fc", "135": "mobility-header", "136": "udplite",
	"137": "mpls-in-ip", "138": "manet", "139": "hip", "140": "shim6", "141": "wesp", "142": "rohc",
	"143": "ethernet", "262": "mptcp",
}

// matchName is the one name of a match that has several.
func matchName(v string) string {
	switch v {
	case "icmpv6":
		return "icmp6"
	case "mport":
		return "multiport"
	}
	return v
}

// service turns the names of common services into numbers, as iptables does by /etc/services.
func service(v string) string {
	if n, ok := map[string]string{
		"ftp": "21", "ssh": "22", "telnet": "23", "smtp": "25", "domain": "53", "bootps": "67", "bootpc": "68", "tftp": "69",
		"http": "80", "www": "80", "pop3": "110", "sunrpc": "111", "ntp": "123", "netbios-ns": "137", "netbios-dgm": "138",
		"netbios-ssn": "139", "imap2": "143", "imap": "143", "snmp": "161", "bgp": "179", "ldap": "389", "https": "443",
		"microsoft-ds": "445", "isakmp": "500", "syslog": "514", "submission": "587", "ldaps": "636", "imaps": "993",
		"pop3s": "995", "openvpn": "1194", "ms-sql-s": "1433", "nfs": "2049", "mysql": "3306", "postgresql": "5432", "mdns": "5353",
	}[v]; ok {
		return n
	}
	if n, err := strconv.ParseUint(v, 0, 16); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return v
}

// ports brings a port or a range into the form iptables prints: "22", "1024:65535".
func ports(v string) string {
	from, to, isRange := strings.Cut(v, ":")
	if !isRange {
		return service(v)
	}
	from, to = service(cmp.Or(from, "0")), service(cmp.Or(to, "65535"))
	if from == to {
		return from
	}
	return from + ":" + to
}

// normal brings an option into its one form; none at all when it says what holds anyway.
func normal(owner, proto string, c clause) []clause {
	switch c.name {
	case "--sport", "--dport":
		c.values[0] = ports(c.values[0])
		if c.values[0] == "0:65535" && !c.not {
			return nil
		}
	case "--sports", "--dports", "--ports":
		list := strings.Split(c.values[0], ",")
		for i := range list {
			list[i] = ports(list[i])
		}
		c.values[0] = strings.Join(list, ",")
	case "--syn":
		c.name, c.values = "--tcp-flags", []string{"FIN,SYN,RST,ACK", "SYN"}
	case "--tcp-flags":
		c.values = []string{tcpFlags(c.values[0]), tcpFlags(c.values[1])}
	case "--icmp-type":
		c.values[0] = icmpType(c.values[0])
		if c.values[0] == "any" || c.values[0] == "255" {
			return nil
		}
	case "--icmpv6-type":
		c.values[0] = icmp6Type(c.values[0])
	case "--state", "--ctstate", "--ctstatus":
		c.values[0] = sorted(c.values[0], []string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"})
	case "--src-type", "--dst-type":
		c.values[0] = strings.ToUpper(c.values[0])
	case "--mac-source":
		c.values[0] = strings.ToLower(c.values[0])
	case "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst":
		c.values[0] = address(c.values[0])
	case "--src-range", "--dst-range":
		if a, b, ok := strings.Cut(c.values[0], "-"); ok && a == b {
			c.values[0] = a
		}
	case "--comment", "--string", "--log-prefix", "--nflog-prefix":
		if c.values[0] == "" {
			return nil
		}
	case "--limit":
		c.values[0] = rate(c.values[0])
	case "--mark":
		c.values[0] = masked(c.values[0])
	case "--limit-burst":
		if owner == "limit" && c.values[0] == "5" {
			return nil
		}
	}
	return normalTarget(owner, proto, c)
}

// normalTarget does the same for the options of targets.
func normalTarget(owner, _ string, c clause) []clause {
	switch {
	case c.name == "--reject-with":
		c.values[0] = rejectType(c.values[0])
		if c.values[0] == "icmp-port-unreachable" || c.values[0] == "icmp6-port-unreachable" {
			return nil
		}
	case c.name == "--log-level":
		if level := logLevel(c.values[0]); level == "4" {
			return nil
		} else {
			c.values[0] = level
		}
	case owner == "MARK" && (c.name == "--set-mark" || c.name == "--set-xmark"):
		c = setMark(c)
	case owner == "CONNMARK" && (c.name == "--set-mark" || c.name == "--set-xmark"):
		c = setMark(c)
	case c.name == "--to" && owner == "DNAT":
		c.name = "--to-destination"
	case c.name == "--to" && owner == "SNAT":
		c.name = "--to-source"
	}
	return []clause{c}
}

// setMark writes "--set-mark v/m" as what iptables stores: "--set-xmark v/(v|m)", in hexadecimal.
func setMark(c clause) clause {
	v, m, ok := valueMask(c.values[0])
	if !ok {
		return c
	}
	if c.name == "--set-mark" {
		m |= v
	}
	return clause{c.not, "--set-xmark", []string{fmt.Sprintf("%#x/%#x", v, m)}}
}

// masked writes "v/m" in hexadecimal, without a mask of all ones.
func masked(s string) string {
	v, m, ok := valueMask(s)
	switch {
	case !ok:
		return s
	case m == 1<<32-1:
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprintf("%#x/%#x", v, m)
}

func valueMask(s string) (v, m uint64, ok bool) {
	a, b, hasMask := strings.Cut(s, "/")
	v, err := strconv.ParseUint(a, 0, 32)
	if err != nil {
		return 0, 0, false
	}
	if !hasMask {
		return v, 1<<32 - 1, true
	}
	m, err = strconv.ParseUint(b, 0, 32)
	return v, m, err == nil
}

// sorted puts the words of a comma list into the given order, others behind it by name.
func sorted(v string, order []string) string {
	list := strings.Split(strings.ToUpper(v), ",")
	rank := func(s string) int {
		if i := slices.Index(order, s); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b)) })
	return strings.Join(slices.Compact(list), ",")
}

func tcpFlags(v string) string {
	order := []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}
	switch strings.ToUpper(v) {
	case "ALL":
		return strings.Join(order, ",")
	case "NONE":
		return "NONE"
	}
	return sorted(v, order)
}

// rate writes a rate as libxt_limit prints it: in the largest unit that divides it well.
func rate(v string) string {
	n, unit, ok := strings.Cut(v, "/")
	if !ok {
		unit = "second"
	}
	count, err := strconv.ParseUint(n, 10, 32)
	if err != nil || count == 0 || unit == "" {
		return v
	}
	units := []struct {
		name   string
		period uint64 // in the kernel's 1/10,000 seconds
	}{{"day", 864000000}, {"hour", 36000000}, {"min", 600000}, {"sec", 10000}}
	for _, u := range units {
		if !strings.HasPrefix(u.name, strings.ToLower(unit)) && !strings.HasPrefix(strings.ToLower(unit), u.name) {
			continue
		}
		period := u.period / count
		if period == 0 {
			return v
		}
		i := 1
		for ; i < len(units); i++ {
			if period > units[i].period || units[i].period/period < units[i].period%period {
				break
			}
		}
		return fmt.Sprintf("%d/%s", units[i-1].period/period, units[i-1].name)
	}
	return v
}

func logLevel(v string) string {
	levels := []string{"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"}
	switch v = strings.ToLower(v); v {
	case "panic":
		return "0"
	case "err":
		return "3"
	case "warn":
		return "4"
	}
	if i := slices.Index(levels, v); i >= 0 {
		return strconv.Itoa(i)
	}
	return v
}

func rejectType(v string) string {
	if full, ok := map[string]string{
		"net-unreach": "icmp-net-unreachable", "host-unreach": "icmp-host-unreachable", "proto-unreach": "icmp-proto-unreachable",
		"port-unreach": "icmp-port-unreachable", "net-prohib": "icmp-net-prohibited", "host-prohib": "icmp-host-prohibited",
		"admin-prohib": "icmp-admin-prohibited", "tcp-rst": "tcp-reset", "no-route": "icmp6-no-route",
		"adm-prohibited": "icmp6-adm-prohibited", "addr-unreach": "icmp6-addr-unreachable",
	}[v]; ok {
		return full
	}
	return v
}

func icmpType(v string) string {
	if n, ok := map[string]string{
		"echo-reply": "0", "pong": "0", "destination-unreachable": "3", "network-unreachable": "3/0", "host-unreachable": "3/1",
		"protocol-unreachable": "3/2", "port-unreachable": "3/3", "fragmentation-needed": "3/4", "source-route-failed": "3/5",
		"source-quench": "4", "redirect": "5", "echo-request": "8", "ping": "8", "router-advertisement": "9",
		"router-solicitation": "10", "time-exceeded": "11", "ttl-exceeded": "11", "ttl-zero-during-transit": "11/0",
		"parameter-problem": "12", "timestamp-request": "13", "timestamp-reply": "14", "address-mask-request": "17",
		"address-mask-reply": "18",
	}[v]; ok {
		return n
	}
	return v
}

func icmp6Type(v string) string {
	if n, ok := map[string]string{
		"destination-unreachable": "1", "packet-too-big": "2", "time-exceeded": "3", "ttl-exceeded": "3", "parameter-problem": "4",
		"echo-request": "128", "ping": "128", "echo-reply": "129", "pong": "129", "router-solicitation": "133",
		"router-advertisement": "134", "neighbour-solicitation": "135", "neighbor-solicitation": "135",
		"neighbour-advertisement": "136", "neighbor-advertisement": "136", "redirect": "137",
	}[v]; ok {
		return n
	}
	return v
}
