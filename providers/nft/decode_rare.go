package nft

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// beginRare knows the expressions that decide nothing by the header of a packet, or that vmnet only carries along. Each
// still says which register it writes, so that nobody takes that for an older value.
func (d *exprDecoder) beginRare(name string) func(*exprDecoder) {
	take := map[string]func(*exprDecoder){
		"exthdr": (*exprDecoder).exthdr, "rt": (*exprDecoder).rt, "log": (*exprDecoder).log, "limit": (*exprDecoder).limit,
		"quota": (*exprDecoder).quota, "connlimit": (*exprDecoder).connlimit, "last": (*exprDecoder).ignore,
		"notrack": (*exprDecoder).unknown, "objref": (*exprDecoder).objref, "dynset": (*exprDecoder).dynset,
		"queue": (*exprDecoder).queue, "numgen": (*exprDecoder).numgen, "hash": (*exprDecoder).hash,
		"socket": (*exprDecoder).socket, "tproxy": (*exprDecoder).tproxy, "dup": (*exprDecoder).dup, "fwd": (*exprDecoder).fwd,
		"flow_offload": (*exprDecoder).flowOffload, "osf": (*exprDecoder).first, "xfrm": (*exprDecoder).first,
		"tunnel": (*exprDecoder).second,
	}[name]
	if take == nil {
		return nil
	}
	d.e.Name = name
	switch name {
	case "log":
		d.e.Text = "log"
	case "limit":
		d.limits.unit = 1
	}
	return take
}

// unknown takes an attribute where none is known.
func (d *exprDecoder) unknown() { d.odd = true }

func (d *exprDecoder) exthdr() {
	e := d.e
	switch d.typ {
	case unix.NFTA_EXTHDR_DREG:
		e.DReg = d.u32()
	case unix.NFTA_EXTHDR_TYPE:
		e.Type = uint32(d.u8())
	case unix.NFTA_EXTHDR_OFFSET:
		e.Offset = d.u32()
	case unix.NFTA_EXTHDR_LEN:
		e.Len = d.u32()
	case unix.NFTA_EXTHDR_FLAGS:
		e.Flags = d.u32()
	case unix.NFTA_EXTHDR_OP:
		d.pick(&e.Op, exthdrOps(), d.u32())
	case unix.NFTA_EXTHDR_SREG:
		e.Name, e.SReg = "exthdr_w", d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) rt() {
	switch d.typ {
	case unix.NFTA_RT_DREG:
		d.e.DReg = d.u32()
	case unix.NFTA_RT_KEY:
		d.pick(&d.e.Key, rtKeys(), d.u32())
	default:
		d.odd = true
	}
}

// log keeps its bytes: it decides nothing.
func (d *exprDecoder) log() {
	d.odd = true
	switch d.typ {
	case unix.NFTA_LOG_PREFIX:
		d.e.Text = fmt.Sprintf("log prefix %q", d.str())
	case unix.NFTA_LOG_GROUP:
		d.e.Text += fmt.Sprintf(" group %d", d.u16())
	case unix.NFTA_LOG_SNAPLEN:
		d.e.Text += fmt.Sprintf(" snaplen %d", d.u32())
	case unix.NFTA_LOG_QTHRESHOLD:
		if n := d.u16(); n != 0 {
			d.e.Text += fmt.Sprintf(" queue-threshold %d", n)
		}
	case unix.NFTA_LOG_LEVEL:
		if n := d.u32(); n != 4 {
			name, _ := word([]string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}, n)
			d.e.Text += " level " + name
		}
	case unix.NFTA_LOG_FLAGS:
		if n := d.u32(); n != 0 {
			d.e.Text += logFlags(n)
		}
	}
}

