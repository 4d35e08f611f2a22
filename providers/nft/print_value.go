package nft

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/xt"
)

// value writes a constant of a type as nft prints it; ok is false for a type, or a number of it, whose word is not known.
func (w *ruleText) value(typ uint32, b []byte, bigEndian bool) (string, bool) {
	n := number64(b, bigEndian)
	switch typ {
	case typeIPAddr, typeIP6Addr:
		if len(b) != 4 && len(b) != 16 {
			return "", false
		}
		return addrText(b), true
	case typeEtherAddr:
		if len(b) != 6 {
			return "", false
		}
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]), true
	case typeIfName:
		return quoted(cString(b)), true
	case typeIfIndex:
		if w.link != nil {
			if name := w.link(uint32(n)); name != "" {
				return quoted(name), true
			}
		}
		return strconv.FormatUint(n, 10), true
	case typeMark:
		return fmt.Sprintf("0x%08x", n), true
	case typeInteger, typeInetService:
		return strconv.FormatUint(n, 10), true
	case typeClassID:
		switch n {
		case 0:
			return "none", true
		case 1<<32 - 1:
			return "root", true
		}
		return fmt.Sprintf("%x:%x", n>>16, n&0xffff), true
	case typeInetProto:
		return protocolName(byte(n)), true
	case typeExists:
		if n == 0 {
			return "missing", true
		}
		return "exists", true
	case typeDSCP:
		return dscpName(byte(n)), true
	case typeDevgroup:
		if n == 0 {
			return `"default"`, true
		}
		return strconv.FormatUint(n, 10), true
	case typeTime:
		return duration(n), true
	case typeHex, typeHexByte:
		return fmt.Sprintf("0x%x", n), true
	case typeCTState, typeCTStatus, typeTCPFlag:
		if n == 0 {
			return "0x0", true
		}
		return flagList(typ, b, " | ")
	}
	return codeName(typ, uint32(n))
}

func number64(b []byte, bigEndian bool) uint64 {
	var n uint64
	for i := range b {
		if bigEndian || !isLittleEndian() {
			n = n<<8 | uint64(b[i])
		} else {
			n = n<<8 | uint64(b[len(b)-1-i])
		}
	}
	return n
}

func isLittleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

