package nft

import (
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// splitWords iterates over the parts of s; over none when s is empty.
func splitWords(s, sep string) iter.Seq[string] {
	if s == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(s, sep)
}

// encodeRare writes the expressions of decode_rare.go that are understood whole. The others come with their bytes.
func encodeRare(b *builder, e *schema.Expr) error {
	switch e.Name {
	case "exthdr", "exthdr_w":
		return encodeExthdr(b, e)
	case "rt":
		key, err := wordNumber(rtKeys(), e.Key, "rt key")
		if err != nil {
			return err
		}
		b.u32(unix.NFTA_RT_DREG, e.DReg)
		b.u32(unix.NFTA_RT_KEY, key)
	case "connlimit":
		b.u32(nftaConnlimitCount, e.Size)
		b.optional(nftaConnlimitFlags, e.Flags)
	case "objref":
		if e.Set != "" {
			b.u32(unix.NFTA_OBJREF_SET_SREG, e.SReg)
			b.str(unix.NFTA_OBJREF_SET_NAME, e.Set)
			return nil
		}
		b.u32(unix.NFTA_OBJREF_IMM_TYPE, e.Type)
		b.str(unix.NFTA_OBJREF_IMM_NAME, e.Key)
	case "queue":
		if e.SReg != 0 {
			b.u32(unix.NFTA_QUEUE_SREG_QNUM, e.SReg)
		} else {
			b.u16(unix.NFTA_QUEUE_NUM, uint16(e.Type))
			b.u16(unix.NFTA_QUEUE_TOTAL, uint16(e.Code))
		}
		b.u16(unix.NFTA_QUEUE_FLAGS, uint16(e.Flags))
	case "numgen":
		op, err := wordNumber(numgenOps(), e.Op, "generator")
		if err != nil {
			return err
		}
		b.u32(unix.NFTA_NG_DREG, e.DReg)
		b.u32(unix.NFTA_NG_MODULUS, e.Size)
		b.u32(unix.NFTA_NG_TYPE, op)
		b.u32(unix.NFTA_NG_OFFSET, e.Offset)
	case "socket":
		key, err := wordNumber(socketKeys(), e.Key, "socket key")
		if err != nil {
			return err
		}
		b.u32(nftaSocketKey, key)
		b.u32(nftaSocketDreg, e.DReg)
		b.optional(nftaSocketLevel, e.Size)
	default:
		return encodeMoves(b, e)
	}
	return nil
}

// encodeMoves writes what sends packets elsewhere.
func encodeMoves(b *builder, e *schema.Expr) error {
	family, _ := familyNumber(e.Family)
	switch e.Name {
	case "tproxy":
		b.u32(nftaTproxyFamily, uint32(family))
		b.reg(nftaTproxyRegAddr, e.SReg)
		b.reg(nftaTproxyRegPort, e.SReg2)
	case "dup":
		b.reg(unix.NFTA_DUP_SREG_ADDR, e.SReg)
		b.reg(unix.NFTA_DUP_SREG_DEV, e.SReg2)
	case "fwd":
		b.reg(unix.NFTA_FWD_SREG_DEV, e.SReg2)
		b.reg(nftaFwdSregAddr, e.SReg)
		b.optional(nftaFwdNfproto, uint32(family))
	case "flow_offload":
		b.str(nftaFlowTableName, e.Key)
	default:
		return fmt.Errorf("%q %w", e.Name, errUnwritable)
	}
	return nil
}

func encodeExthdr(b *builder, e *schema.Expr) error {
	op, err := wordNumber(exthdrOps(), e.Op, "extension header")
	if err != nil {
		return err
	}
	b.reg(unix.NFTA_EXTHDR_DREG, e.DReg)
	b.u8(unix.NFTA_EXTHDR_TYPE, byte(e.Type))
	if e.DReg != 0 || e.SReg != 0 { // else the option is stripped
		b.u32(unix.NFTA_EXTHDR_OFFSET, e.Offset)
		b.u32(unix.NFTA_EXTHDR_LEN, e.Len)
	}
	b.optional(unix.NFTA_EXTHDR_FLAGS, e.Flags)
	b.u32(unix.NFTA_EXTHDR_OP, op)
	b.reg(unix.NFTA_EXTHDR_SREG, e.SReg)
	return nil
}
