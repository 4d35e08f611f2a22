package nft

import "fmt"

// The words of schema.Expr, by the kernel's numbers (include/uapi/linux/netfilter/nf_tables.h). The spelling is nft(8)'s.

func metaKeys() []string {
	return []string{
		"length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid", "skgid",
		"nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu", "iifgroup", "oifgroup",
		"cgroup", "random", "ipsec", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time", "day", "hour", "sdif", "sdifname", "broute",
	}
}

func ctKeys() []string {
	return []string{
		"state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr", "protocol",
		"proto_src", "proto_dst", "label", "packets", "bytes", "avgpkt", "zone", "event", "saddr", "daddr", "saddr", "daddr", "id",
	}
}

// ctSrcIP is the first of the four keys that name the family beside the address: NFT_CT_SRC_IP, DST_IP, SRC_IP6, DST_IP6.
const ctSrcIP = 19

func cmpOps() []string { return []string{"eq", "neq", "lt", "lte", "gt", "gte"} }

func rangeOps() []string { return []string{"eq", "neq"} }

func bitwiseOps() []string { return []string{"bool", "lshift", "rshift", "and", "or", "xor"} }

func byteorderOps() []string { return []string{"ntoh", "hton"} }

func payloadBases() []string { return []string{"link", "network", "transport", "inner", "tun"} }

func exthdrOps() []string { return []string{"ipv6", "tcpopt", "ip", "sctp", "dccp"} }

func rtKeys() []string { return []string{"classid", "nexthop4", "nexthop6", "tcpmss", "ipsec"} }

func fibResults() []string { return []string{"", "oif", "oifname", "type"} }

func natOps() []string { return []string{"snat", "dnat"} }

func directions() []string { return []string{"original", "reply"} }

func numgenOps() []string { return []string{"inc", "random"} }

func hashOps() []string { return []string{"jhash", "symhash"} }

func dynsetOps() []string { return []string{"add", "update", "delete"} }

func socketKeys() []string { return []string{"transparent", "mark", "wildcard", "cgroupv2"} }

// fibFlagWords are the words of a fib's key, in nft's order; FibPresent stays a flag.
func fibFlagWords() []string { return []string{"saddr", "daddr", "mark", "iif", "oif"} }

const fibPresent = 1 << 5 // NFTA_FIB_F_PRESENT

// word is the n-th of a list; ok is false beyond it.
func word(list []string, n uint32) (w string, ok bool) {
	if n < uint32(len(list)) {
		return list[n], true
	}
	return fmt.Sprintf("#%d", n), false
}

// number is the place of a word in a list.
func number(list []string, w string) (uint32, bool) {
	for i, s := range list {
		if s == w {
			return uint32(i), true
		}
	}
	return 0, false
}

// registerWord is the index of the 32-bit word where a register begins.
func registerWord(reg uint32) int {
	switch {
	case reg >= 8:
		return int(reg - 8)
	case reg >= 1 && reg <= 4:
		return int(reg-1) * 4
	}
	return -1 // the verdict
}

// typeLen is the length in bytes of libnftables' types (enum datatypes); 0 for one that is unknown or has none.
func typeLen(t uint32) uint32 {
	switch t {
	case typeIPAddr, typeMark, typeRealm, typeClassID, typeUID, typeGID, typeCTState, typeCTStatus, typeTime, typeIfIndex, typeFibAddr, typeDevgroup:
		return 4
	case typeIP6Addr, typeIfName, typeCTLabel:
		return 16
	case typeEtherAddr:
		return 6
	case typeEtherType, typeInetService, typeARPHRD, typeARPOp:
		return 2
	case typeNFProto, typeInetProto, typeICMPType, typeTCPFlag, typeDCCPType, typeMHType, typeICMP6Type, typeCTDir, typePktType,
		typeICMPCode, typeICMP6Code, typeICMPXCode, typeDSCP, typeECN, typeBoolean, typeIGMPType:
		return 1
	}
	return 0
}

// Types of libnftables (enum datatypes of its include/datatype.h): they tell how to print a key.
const (
	typeNFProto     = 2
	typeInteger     = 4
	typeIPAddr      = 7
	typeIP6Addr     = 8
	typeEtherAddr   = 9
	typeEtherType   = 10
	typeARPOp       = 11
	typeInetProto   = 12
	typeInetService = 13
	typeICMPType    = 14
	typeTCPFlag     = 15
	typeDCCPType    = 16
	typeMHType      = 17
	typeTime        = 18
	typeMark        = 19
	typeIfIndex     = 20
	typeARPHRD      = 21
	typeRealm       = 22
	typeClassID     = 23
	typeUID         = 24
	typeGID         = 25
	typeCTState     = 26
	typeCTDir       = 27
	typeCTStatus    = 28
	typeICMP6Type   = 29
	typeCTLabel     = 30
	typePktType     = 31
	typeICMPCode    = 32
	typeICMP6Code   = 33
	typeICMPXCode   = 34
	typeDevgroup    = 35
	typeDSCP        = 36
	typeECN         = 37
	typeFibAddr     = 38
	typeBoolean     = 39
	typeIfName      = 41
	typeIGMPType    = 42
)
