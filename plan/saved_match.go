package plan

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// savedWords reads the matches of a saved rule into bytecode.
type savedWords struct {
	family string
	inet   bool // of family inet, so that addresses narrow it
	proto  string
	target string
	exprs  []schema.Expr
}

// savedMatch reads the words of a rule: addresses and ranges of them, interfaces, protocol, ports and lists of ports,
// connection state, with their negations. The verdict is "drop", "accept", "continue" for a rule that only looks on, and
// "" when there is more to it.
func savedMatch(words []string, family string) ([]schema.Expr, string) {
	w := savedWords{family: family}
	not := false
	if i := slices.Index(words, "-j"); i >= 0 && i+1 < len(words) && slices.Contains([]string{"LOG", "NFLOG", "ULOG", "TRACE"}, words[i+1]) {
		return nil, "continue"
	}
	for len(words) > 0 {
		option := words[0]
		words = words[1:]
		if option == "!" {
			not = true
			continue
		}
		if len(words) == 0 || !w.option(option, words[0], not) {
			return nil, ""
		}
		words, not = words[1:], false
	}
	if not {
		return nil, ""
	}
	return w.exprs, map[string]string{"DROP": "drop", "REJECT": "drop", "ACCEPT": "accept"}[w.target]
}

func (w *savedWords) option(name, value string, not bool) bool {
	switch name {
	case "-s", "--source", "--src":
		return w.prefix(value, 12, 8, not)
	case "-d", "--destination", "--dst":
		return w.prefix(value, 16, 24, not)
	case "-i", "--in-interface":
		return w.link("iifname", value, not)
	case "-o", "--out-interface":
		return w.link("oifname", value, not)
	case "-p", "--protocol":
		return w.protocol(value, not)
	case "--sport", "--source-port", "--sports", "--source-ports":
		return w.ports(value, 0, not)
	case "--dport", "--destination-port", "--dports", "--destination-ports":
		return w.ports(value, 2, not)
	case "--state", "--ctstate":
		return w.states(value, not)
	case "--src-range":
		return w.addresses(value, 12, 8, not)
	case "--dst-range":
		return w.addresses(value, 16, 24, not)
	case "-j", "--jump":
		w.target = value
	case "-m", "--match":
		return !not && slices.Contains([]string{"tcp", "udp", "multiport", "state", "conntrack", "comment", "iprange"}, value)
	case "--comment", "--reject-with": // say nothing about packets
	default:
		return false
	}
	return !not
}

func eqOr(not bool) string {
	if not {
		return "neq"
	}
	return "eq"
}

func (w *savedWords) prefix(value string, off4, off6 uint32, not bool) bool {
	p, ok := parsePrefix(value)
	if !ok || p.Addr().Is6() != (w.family == "ip6") || not && p.Bits() == 0 {
		return false
	}
	e := matchPrefix(p, off4, off6)
	if len(e) > 0 {
		e[len(e)-1].Op = eqOr(not)
	}
	w.exprs = append(w.exprs, e...)
	return true
}

func (w *savedWords) addresses(value string, off4, off6 uint32, not bool) bool {
	first, last, ranged := strings.Cut(value, "-")
	if !ranged {
		last = first
	}
	a, errA := netip.ParseAddr(first)
	b, errB := netip.ParseAddr(last)
	if errA != nil || errB != nil || a.Is6() != (w.family == "ip6") || b.Is6() != a.Is6() {
		return false
	}
	off := off4
	if a.Is6() {
		off = off6
	}
	w.exprs = append(w.exprs,
		schema.Expr{Name: "payload", Base: "network", Offset: off, Len: uint32(a.BitLen() / 8), DReg: reg1},
		schema.Expr{Name: "range", SReg: reg1, Op: eqOr(not), Data: a.AsSlice(), Data2: b.AsSlice()})
	return true
}

// link matches a name as iptables does: 16 bytes of it, or with "+" only those in front.
func (w *savedWords) link(key, value string, not bool) bool {
	data := ifname(value)
	if front, wild := strings.CutSuffix(value, "+"); wild {
		data = []byte(front)
		if front == "" {
			return !not
		}
	}
	if len(value) > 15 {
		return false
	}
	w.exprs = append(w.exprs, schema.Expr{Name: "meta", Key: key, DReg: reg1}, schema.Expr{Name: "cmp", SReg: reg1, Op: eqOr(not), Data: data})
	return true
}

func (w *savedWords) protocol(value string, not bool) bool {
	if value == "icmpv6" {
		value = "ipv6-icmp"
	}
	n := protoNumber(value)
	switch {
	case value == "all" && !not:
		return true
	case n == 0:
		return false
	case !not:
		w.proto = value
	}
	w.exprs = append(w.exprs, schema.Expr{Name: "meta", Key: "l4proto", DReg: reg1}, schema.Expr{Name: "cmp", SReg: reg1, Op: eqOr(not), Data: []byte{n}})
	return true
}

func (w *savedWords) ports(value string, off uint32, not bool) bool {
	if w.proto != "tcp" && w.proto != "udp" {
		return false
	}
	in := schema.Expr{Name: "in", SReg: reg1, Len: 2}
	if not {
		in.Op = "neq"
	}
	for part := range strings.SplitSeq(value, ",") {
		r, ok := parsePorts(part)
		if !ok {
			return false
		}
		in.Ranges = append(in.Ranges, [2]schema.Bytes{binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)})
	}
	w.exprs = append(w.exprs, schema.Expr{Name: "payload", Base: "transport", Offset: off, Len: 2, DReg: reg1}, in)
	return true
}

// stateBits are NF_CT_STATE_BIT of include/uapi/linux/netfilter/nf_conntrack_common.h.
var stateBits = map[string]uint32{"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}

func (w *savedWords) states(value string, not bool) bool {
	bits := uint32(0)
	for s := range strings.SplitSeq(value, ",") {
		if stateBits[s] == 0 {
			return false
		}
		bits |= stateBits[s]
	}
	e := ctBits("state", bits)
	if not {
		e[len(e)-1].Op = "eq" // none of the bits
	}
	w.exprs = append(w.exprs, e...)
	return true
}
