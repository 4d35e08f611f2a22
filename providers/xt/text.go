package xt

import (
	"fmt"
	"net/netip"
	"strconv"
)

// ProtocolName is how iptables -S prints a protocol: by the name that /etc/protocols gives it everywhere.
func ProtocolName(n byte) string {
	if name, ok := protocolNames[n]; ok {
		return name
	}
	return strconv.FormatUint(uint64(n), 10)
}

// protocolNames are those of the IANA in Debian's /etc/protocols.
var protocolNames = map[byte]string{
	0: "all", 1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup",
	17: "udp", 20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp",
	38: "idpr-cmtp", 41: "ipv6", 43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre",
	50: "esp", 51: "ah", 57: "skip", 58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp",
	88: "eigrp", 89: "ospf", 93: "ax.25", 94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp",
	112: "vrrp", 115: "l2tp", 124: "isis", 132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite",
	137: "mpls-in-ip", 138: "manet", 139: "hip", 140: "shim6", 141: "wesp", 142: "rohc", 143: "ethernet",
}

// Prefix writes an address with its mask as iptables -S does: "10.0.0.0/8", "192.0.2.1/32", "10.0.0.1/255.0.0.255".
func Prefix(addr, mask []byte) string {
	a, ok := netip.AddrFromSlice(addr)
	if !ok {
		return fmt.Sprintf("%x/%x", addr, mask)
	}
	if ones, contiguous := maskBits(mask); contiguous {
		return fmt.Sprintf("%s/%d", a, ones)
	}
	m, _ := netip.AddrFromSlice(mask)
	return fmt.Sprintf("%s/%s", a, m)
}
