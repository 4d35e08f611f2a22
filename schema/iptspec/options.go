package iptspec

// builtin are iptables' own options (iptables(8), PARAMETERS), by every spelling.
var builtin = map[string]string{
	"-s": "-s", "--source": "-s", "--src": "-s",
	"-d": "-d", "--destination": "-d", "--dst": "-d",
	"-i": "-i", "--in-interface": "-i",
	"-o": "-o", "--out-interface": "-o",
	"-p": "-p", "--protocol": "-p", "--proto": "-p",
	"-f": "-f", "--fragment": "-f",
	"-m": "-m", "--match": "-m",
	"-j": "-j", "--jump": "-j",
	"-g": "-g", "--goto": "-g",
	"-t": "-t", "--table": "-t",
	"-c": "-c", "--set-counters": "-c",
	"-4": "-4", "--ipv4": "-4", "-6": "-6", "--ipv6": "-6",
	"-w": "-w", "--wait": "-w", "-W": "-W", "--wait-interval": "-W",
	"-A": "-A", "--append": "-A", "-I": "-I", "--insert": "-I", "-D": "-D", "--delete": "-D", "-C": "-C", "--check": "-C",
}

// option describes an option of a match or a target: who has it, how many values it takes, its one spelling.
type option struct {
	owner string // the match, or for targets the target; "" when several have it
	name  string
	args  int
}

func one(owner, name string) option  { return option{owner, name, 1} }
func flag(owner, name string) option { return option{owner, name, 0} }

// options are those of the common extensions, by every spelling. An option that is not here takes what follows up to the
// next option, and belongs to the extension named last.
var options = map[string]option{
	"--sport": one("", "--sport"), "--source-port": one("", "--sport"),
	"--dport": one("", "--dport"), "--destination-port": one("", "--dport"),
	"--syn": flag("tcp", "--syn"), "--tcp-flags": {"tcp", "--tcp-flags", 2}, "--tcp-option": one("tcp", "--tcp-option"),
	"--icmp-type": one("icmp", "--icmp-type"), "--icmpv6-type": one("icmp6", "--icmpv6-type"),
	"--chunk-types": {"sctp", "--chunk-types", 2}, "--dccp-types": one("dccp", "--dccp-types"),
	"--ahspi": one("ah", "--ahspi"), "--espspi": one("esp", "--espspi"),

	"--sports": one("multiport", "--sports"), "--source-ports": one("multiport", "--sports"),
	"--dports": one("multiport", "--dports"), "--destination-ports": one("multiport", "--dports"),
	"--ports":   one("multiport", "--ports"),
	"--state":   one("state", "--state"),
	"--ctstate": one("conntrack", "--ctstate"), "--ctproto": one("conntrack", "--ctproto"),
	"--ctorigsrc": one("conntrack", "--ctorigsrc"), "--ctorigdst": one("conntrack", "--ctorigdst"),
	"--ctreplsrc": one("conntrack", "--ctreplsrc"), "--ctrepldst": one("conntrack", "--ctrepldst"),
	"--ctorigsrcport": one("conntrack", "--ctorigsrcport"), "--ctorigdstport": one("conntrack", "--ctorigdstport"),
	"--ctreplsrcport": one("conntrack", "--ctreplsrcport"), "--ctrepldstport": one("conntrack", "--ctrepldstport"),
	"--ctstatus": one("conntrack", "--ctstatus"), "--ctexpire": one("conntrack", "--ctexpire"), "--ctdir": one("conntrack", "--ctdir"),
	"--comment":  one("comment", "--comment"),
	"--src-type": one("addrtype", "--src-type"), "--dst-type": one("addrtype", "--dst-type"),
	"--limit-iface-in": flag("addrtype", "--limit-iface-in"), "--limit-iface-out": flag("addrtype", "--limit-iface-out"),
	"--src-range": one("iprange", "--src-range"), "--dst-range": one("iprange", "--dst-range"),
	"--mac-source": one("mac", "--mac-source"), "--pkt-type": one("pkttype", "--pkt-type"),
	"--limit": one("limit", "--limit"), "--limit-burst": one("limit", "--limit-burst"),
	"--physdev-in": one("physdev", "--physdev-in"), "--physdev-out": one("physdev", "--physdev-out"),
	"--physdev-is-in": flag("physdev", "--physdev-is-in"), "--physdev-is-out": flag("physdev", "--physdev-is-out"),
	"--physdev-is-bridged": flag("physdev", "--physdev-is-bridged"),
	"--match-set":          {"set", "--match-set", 2},
	"--uid-owner":          one("owner", "--uid-owner"), "--gid-owner": one("owner", "--gid-owner"),
	"--socket-exists": flag("owner", "--socket-exists"),
	"--mark":          one("", "--mark"), "--length": one("length", "--length"),
	"--ttl-eq": one("ttl", "--ttl-eq"), "--ttl-lt": one("ttl", "--ttl-lt"), "--ttl-gt": one("ttl", "--ttl-gt"), "--ttl": one("ttl", "--ttl-eq"),
	"--hl-eq": one("hl", "--hl-eq"), "--hl-lt": one("hl", "--hl-lt"), "--hl-gt": one("hl", "--hl-gt"),
	"--dscp": one("dscp", "--dscp"), "--tos": one("tos", "--tos"),
	"--string": one("string", "--string"), "--algo": one("string", "--algo"),

	"--reject-with": one("REJECT", "--reject-with"),
	"--log-prefix":  one("LOG", "--log-prefix"), "--log-level": one("LOG", "--log-level"),
	"--log-tcp-sequence": flag("LOG", "--log-tcp-sequence"), "--log-tcp-options": flag("LOG", "--log-tcp-options"),
	"--log-ip-options": flag("LOG", "--log-ip-options"), "--log-uid": flag("LOG", "--log-uid"),
	"--log-macdecode":  flag("LOG", "--log-macdecode"),
	"--nflog-prefix":   one("NFLOG", "--nflog-prefix"),
	"--to-destination": one("DNAT", "--to-destination"), "--to-source": one("SNAT", "--to-source"),
	"--to-ports": one("", "--to-ports"), "--to-port": one("", "--to-ports"), "--to": one("", "--to"),
	"--random": flag("", "--random"), "--random-fully": flag("", "--random-fully"), "--persistent": flag("", "--persistent"),
	"--set-mark": one("", "--set-mark"), "--set-xmark": one("", "--set-xmark"),
	"--save-mark": flag("CONNMARK", "--save-mark"), "--restore-mark": flag("CONNMARK", "--restore-mark"),
	"--set-mss": one("TCPMSS", "--set-mss"), "--clamp-mss-to-pmtu": flag("TCPMSS", "--clamp-mss-to-pmtu"),
	"--checksum-fill": flag("CHECKSUM", "--checksum-fill"), "--set-class": one("CLASSIFY", "--set-class"),
	"--notrack": flag("CT", "--notrack"), "--helper": one("", "--helper"), "--zone": one("CT", "--zone"),
}

// portProtocols have a match of the same name for --sport and --dport.
func portProtocols(p string) bool {
	switch p {
	case "tcp", "udp", "udplite", "sctp", "dccp":
		return true
	}
	return false
}

// impliedMatch is the match that "-p NAME" loads when one of its options follows (iptables(8), -p), and that says
// nothing when it stands without options.
func impliedMatch(proto string) string {
	switch proto {
	case "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "ah", "esp":
		return proto
	case "ipv6-icmp":
		return "icmp6"
	}
	return ""
}
