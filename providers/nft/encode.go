package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// errUnwritable says that an expression was only ever read: lowered from iptables, or of a kind we do not make.
var errUnwritable = errors.New("is only understood for reading")

// encoder writes the expressions of the rules of one table.
type encoder struct {
	table *schema.Table // to know which sets are maps
	sets  []*schema.Set // sets beside those of the table: anonymous ones that a rule brings along
	ids   map[string]uint32
}

func (n *encoder) set(name string) *schema.Set {
	for _, s := range n.sets {
		if s.Name == name {
			return s
		}
	}
	if n.table == nil {
		return nil
	}
	return n.table.SetNamed(name)
}

// expressions is the value of NFTA_RULE_EXPRESSIONS.
func (n *encoder) expressions(list []schema.Expr) ([]byte, error) {
	var b builder
	for i := range list {
		elem := b.nest(unix.NFTA_LIST_ELEM)
		if err := n.expression(&b, &list[i]); err != nil {
			return nil, fmt.Errorf("expression %d (%s): %w", i+1, list[i].Name, err)
		}
		b.end(elem)
	}
	return b.b, nil
}

// expression writes one: from its bytes where it has some, else from its fields.
func (n *encoder) expression(b *builder, e *schema.Expr) error {
	switch e.Name {
	case "xtmatch", "xttarget":
		return n.compat(b, e)
	case "in", "netmap", "hops":
		return errUnwritable
	}
	name := e.Name
	switch name {
	case "payload_w":
		name = "payload"
	case "exthdr_w":
		name = "exthdr"
	}
	b.str(unix.NFTA_EXPR_NAME, name)
	data := b.nest(unix.NFTA_EXPR_DATA)
	defer b.end(data)
	if len(e.Opaque) > 0 {
		b.b = append(b.b, e.Opaque...)
		b.pad()
		return nil
	}
	return n.fields(b, e)
}

// compat writes a match or target of iptables that was not lowered.
func (n *encoder) compat(b *builder, e *schema.Expr) error {
	name := "match"
	if e.Name == "xttarget" {
		name = "target"
	}
	b.str(unix.NFTA_EXPR_NAME, name)
	data := b.nest(unix.NFTA_EXPR_DATA)
	b.str(unix.NFTA_MATCH_NAME, e.Key)
	b.u32(unix.NFTA_MATCH_REV, e.Code)
	b.bytes(unix.NFTA_MATCH_INFO, e.Opaque)
	b.end(data)
	return nil
}

func (n *encoder) fields(b *builder, e *schema.Expr) error {
	switch e.Name {
	case "payload", "payload_w":
		return encodePayload(b, e)
	case "meta":
		return encodeMeta(b, e)
	case "ct":
		return encodeCT(b, e)
	case "cmp":
		return encodeCmp(b, e)
	case "range":
		return encodeRange(b, e)
	case "bitwise":
		return encodeBitwise(b, e)
	case "byteorder":
		return encodeByteorder(b, e)
	case "lookup":
		return n.lookup(b, e)
	case "immediate":
		return encodeImmediate(b, e)
	case "fib":
		return encodeFib(b, e)
	case "nat":
		return encodeNat(b, e)
	case "masq", "redir":
		encodeMasq(b, e)
		return nil
	case "reject":
		b.u32(unix.NFTA_REJECT_TYPE, e.Type)
		b.u8(unix.NFTA_REJECT_ICMP_CODE, byte(e.Code))
		return nil
	case "counter", "notrack", "last":
		return nil
	}
	return encodeRare(b, e)
}

// wordNumber finds the number of a word, or says which word is unknown.
func wordNumber(list []string, w, what string) (uint32, error) {
	if i, ok := number(list, w); ok {
		return i, nil
	}
	return 0, fmt.Errorf("unknown %s %q", what, w)
}

// reg writes a register when it is used.
func (b *builder) reg(typ uint16, r uint32) {
	if r != 0 {
		b.u32(typ, r)
	}
}

// optional writes a number when it is not zero.
func (b *builder) optional(typ uint16, v uint32) { b.reg(typ, v) }

func (b *builder) value(typ uint16, v []byte) {
	data := b.nest(typ)
	b.bytes(unix.NFTA_DATA_VALUE, v)
	b.end(data)
}