func addrText(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

// protocolName is how nft prints a protocol: by /etc/protocols, as iptables.
func protocolName(n byte) string {
	if n == 0 {
		return "ip"
	}
	return xt.ProtocolName(n)
}

// maskOnes counts the ones of a mask that has them all in front.
func maskOnes(m []byte) (int, bool) {
	n := new(big.Int).SetBytes(m)
	ones := 0
	for i := len(m)*8 - 1; i >= 0 && n.Bit(i) == 1; i-- {
		ones++
	}
	for i := len(m)*8 - 1 - ones; i >= 0; i-- {
		if n.Bit(i) == 1 {
			return 0, false
		}
	}
	return ones, true
}

type bitName struct {
	bit  uint32
	name string
}

// flagNames are the names of flags, in nft's order.
func flagNames(typ uint32) []bitName {
	switch typ {
	case typeCTState:
		return []bitName{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}
	case typeCTStatus:
		return []bitName{
			{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"},
		}
	case typeTCPFlag:
		return []bitName{
			{1, "fin"}, {2, "syn"}, {4, "rst"}, {8, "psh"}, {16, "ack"}, {32, "urg"}, {64, "ecn"}, {128, "cwr"},
		}
	}
	return nil
}

// dscpName names the code points (datatype dscp of libnftables).
func dscpName(n byte) string {
	names := map[byte]string{
		0: "cs0", 8: "cs1", 16: "cs2", 24: "cs3", 32: "cs4", 40: "cs5", 48: "cs6", 56: "cs7", 1: "lephb", 10: "af11", 12: "af12",
		14: "af13", 18: "af21", 20: "af22", 22: "af23", 26: "af31", 28: "af32", 30: "af33", 34: "af41", 36: "af42", 38: "af43",
		44: "va", 46: "ef",
	}
	if name := names[n]; name != "" {
		return name
	}
	return fmt.Sprintf("0x%02x", n)
}

// codeName is the word for a number of an enumerated type. A number without a word is printed as one where nft does.
func codeName(typ, n uint32) (string, bool) {
	var names map[uint32]string
	switch typ {
	case typeNFProto:
		names = map[uint32]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}
	case typeEtherType:
		names = map[uint32]string{0x0800: "ip", 0x86dd: "ip6", 0x0806: "arp", 0x8100: "8021q", 0x88a8: "8021ad"}
		if names[n] == "" {
			return fmt.Sprintf("0x%04x", n), true
		}
	case typeARPOp:
		names = map[uint32]string{1: "request", 2: "reply", 3: "rrequest", 4: "rreply", 8: "inrequest", 9: "inreply", 10: "nak"}
	case typeICMPType:
		names = map[uint32]string{
			0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request",
			9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem",
			13: "timestamp-request", 14: "timestamp-reply", 15: "info-request", 16: "info-reply", 17: "address-mask-request",
			18: "address-mask-reply",
		}
	case typeICMP6Type:
		names = map[uint32]string{
			1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem", 128: "echo-request",
			129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done",
			133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
			137: "nd-redirect", 138: "router-renumbering", 141: "ind-neighbor-solicit", 142: "ind-neighbor-advert",
			143: "mld2-listener-report",
		}
	case typeICMPCode:
		names = map[uint32]string{
			0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 4: "frag-needed",
			9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
		}
	case typeICMP6Code:
		names = map[uint32]string{
			0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route",
		}
	default:
		return fewNames(typ, n)
	}
	return nameOr(names, n)
}

// fewNames are the types with a handful of words.
func fewNames(typ, n uint32) (string, bool) {
	switch typ {
	case typePktType:
		return nameOnly(map[uint32]string{0: "host", 1: "broadcast", 2: "multicast", 3: "other"}, n)
	case typeCTDir:
		return nameOnly(map[uint32]string{0: "original", 1: "reply"}, n)
	case typeFibAddr:
		return nameOnly(map[uint32]string{
			0: "unspec", 1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
			8: "prohibit",
		}, n)
	case typeARPHRD:
		return nameOnly(map[uint32]string{1: "ether", 512: "ppp", 768: "ipip", 776: "sit", 778: "ipgre", 772: "loopback"}, n)
	case typeDay:
		return nameOnly(map[uint32]string{
			0: `"Sunday"`, 1: `"Monday"`, 2: `"Tuesday"`, 3: `"Wednesday"`, 4: `"Thursday"`, 5: `"Friday"`, 6: `"Saturday"`,
		}, n)
	case typeECN:
		return nameOnly(map[uint32]string{0: "not-ect", 1: "ect1", 2: "ect0", 3: "ce"}, n)
	case typeIGMPType:
		return nameOr(map[uint32]string{
			0x11: "membership-query", 0x12: "membership-report-v1", 0x16: "membership-report-v2", 0x17: "leave-group", 0x22: "membership-report-v3",
		}, n)
	case typeDCCPType:
		return nameOr(map[uint32]string{
			0: "request", 1: "response", 2: "data", 3: "ack", 4: "dataack", 5: "closereq", 6: "close", 7: "reset", 8: "sync", 9: "syncack",
		}, n)
	case typeMHType:
		return nameOr(map[uint32]string{
			0: "binding-refresh-request", 1: "home-test-init", 2: "careof-test-init", 3: "home-test", 4: "careof-test", 5: "binding-update",
			6: "binding-acknowledgement", 7: "binding-error", 8: "fast-binding-update", 9: "fast-binding-acknowledgement",
			10: "fast-binding-advertisement", 11: "experimental-mobility-header", 12: "home-agent-switch-message",
		}, n)
	case typeBoolean:
		return nameOnly(map[uint32]string{0: "0", 1: "1"}, n)
	}
	return "", false
}

func nameOr(names map[uint32]string, n uint32) (string, bool) {
	if name := names[n]; name != "" {
		return name, true
	}
	return strconv.FormatUint(uint64(n), 10), true
}

func nameOnly(names map[uint32]string, n uint32) (string, bool) {
	name, ok := names[n]
	return name, ok
}
