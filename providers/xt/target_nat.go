package xt

import (
	"fmt"
	"strconv"

	"github.com/vmnet/vmnet/schema"
)

// NF_NAT_RANGE_* of uapi/linux/netfilter/nf_nat.h.
const (
	natMapIPs         = 1 << 0
	natProtoSpecified = 1 << 1
	natRandom         = 1 << 2
	natPersistent     = 1 << 3
	natRandomFully    = 1 << 4
	natProtoOffset    = 1 << 5
)

// natRange is what SNAT, DNAT, MASQUERADE and REDIRECT are told: struct nf_nat_ipv4_multi_range_compat (IPv4, revision 0)
// or nf_nat_range and nf_nat_range2.
type natRange struct {
	flags    uint32
	from, to []byte // addresses
	min, max uint16
	base     uint16
}

func natRangeOf(b blob) (natRange, bool) {
	if b.rev == 0 && !b.ip6 {
		return natRange{flags: b.u32(4), from: b.at(8, 4), to: b.at(12, 4), min: b.be16(16), max: b.be16(18)}, b.u32(0) == 1
	}
	n := b.addrLen()
	r := natRange{flags: b.u32(0), from: b.at(4, n), to: b.at(20, n), min: b.be16(36), max: b.be16(38)}
	if b.rev == 2 {
		r.base = b.be16(40)
	}
	return r, len(b.b) >= 40
}

// immediates load the range into registers 1 to 4 and name them: addresses, then ports.
func (r natRange) immediates() (exprs []schema.Expr, regs [4]uint32) {
	load := func(i int, data []byte, same bool) {
		if same {
			regs[i] = regs[i-1]
			return
		}
		regs[i] = uint32(i + 1)
		exprs = append(exprs, schema.Expr{Name: "immediate", DReg: uint32(i + 1), Data: data})
	}
	if r.flags&natMapIPs != 0 {
		load(0, r.from, false)
		load(1, r.to, string(r.from) == string(r.to))
	}
	if r.flags&natProtoSpecified != 0 {
		load(2, net16(r.min), false)
		load(3, net16(r.max), r.min == r.max)
	}
	return exprs, regs
}

func (r natRange) options(w *words) {
	w.flag(r.flags&natRandom != 0, "--random")
	w.flag(r.flags&natRandomFully != 0, "--random-fully")
	w.flag(r.flags&natPersistent != 0, "--persistent")
}

// nat is SNAT and DNAT.
func nat(op, option string) func(b blob) result {
	return func(b blob) result {
		var w words
		r, ok := natRangeOf(b)
		if !ok {
			return result{text: fmt.Sprintf("[%x]", b.b)}
		}
		to := addrPort(r.flags, addrOf(r.from), addrOf(r.to), r.min, r.max)
		if r.flags&natProtoOffset != 0 {
			to += fmt.Sprintf("/%d", r.base)
		}
		w.opt(false, option, "%s", to)
		r.options(&w)
		if r.flags&natProtoOffset != 0 {
			return w.textOnly()
		}
		exprs, regs := r.immediates()
		return w.means(append(exprs, schema.Expr{
			Name: "nat", Op: op, Family: familyName(b.ip6), SReg: regs[0], SReg2: regs[1], SReg3: regs[2], SReg4: regs[3], Flags: r.flags,
		})...)
	}
}

func familyName(ip6 bool) string {
	if ip6 {
		return "ip6"
	}
	return "ip"
}

func masquerade(b blob) result { return toPorts("masq", b) }

func redirect(b blob) result { return toPorts("redir", b) }

// toPorts is MASQUERADE and REDIRECT.
func toPorts(name string, b blob) result {
	var w words
	r, ok := natRangeOf(b)
	if !ok {
		return result{text: fmt.Sprintf("[%x]", b.b)}
	}
	if r.flags&natProtoSpecified != 0 {
		ports := strconv.FormatUint(uint64(r.min), 10)
		if r.min != r.max {
			ports = fmt.Sprintf("%d-%d", r.min, r.max)
		}
		w.opt(false, "--to-ports", "%s", ports)
	}
	r.options(&w)
	r.flags &^= natMapIPs
	exprs, regs := r.immediates()
	return w.means(append(exprs, schema.Expr{Name: name, SReg: regs[2], SReg2: regs[3], Flags: r.flags})...)
}

// netmap is NETMAP: the network part of the address is replaced; the hook says which address.
func netmap(b blob) result {
	var w words
	r, ok := natRangeOf(b)
	if !ok {
		return result{text: fmt.Sprintf("[%x]", b.b)}
	}
	m := make([]byte, len(r.from))
	for i := range m {
		m[i] = ^(r.from[i] ^ r.to[i])
	}
	if ones, contiguous := maskBits(m); contiguous {
		w.opt(false, "--to", "%s/%d", addrOf(r.from), ones)
	} else {
		w.opt(false, "--to", "%s/%s", addrOf(r.from), addrOf(m))
	}
	return w.means(schema.Expr{Name: "netmap", Family: familyName(b.ip6), Data: r.from, Data2: m})
}