// logFlags are NF_LOG_* as nft prints them.
func logFlags(n uint32) string {
	if n == 0x2f {
		return " flags all"
	}
	var s strings.Builder
	switch n & 3 {
	case 1:
		s.WriteString(" flags tcp sequence")
	case 2:
		s.WriteString(" flags tcp options")
	case 3:
		s.WriteString(" flags tcp sequence,options")
	}
	for _, f := range []struct {
		bit  uint32
		name string
	}{{4, " flags ip options"}, {8, " flags skuid"}, {0x20, " flags ether"}} {
		if n&f.bit != 0 {
			s.WriteString(f.name)
		}
	}
	return s.String()
}

// limitExpr gathers what a limit's text is made of.
type limitExpr struct {
	rate, unit  uint64
	burst       uint32
	bytes, over bool
}

func (d *exprDecoder) limit() {
	l := &d.limits
	d.odd = true
	switch d.typ {
	case unix.NFTA_LIMIT_RATE:
		l.rate = d.u64()
	case unix.NFTA_LIMIT_UNIT:
		l.unit = d.u64()
	case unix.NFTA_LIMIT_BURST:
		l.burst = d.u32()
	case unix.NFTA_LIMIT_TYPE:
		l.bytes = d.u32() == unix.NFT_LIMIT_PKT_BYTES
	case unix.NFTA_LIMIT_FLAGS:
		l.over = d.u32()&unix.NFT_LIMIT_F_INV != 0
	}
	d.e.Text = l.text()
}

func (l *limitExpr) text() string {
	over, unit := "", fmt.Sprintf("%d seconds", l.unit)
	if l.over {
		over = "over "
	}
	for _, u := range []struct {
		seconds uint64
		name    string
	}{{1, "second"}, {60, "minute"}, {3600, "hour"}, {86400, "day"}, {604800, "week"}} {
		if l.unit == u.seconds {
			unit = u.name
		}
	}
	if l.bytes {
		s := fmt.Sprintf("limit rate %s%s/%s", over, byteSize(l.rate), unit)
		if l.burst > 0 {
			s += " burst " + byteSize(uint64(l.burst))
		}
		return s
	}
	s := fmt.Sprintf("limit rate %s%d/%s", over, l.rate, unit)
	if l.burst > 0 && l.burst != 5 {
		s += fmt.Sprintf(" burst %d packets", l.burst)
	}
	return s
}

