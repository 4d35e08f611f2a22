package nft

// Attributes and flags that golang.org/x/sys/unix lacks, by the names of include/uapi/linux/netfilter/nf_tables.h.
const (
	nftaHookDevs = 4 // NFTA_HOOK_DEVS

	nftaTableHandle   = 4 // NFTA_TABLE_HANDLE
	nftaTableUserdata = 6 // NFTA_TABLE_USERDATA

	nftaChainFlags    = 10 // NFTA_CHAIN_FLAGS
	nftaChainUserdata = 12 // NFTA_CHAIN_USERDATA

	nftaSetHandle      = 16 // NFTA_SET_HANDLE
	nftaSetDescConcat  = 2  // NFTA_SET_DESC_CONCAT
	nftaSetFieldLen    = 1  // NFTA_SET_FIELD_LEN
	nftaSetElemObjref  = 9  // NFTA_SET_ELEM_OBJREF
	nftaSetElemKeyEnd  = 10 // NFTA_SET_ELEM_KEY_END
	nftSetElemCatchall = 2  // NFT_SET_ELEM_CATCHALL
	nftMaxElemBytes    = 60000

	nftaObjHandle = 6 // NFTA_OBJ_HANDLE

	nftaFlowtableTable  = 1 // NFTA_FLOWTABLE_TABLE
	nftaFlowtableName   = 2 // NFTA_FLOWTABLE_NAME
	nftaFlowtableUse    = 4 // NFTA_FLOWTABLE_USE
	nftaFlowtableHandle = 5 // NFTA_FLOWTABLE_HANDLE

	nftaBitwiseOp   = 6 // NFTA_BITWISE_OP
	nftaBitwiseData = 7 // NFTA_BITWISE_DATA
	nftaBitwiseSReg = 8 // NFTA_BITWISE_SREG2

	nftaSocketKey   = 1 // NFTA_SOCKET_KEY
	nftaSocketDreg  = 2 // NFTA_SOCKET_DREG
	nftaSocketLevel = 3 // NFTA_SOCKET_LEVEL

	nftaTproxyFamily  = 1 // NFTA_TPROXY_FAMILY
	nftaTproxyRegAddr = 2 // NFTA_TPROXY_REG_ADDR
	nftaTproxyRegPort = 3 // NFTA_TPROXY_REG_PORT

	nftaFwdSregAddr = 2 // NFTA_FWD_SREG_ADDR
	nftaFwdNfproto  = 3 // NFTA_FWD_NFPROTO

	nftaConnlimitCount = 1 // NFTA_CONNLIMIT_COUNT
	nftaConnlimitFlags = 2 // NFTA_CONNLIMIT_FLAGS

	nftaOsfFlags = 3 // NFTA_OSF_FLAGS

	nftaFlowTableName = 1 // NFTA_FLOW_TABLE_NAME

	nftaDynsetExpressions = 10 // NFTA_DYNSET_EXPRESSIONS

)

// Types of user data, which is libnftnl's own (its include/libnftnl/udata.h) and means nothing to the kernel: one byte type,
// one byte length, value.
const (
	udataComment    = 0 // NFTNL_UDATA_{TABLE,CHAIN,RULE,SET_ELEM}_COMMENT
	udataSetKeyBO   = 0 // NFTNL_UDATA_SET_KEYBYTEORDER
	udataSetDataBO  = 1 // NFTNL_UDATA_SET_DATABYTEORDER
	udataSetComment = 7 // NFTNL_UDATA_SET_COMMENT

	byteorderHost = 1 // BYTEORDER_HOST_ENDIAN of libnftables
	byteorderBig  = 2 // BYTEORDER_BIG_ENDIAN
)

// Families, as table families are written.
var families = []struct {
	name string
	num  byte // NFPROTO_*
}{{"inet", 1}, {"ip", 2}, {"arp", 3}, {"netdev", 5}, {"bridge", 7}, {"ip6", 10}}

func familyName(num byte) string {
	for _, f := range families {
		if f.num == num {
			return f.name
		}
	}
	return ""
}

func familyNumber(name string) (byte, bool) {
	for _, f := range families {
		if f.name == name {
			return f.num, true
		}
	}
	return 0, false
}

// hookNames are the hooks of a family by number; ingress of inet shares its number with prerouting plus five.
func hookNames(family string) []string {
	switch family {
	case "netdev":
		return []string{"ingress", "egress"} // NF_NETDEV_INGRESS, NF_NETDEV_EGRESS
	case "arp":
		return []string{"input", "output", "forward"} // NF_ARP_*
	case "inet":
		return []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	}
	return []string{"prerouting", "input", "forward", "output", "postrouting"}
}
