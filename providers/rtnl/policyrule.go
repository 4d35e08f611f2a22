package rtnl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// fraSPortMask and fraDPortMask are FRA_SPORT_MASK and FRA_DPORT_MASK (include/uapi/linux/fib_rules.h, Linux 6.15).
const (
	fraSPortMask = 28
	fraDPortMask = 29
)

// sizeofRuleHeader is that of struct fib_rule_hdr (include/uapi/linux/fib_rules.h).
const sizeofRuleHeader = 12

func (p *Provider) readRules(ctx context.Context, _ *names) ([]schema.Object, error) {
	var all []schema.Object
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := p.dumpRules(ctx, family)
		if err != nil {
			return nil, err
		}
		equal := map[uint32]int{}
		for _, r := range found {
			r.Place = equal[r.Priority]
			equal[r.Priority]++
			all = append(all, r)
		}
	}
	return all, nil
}

// dumpRules reads the rules of one family, in the order in which they are looked at.
func (p *Provider) dumpRules(ctx context.Context, family uint8) ([]*schema.PolicyRule, error) {
	body := make([]byte, sizeofRuleHeader)
	body[0] = family
	return dump(ctx, p.conn, unix.RTM_GETRULE, body, decodeRule)
}

// decodeRule reads RTM_NEWRULE: struct fib_rule_hdr and FRA_* (net/core/fib_rules.c, fib_nl_fill_rule).
func decodeRule(b []byte) (*schema.PolicyRule, bool) {
	if len(b) < sizeofRuleHeader || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return nil, false
	}
	r := &schema.PolicyRule{Family: "ip", TOS: b[3], Table: uint32(b[4]), Proto: new(uint8(0))}
	if b[0] == unix.AF_INET6 {
		r.Family = "ip6"
	}
	r.Invert = u32(b[8:])&unix.FIB_RULE_INVERT != 0
	ok := true
	other := &message{}
	for t, v := range attrs(b[sizeofRuleHeader:]) {
		switch t {
		case unix.FRA_SRC:
			r.Src, ok = prefix(v, b[2], ok)
		case unix.FRA_DST:
			r.Dst, ok = prefix(v, b[1], ok)
		default:
			if !decodeSelector(r, t, v) {
				other.attr(t, v)
			}
		}
	}
	r.Action = ruleAction(b[7])
	r.Other = other.b
	return r, ok
}

// prefix reads an address whose length of prefix stands in a header.
func prefix(v []byte, bits uint8, ok bool) (netip.Prefix, bool) {
	a, good := netip.AddrFromSlice(v)
	p := netip.PrefixFrom(a, int(bits))
	return p.Masked(), ok && good && p.IsValid()
}

// decodeSelector reads one attribute; false for one it does not know.
func decodeSelector(r *schema.PolicyRule, t uint16, v []byte) bool {
	switch t {
	case unix.FRA_PRIORITY:
		r.Priority = u32(v)
	case unix.FRA_IIFNAME:
		r.IIF = str(v)
	case unix.FRA_OIFNAME:
		r.OIF = str(v)
	case unix.FRA_FWMARK:
		r.Mark = u32(v)
	case unix.FRA_FWMASK:
		r.Mask = u32(v)
	case unix.FRA_TABLE:
		r.Table = u32(v)
	case unix.FRA_GOTO:
		r.Goto = u32(v)
	case unix.FRA_L3MDEV:
		r.L3MDev = u8(v) != 0
	case unix.FRA_IP_PROTO:
		r.IPProto = u8(v)
	case unix.FRA_PROTOCOL:
		*r.Proto = u8(v)
	case unix.FRA_SPORT_RANGE:
		r.SPort = portRange(v)
	case unix.FRA_DPORT_RANGE:
		r.DPort = portRange(v)
	case unix.FRA_UID_RANGE:
		if len(v) >= 8 {
			r.UIDRange = fmt.Sprintf("%d-%d", u32(v), u32(v[4:]))
		}
	case unix.FRA_SUPPRESS_PREFIXLEN:
		r.SuppressPrefixLen = suppressed(v)
	case unix.FRA_SUPPRESS_IFGROUP:
		r.SuppressIfGroup = suppressed(v)
	case fraSPortMask, fraDPortMask:
		return u16(v) == math.MaxUint16 // a whole port
	case unix.FRA_PAD:
	default:
		return false
	}
	return true
}