// byteSize writes bytes in the largest unit that divides them.
func byteSize(n uint64) string {
	units := []string{"bytes", "kbytes", "mbytes"}
	i := 0
	for i < len(units)-1 && n != 0 && n%1024 == 0 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

type quotaExpr struct {
	bytes uint64
	over  bool
	keep  builder
}

// quota leaves out what is used up: it runs.
func (d *exprDecoder) quota() {
	q := &d.quotas
	switch d.typ {
	case unix.NFTA_QUOTA_BYTES:
		q.bytes = d.u64()
		q.keep.bytes(d.typ, d.val)
	case unix.NFTA_QUOTA_FLAGS:
		q.over = d.u32()&unix.NFT_QUOTA_F_INV != 0
		q.keep.u32(d.typ, d.u32()&unix.NFT_QUOTA_F_INV)
	}
	d.e.Opaque, d.e.Text = q.keep.b, "quota "+byteSize(q.bytes)
	if q.over {
		d.e.Text = "quota over " + byteSize(q.bytes)
	}
}

func (d *exprDecoder) connlimit() {
	switch d.typ {
	case nftaConnlimitCount:
		d.e.Size = d.u32()
	case nftaConnlimitFlags:
		d.e.Flags = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) objref() {
	e := d.e
	switch d.typ {
	case unix.NFTA_OBJREF_IMM_TYPE:
		e.Type = d.u32()
	case unix.NFTA_OBJREF_IMM_NAME:
		e.Key = d.str()
	case unix.NFTA_OBJREF_SET_SREG:
		e.SReg = d.u32()
	case unix.NFTA_OBJREF_SET_NAME:
		e.Set = d.str()
	default:
		d.odd = true
	}
}

// dynset keeps its bytes: it may hold expressions of its own.
func (d *exprDecoder) dynset() {
	e := d.e
	d.odd = true
	switch d.typ {
	case unix.NFTA_DYNSET_SET_NAME:
		e.Set = d.str()
	case unix.NFTA_DYNSET_OP:
		e.Op, _ = word(dynsetOps(), d.u32())
	case unix.NFTA_DYNSET_SREG_KEY:
		e.SReg = d.u32()
	case unix.NFTA_DYNSET_SREG_DATA:
		e.SReg2 = d.u32()
	case unix.NFTA_DYNSET_FLAGS:
		e.Flags = d.u32()
	}
	e.Text = e.Op + " @" + e.Set
}

func (d *exprDecoder) queue() {
	e := d.e
	switch d.typ {
	case unix.NFTA_QUEUE_NUM:
		e.Type = uint32(d.u16())
	case unix.NFTA_QUEUE_TOTAL:
		e.Code = uint32(d.u16())
	case unix.NFTA_QUEUE_FLAGS:
		e.Flags = uint32(d.u16())
	case unix.NFTA_QUEUE_SREG_QNUM:
		e.SReg = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) numgen() {
	e := d.e
	switch d.typ {
	case unix.NFTA_NG_DREG:
		e.DReg = d.u32()
	case unix.NFTA_NG_MODULUS:
		e.Size = d.u32()
	case unix.NFTA_NG_TYPE:
		d.pick(&e.Op, numgenOps(), d.u32())
	case unix.NFTA_NG_OFFSET:
		e.Offset = d.u32()
	default:
		d.odd = true
	}
}

// hash keeps its bytes because of the seed.
func (d *exprDecoder) hash() {
	e := d.e
	d.odd = true
	switch d.typ {
	case unix.NFTA_HASH_SREG:
		e.SReg = d.u32()
	case unix.NFTA_HASH_DREG:
		e.DReg = d.u32()
	case unix.NFTA_HASH_LEN:
		e.Len = d.u32()
	case unix.NFTA_HASH_MODULUS:
		e.Size = d.u32()
	case unix.NFTA_HASH_OFFSET:
		e.Offset = d.u32()
	case unix.NFTA_HASH_TYPE:
		e.Op, _ = word(hashOps(), d.u32())
	}
	e.Text = fmt.Sprintf("%s mod %d", e.Op, e.Size)
}

func (d *exprDecoder) socket() {
	e := d.e
	switch d.typ {
	case nftaSocketKey:
		d.pick(&e.Key, socketKeys(), d.u32())
	case nftaSocketDreg:
		e.DReg = d.u32()
	case nftaSocketLevel:
		e.Size = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) tproxy() {
	e := d.e
	switch d.typ {
	case nftaTproxyFamily:
		if e.Family = familyName(byte(d.u32())); e.Family == "" {
			e.Family = "unspec"
		}
	case nftaTproxyRegAddr:
		e.SReg = d.u32()
	case nftaTproxyRegPort:
		e.SReg2 = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) dup() {
	switch d.typ {
	case unix.NFTA_DUP_SREG_ADDR:
		d.e.SReg = d.u32()
	case unix.NFTA_DUP_SREG_DEV:
		d.e.SReg2 = d.u32()
	default:
		d.odd = true
	}
}

func (d *exprDecoder) fwd() {
	switch d.typ {
	case unix.NFTA_FWD_SREG_DEV:
		d.e.SReg2 = d.u32()
	case nftaFwdSregAddr:
		d.e.SReg = d.u32()
	case nftaFwdNfproto:
		d.e.Family = familyName(byte(d.u32()))
	default:
		d.odd = true
	}
}

func (d *exprDecoder) flowOffload() {
	if d.typ == nftaFlowTableName {
		d.e.Key = d.str()
		return
	}
	d.odd = true
}

// first and second find only the register that is written, the first or second attribute.
func (d *exprDecoder) first() { d.destination(1) }

func (d *exprDecoder) second() { d.destination(2) }

func (d *exprDecoder) destination(attr uint16) {
	d.odd = true
	if d.typ == attr {
		d.e.DReg = d.u32()
	}
}
