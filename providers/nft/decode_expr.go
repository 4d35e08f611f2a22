package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func (d *exprDecoder) payload() {
	e := d.e
	switch d.typ {
	case unix.NFTA_PAYLOAD_DREG:
		e.DReg = d.u32()
	case unix.NFTA_PAYLOAD_SREG:
		e.Name, e.SReg = "payload_w", d.u32()
	case unix.NFTA_PAYLOAD_BASE:
		d.pick(&e.Base, payloadBases(), d.u32())
	case unix.NFTA_PAYLOAD_OFFSET:
		e.Offset = d.u32()
	case unix.NFTA_PAYLOAD_LEN:
		e.Len = d.u32()
	case unix.NFTA_PAYLOAD_CSUM_TYPE:
		e.CsumType = d.u32()
	case unix.NFTA_PAYLOAD_CSUM_OFFSET:
		e.CsumOffset = d.u32()
	case unix.NFTA_PAYLOAD_CSUM_FLAGS:
		e.Flags = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) meta() {
	e := d.e
	switch d.typ {
	case unix.NFTA_META_DREG:
		e.DReg = d.u32()
	case unix.NFTA_META_KEY:
		d.pick(&e.Key, metaKeys(), d.u32())
	case unix.NFTA_META_SREG:
		e.SReg, e.Write = d.u32(), true
	default:
		d.odd = true
	}
}

func (d *exprDecoder) cmp() {
	e := d.e
	switch d.typ {
	case unix.NFTA_CMP_SREG:
		e.SReg = d.u32()
	case unix.NFTA_CMP_OP:
		d.pick(&e.Op, cmpOps(), d.u32())
	case unix.NFTA_CMP_DATA:
		d.data(&e.Data)
	default:
		d.odd = true
	}
}

func (d *exprDecoder) immediate() {
	switch d.typ {
	case unix.NFTA_IMMEDIATE_DREG:
		d.e.DReg = d.u32()
	case unix.NFTA_IMMEDIATE_DATA:
		d.e.Data, d.e.Verdict = decodeData(d.val)
	default:
		d.odd = true
	}
}

func (d *exprDecoder) lookup() {
	e := d.e
	switch d.typ {
	case unix.NFTA_LOOKUP_SET:
		e.Set = d.str()
	case unix.NFTA_LOOKUP_SREG:
		e.SReg = d.u32()
	case unix.NFTA_LOOKUP_DREG:
		e.DReg = d.u32()
	case unix.NFTA_LOOKUP_FLAGS:
		flags := d.u32()
		if flags&unix.NFT_LOOKUP_F_INV != 0 {
			e.Op = "neq"
		}
		d.odd = d.odd || flags&^unix.NFT_LOOKUP_F_INV != 0
	default:
		d.odd = true
	}
}

func (d *exprDecoder) bitwise() {
	e := d.e
	switch d.typ {
	case unix.NFTA_BITWISE_SREG:
		e.SReg = d.u32()
	case unix.NFTA_BITWISE_DREG:
		e.DReg = d.u32()
	case unix.NFTA_BITWISE_LEN:
		e.Len = d.u32()
	case unix.NFTA_BITWISE_MASK:
		d.data(&e.Data)
	case unix.NFTA_BITWISE_XOR:
		d.data(&e.Data2)
	case nftaBitwiseOp:
		d.pick(&e.Op, bitwiseOps(), d.u32())
	case nftaBitwiseData:
		d.data(&e.Data)
	case nftaBitwiseSReg:
		e.SReg2 = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) ct() {
	e := d.e
	switch d.typ {
	case unix.NFTA_CT_DREG:
		e.DReg = d.u32()
	case unix.NFTA_CT_KEY:
		n := d.u32()
		d.pick(&e.Key, ctKeys(), n)
		switch n {
		case ctSrcIP, ctSrcIP + 1:
			e.Family = "ip"
		case ctSrcIP + 2, ctSrcIP + 3:
			e.Family = "ip6"
		}
	case unix.NFTA_CT_DIRECTION:
		d.pick(&e.Dir, directions(), uint32(d.u8()))
	case unix.NFTA_CT_SREG:
		e.SReg, e.Write = d.u32(), true
	default:
		d.odd = true
	}
}

func (d *exprDecoder) rangeExpr() {
	e := d.e
	switch d.typ {
	case unix.NFTA_RANGE_SREG:
		e.SReg = d.u32()
	case unix.NFTA_RANGE_OP:
		d.pick(&e.Op, rangeOps(), d.u32())
	case unix.NFTA_RANGE_FROM_DATA:
		d.data(&e.Data)
	case unix.NFTA_RANGE_TO_DATA:
		d.data(&e.Data2)
	default:
		d.odd = true
	}
}

func (d *exprDecoder) byteorder() {
	e := d.e
	switch d.typ {
	case unix.NFTA_BYTEORDER_SREG:
		e.SReg = d.u32()
	case unix.NFTA_BYTEORDER_DREG:
		e.DReg = d.u32()
	case unix.NFTA_BYTEORDER_OP:
		d.pick(&e.Op, byteorderOps(), d.u32())
	case unix.NFTA_BYTEORDER_LEN:
		e.Len = d.u32()
	case unix.NFTA_BYTEORDER_SIZE:
		e.Size = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) nat() {
	e := d.e
	switch d.typ {
	case unix.NFTA_NAT_TYPE:
		d.pick(&e.Op, natOps(), d.u32())
	case unix.NFTA_NAT_FAMILY:
		n := d.u32()
		if e.Family = familyName(byte(n)); e.Family == "" {
			d.odd = true
		}
	case unix.NFTA_NAT_REG_ADDR_MIN:
		e.SReg = d.u32()
	case unix.NFTA_NAT_REG_ADDR_MAX:
		e.SReg2 = d.u32()
	case unix.NFTA_NAT_REG_PROTO_MIN:
		e.SReg3 = d.u32()
	case unix.NFTA_NAT_REG_PROTO_MAX:
		e.SReg4 = d.u32()
	case unix.NFTA_NAT_FLAGS:
		e.Flags = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) masq() {
	d.ports(unix.NFTA_MASQ_FLAGS, unix.NFTA_MASQ_REG_PROTO_MIN, unix.NFTA_MASQ_REG_PROTO_MAX)
}

func (d *exprDecoder) redir() {
	d.ports(unix.NFTA_REDIR_FLAGS, unix.NFTA_REDIR_REG_PROTO_MIN, unix.NFTA_REDIR_REG_PROTO_MAX)
}

// ports reads masq and redir, whose attributes have different numbers.
func (d *exprDecoder) ports(flags, from, to uint16) {
	switch d.typ {
	case flags:
		d.e.Flags = d.u32()
	case from:
		d.e.SReg = d.u32()
	case to:
		d.e.SReg2 = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) reject() {
	switch d.typ {
	case unix.NFTA_REJECT_TYPE:
		d.e.Type = d.u32()
	case unix.NFTA_REJECT_ICMP_CODE:
		d.e.Code = uint32(d.u8())
	default:
		d.odd = true
	}
}

func (d *exprDecoder) fib() {
	e := d.e
	switch d.typ {
	case unix.NFTA_FIB_DREG:
		e.DReg = d.u32()
	case unix.NFTA_FIB_RESULT:
		d.pick(&e.Op, fibResults(), d.u32())
	case unix.NFTA_FIB_FLAGS:
		flags := d.u32()
		for i, w := range fibFlagWords() {
			if flags&(1<<i) == 0 {
				continue
			}
			if e.Key != "" {
				e.Key += " . "
			}
			e.Key += w
		}
		e.Flags = flags & fibPresent
		d.odd = d.odd || flags>>6 != 0
	default:
		d.odd = true
	}
}

// hostU32 reads a number that stands in the order of the machine.
func hostU32(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}