func (b *builder) verdict(typ uint16, v *schema.Verdict) error {
	code, ok := verdictCode(v.Kind)
	if !ok {
		return fmt.Errorf("unknown verdict %q", v.Kind)
	}
	data := b.nest(typ)
	inner := b.nest(unix.NFTA_DATA_VERDICT)
	b.u32(unix.NFTA_VERDICT_CODE, uint32(code))
	if v.Chain != "" {
		b.str(unix.NFTA_VERDICT_CHAIN, v.Chain)
	}
	b.end(inner)
	b.end(data)
	return nil
}

func encodePayload(b *builder, e *schema.Expr) error {
	base, err := wordNumber(payloadBases(), e.Base, "header")
	if err != nil {
		return err
	}
	b.reg(unix.NFTA_PAYLOAD_DREG, e.DReg)
	b.reg(unix.NFTA_PAYLOAD_SREG, e.SReg)
	b.u32(unix.NFTA_PAYLOAD_BASE, base)
	b.u32(unix.NFTA_PAYLOAD_OFFSET, e.Offset)
	b.u32(unix.NFTA_PAYLOAD_LEN, e.Len)
	if e.Name == "payload_w" {
		b.u32(unix.NFTA_PAYLOAD_CSUM_TYPE, e.CsumType)
		b.u32(unix.NFTA_PAYLOAD_CSUM_OFFSET, e.CsumOffset)
		b.optional(unix.NFTA_PAYLOAD_CSUM_FLAGS, e.Flags)
	}
	return nil
}

func encodeMeta(b *builder, e *schema.Expr) error {
	key, err := wordNumber(metaKeys(), e.Key, "meta key")
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_META_KEY, key)
	if e.Write {
		b.u32(unix.NFTA_META_SREG, e.SReg)
	} else {
		b.u32(unix.NFTA_META_DREG, e.DReg)
	}
	return nil
}

// ctKey is the number of a key: source and destination have one each for no family, IPv4 and IPv6.
func ctKey(e *schema.Expr) (uint32, error) {
	key, err := wordNumber(ctKeys(), e.Key, "ct key")
	if err != nil || (e.Key != "saddr" && e.Key != "daddr") || e.Family == "" {
		return key, err
	}
	key = ctSrcIP
	if e.Key == "daddr" {
		key++
	}
	if e.Family == "ip6" {
		key += 2
	}
	return key, nil
}

func encodeCT(b *builder, e *schema.Expr) error {
	key, err := ctKey(e)
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_CT_KEY, key)
	if e.Write {
		b.u32(unix.NFTA_CT_SREG, e.SReg)
	} else {
		b.u32(unix.NFTA_CT_DREG, e.DReg)
	}
	if e.Dir != "" {
		dir, err := wordNumber(directions(), e.Dir, "direction")
		if err != nil {
			return err
		}
		b.u8(unix.NFTA_CT_DIRECTION, byte(dir))
	}
	return nil
}

func encodeCmp(b *builder, e *schema.Expr) error {
	op, err := wordNumber(cmpOps(), e.Op, "comparison")
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_CMP_SREG, e.SReg)
	b.u32(unix.NFTA_CMP_OP, op)
	b.value(unix.NFTA_CMP_DATA, e.Data)
	return nil
}

func encodeRange(b *builder, e *schema.Expr) error {
	op, err := wordNumber(rangeOps(), e.Op, "comparison")
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_RANGE_SREG, e.SReg)
	b.u32(unix.NFTA_RANGE_OP, op)
	b.value(unix.NFTA_RANGE_FROM_DATA, e.Data)
	b.value(unix.NFTA_RANGE_TO_DATA, e.Data2)
	return nil
}

func encodeBitwise(b *builder, e *schema.Expr) error {
	op, err := wordNumber(bitwiseOps(), e.Op, "operation")
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_BITWISE_SREG, e.SReg)
	b.u32(unix.NFTA_BITWISE_DREG, e.DReg)
	b.u32(unix.NFTA_BITWISE_LEN, e.Len)
	if e.Op == "bool" {
		b.value(unix.NFTA_BITWISE_MASK, e.Data)
		b.value(unix.NFTA_BITWISE_XOR, e.Data2)
		return nil // without NFTA_BITWISE_OP, which kernels before 5.6 do not know
	}
	b.u32(nftaBitwiseOp, op)
	if e.SReg2 != 0 {
		b.u32(nftaBitwiseSReg, e.SReg2)
	} else {
		b.value(nftaBitwiseData, e.Data)
	}
	return nil
}