func suppressed(v []byte) *int {
	if n := int32(u32(v)); n >= 0 && len(v) >= 4 {
		return new(int(n))
	}
	return nil
}

// portRange reads struct fib_rule_port_range.
func portRange(v []byte) string {
	if len(v) < 4 {
		return ""
	}
	first, last := u16(v), u16(v[2:])
	if first == last {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// ruleActions are FR_ACT_* (include/uapi/linux/fib_rules.h) in the words of ip-rule(8); lookup is the empty string.
func ruleActions() map[uint8]string {
	return map[uint8]string{
		unix.FR_ACT_TO_TBL: "", unix.FR_ACT_GOTO: "goto", unix.FR_ACT_NOP: "nop", unix.FR_ACT_BLACKHOLE: "blackhole",
		unix.FR_ACT_UNREACHABLE: "unreachable", unix.FR_ACT_PROHIBIT: "prohibit",
	}
}

func ruleAction(n uint8) string {
	if name, ok := ruleActions()[n]; ok {
		return name
	}
	return strconv.Itoa(int(n))
}

func ruleActionNumber(name string) (uint8, error) {
	if name == "lookup" {
		name = ""
	}
	for n, s := range ruleActions() {
		if s == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("unknown action %q", name)
}

// encodeRule writes what decodeRule reads. The priority is always sent: without it the kernel would choose one, and
// would delete a rule of any.
func encodeRule(r *schema.PolicyRule) (*message, error) {
	action, err := ruleActionNumber(r.Action)
	if err != nil {
		return nil, err
	}
	m := &message{make([]byte, sizeofRuleHeader, 256)}
	m.b[0] = unix.AF_INET
	if r.Family == "ip6" {
		m.b[0] = unix.AF_INET6
	}
	m.b[3], m.b[7] = r.TOS, action
	if r.Table < unix.RT_TABLE_COMPAT {
		m.b[4] = uint8(r.Table)
	}
	native.PutUint32(m.b[8:], uint32(bit(r.Invert))*unix.FIB_RULE_INVERT)
	m.u32(unix.FRA_PRIORITY, r.Priority)
	m.prefix(unix.FRA_DST, r.Dst, 1)
	m.prefix(unix.FRA_SRC, r.Src, 2)
	m.word(unix.FRA_IIFNAME, r.IIF)
	m.word(unix.FRA_OIFNAME, r.OIF)
	if r.Mark != 0 || r.Mask != 0 {
		m.u32(unix.FRA_FWMARK, r.Mark)
		m.u32(unix.FRA_FWMASK, r.Mask)
	}
	if r.IPProto != 0 {
		m.u8(unix.FRA_IP_PROTO, r.IPProto)
	}
	if err := m.ranges(r); err != nil {
		return nil, err
	}
	if r.L3MDev {
		m.u8(unix.FRA_L3MDEV, 1)
	} else {
		m.u32(unix.FRA_TABLE, r.Table)
	}
	if r.Action == "goto" {
		m.u32(unix.FRA_GOTO, r.Goto)
	}
	if r.SuppressPrefixLen != nil {
		m.u32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(*r.SuppressPrefixLen))
	}
	if r.SuppressIfGroup != nil {
		m.u32(unix.FRA_SUPPRESS_IFGROUP, uint32(*r.SuppressIfGroup))
	}
	if value(r.Proto) != 0 {
		m.u8(unix.FRA_PROTOCOL, *r.Proto)
	}
	m.b = append(m.b, r.Other...)
	return m, nil
}

// prefix writes an address, and the length of its prefix into the header.
func (m *message) prefix(typ uint16, p netip.Prefix, header int) {
	if p.IsValid() {
		m.b[header] = uint8(p.Bits())
		m.attr(typ, p.Masked().Addr().AsSlice())
	}
}

func (m *message) word(typ uint16, s string) {
	if s != "" {
		m.str(typ, s)
	}
}

func (m *message) ranges(r *schema.PolicyRule) error {
	for typ, text := range map[uint16]string{unix.FRA_SPORT_RANGE: r.SPort, unix.FRA_DPORT_RANGE: r.DPort} {
		if text == "" {
			continue
		}
		first, last, err := parseRange(text, math.MaxUint16)
		if err != nil {
			return err
		}
		m.attr(typ, native.AppendUint16(native.AppendUint16(nil, uint16(first)), uint16(last)))
	}
	if r.UIDRange == "" {
		return nil
	}
	first, last, err := parseRange(r.UIDRange, math.MaxUint32)
	if err != nil {
		return err
	}
	m.attr(unix.FRA_UID_RANGE, native.AppendUint32(native.AppendUint32(nil, uint32(first)), uint32(last)))
	return nil
}

// parseRange reads "80" or "80-90".
func parseRange(s string, limit uint64) (first, last uint64, err error) {
	from, to, ranged := strings.Cut(s, "-")
	first, err = strconv.ParseUint(from, 10, 32)
	last = first
	if err == nil && ranged {
		last, err = strconv.ParseUint(to, 10, 32)
	}
	if err != nil || first > last || last > limit {
		return 0, 0, fmt.Errorf("%q is not a range of numbers up to %d", s, limit)
	}
	return first, last, nil
}

func (p *Provider) changeRule(ctx context.Context, before, after *schema.PolicyRule) error {
	either := one(before, after)
	family := uint8(unix.AF_INET)
	if either.Family == "ip6" {
		family = unix.AF_INET6
	}
	all, err := p.dumpRules(ctx, family)
	if err != nil {
		return err
	}
	live := find(all, either.Ref())
	if before != nil && before.Action == "lookup" {
		before = schema.Clone(before).(*schema.PolicyRule)
		before.Action = ""
	}
	if err := expect(object(live), object(before)); err != nil {
		return err
	}
	if before == nil {
		return p.addRule(ctx, after, unix.NLM_F_EXCL)
	}
	if other := firstDeleted(all, live); other != live {
		return fmt.Errorf("the kernel would delete %q instead: %w", other, errors.ErrUnsupported)
	}
	if after != nil { // the new rule is put behind the old one, so that the old one is what a deletion finds
		if err := p.addRule(ctx, after, 0); err != nil {
			return err
		}
	}
	m, err := encodeRule(live)
	if err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_DELRULE, 0, m.b)
}

func (p *Provider) addRule(ctx context.Context, r *schema.PolicyRule, flags uint16) error {
	m, err := encodeRule(r)
	if err != nil {
		return err
	}
	return p.conn.do(ctx, unix.RTM_NEWRULE, unix.NLM_F_CREATE|flags, m.b)
}

// firstDeleted is the rule that the kernel deletes when asked to delete r: the first that has all that r names. What r
// leaves open matches anything (net/core/fib_rules.c, rule_find).
func firstDeleted(all []*schema.PolicyRule, r *schema.PolicyRule) *schema.PolicyRule {
	for _, o := range all {
		if o == r || covers(r, o) {
			return o
		}
	}
	return r
}

func covers(r, o *schema.PolicyRule) bool {
	return o.Priority == r.Priority && o.Action == r.Action &&
		open(r.Table, o.Table) && open(r.Src, o.Src) && open(r.Dst, o.Dst) && open(r.IIF, o.IIF) && open(r.OIF, o.OIF) &&
		open(r.Mark, o.Mark) && open(r.Mask, o.Mask) && open(r.TOS, o.TOS) && open(r.IPProto, o.IPProto) &&
		open(r.SPort, o.SPort) && open(r.DPort, o.DPort) && open(r.UIDRange, o.UIDRange) && open(r.L3MDev, o.L3MDev) &&
		open(value(r.Proto), value(o.Proto))
}

// open tells whether the value is what is asked for, or nothing is asked for.
func open[T comparable](asked, value T) bool { return asked == *new(T) || asked == value }