func encodeByteorder(b *builder, e *schema.Expr) error {
	op, err := wordNumber(byteorderOps(), e.Op, "operation")
	if err != nil {
		return err
	}
	b.u32(unix.NFTA_BYTEORDER_SREG, e.SReg)
	b.u32(unix.NFTA_BYTEORDER_DREG, e.DReg)
	b.u32(unix.NFTA_BYTEORDER_OP, op)
	b.u32(unix.NFTA_BYTEORDER_LEN, e.Len)
	b.u32(unix.NFTA_BYTEORDER_SIZE, e.Size)
	return nil
}

// lookup: in a map of verdicts the result goes to the verdict register, whose number is zero.
func (n *encoder) lookup(b *builder, e *schema.Expr) error {
	set := n.set(e.Set)
	if set == nil {
		return fmt.Errorf("there is no set %q", e.Set)
	}
	b.str(unix.NFTA_LOOKUP_SET, e.Set)
	if id := n.ids[e.Set]; id != 0 {
		b.u32(unix.NFTA_LOOKUP_SET_ID, id)
	}
	b.u32(unix.NFTA_LOOKUP_SREG, e.SReg)
	if e.DReg != 0 || set.DataType == schema.VerdictType && set.Flags&schema.SetMap != 0 {
		b.u32(unix.NFTA_LOOKUP_DREG, e.DReg)
	}
	switch e.Op {
	case "", "eq":
	case "neq":
		b.u32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
	default:
		return fmt.Errorf("unknown comparison %q", e.Op)
	}
	return nil
}

func encodeImmediate(b *builder, e *schema.Expr) error {
	b.u32(unix.NFTA_IMMEDIATE_DREG, e.DReg)
	if e.Verdict != nil {
		return b.verdict(unix.NFTA_IMMEDIATE_DATA, e.Verdict)
	}
	b.value(unix.NFTA_IMMEDIATE_DATA, e.Data)
	return nil
}

func encodeFib(b *builder, e *schema.Expr) error {
	result, err := wordNumber(fibResults(), e.Op, "fib result")
	if err != nil {
		return err
	}
	flags := e.Flags & fibPresent
	for w := range splitWords(e.Key, " . ") {
		i, err := wordNumber(fibFlagWords(), w, "fib key")
		if err != nil {
			return err
		}
		flags |= 1 << i
	}
	b.u32(unix.NFTA_FIB_DREG, e.DReg)
	b.u32(unix.NFTA_FIB_RESULT, result)
	b.u32(unix.NFTA_FIB_FLAGS, flags)
	return nil
}

func encodeNat(b *builder, e *schema.Expr) error {
	op, err := wordNumber(natOps(), e.Op, "kind of NAT")
	if err != nil {
		return err
	}
	family, ok := familyNumber(e.Family)
	if !ok {
		return fmt.Errorf("unknown family %q", e.Family)
	}
	b.u32(unix.NFTA_NAT_TYPE, op)
	b.u32(unix.NFTA_NAT_FAMILY, uint32(family))
	b.reg(unix.NFTA_NAT_REG_ADDR_MIN, e.SReg)
	b.reg(unix.NFTA_NAT_REG_ADDR_MAX, e.SReg2)
	b.reg(unix.NFTA_NAT_REG_PROTO_MIN, e.SReg3)
	b.reg(unix.NFTA_NAT_REG_PROTO_MAX, e.SReg4)
	b.optional(unix.NFTA_NAT_FLAGS, e.Flags)
	return nil
}

func encodeMasq(b *builder, e *schema.Expr) {
	if e.Name == "redir" {
		b.reg(unix.NFTA_REDIR_REG_PROTO_MIN, e.SReg)
		b.reg(unix.NFTA_REDIR_REG_PROTO_MAX, e.SReg2)
		b.optional(unix.NFTA_REDIR_FLAGS, e.Flags)
		return
	}
	b.optional(unix.NFTA_MASQ_FLAGS, e.Flags)
	b.reg(unix.NFTA_MASQ_REG_PROTO_MIN, e.SReg)
	b.reg(unix.NFTA_MASQ_REG_PROTO_MAX, e.SReg2)
}
