package rtnl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// ifaProto is IFA_PROTO, and ifaprotKernel… its values (include/uapi/linux/if_addr.h, Linux 5.18): who made an address.
const (
	ifaProto        = 11
	ifaprotKernelLo = 1 // loopback
	ifaprotKernelRA = 2 // set by router announcement
	ifaprotKernelLL = 3 // link-local
)

// forever is INFINITY_LIFE_TIME (include/net/addrconf.h).
const forever = math.MaxUint32

func (p *Provider) readAddresses(ctx context.Context, n *names) ([]schema.Object, error) {
	var all []schema.Object
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := p.dumpAddresses(ctx, family, 0, n)
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			all = append(all, a)
		}
	}
	return all, nil
}

// dumpAddresses reads the addresses of one family, of all links (0) or one.
func (p *Provider) dumpAddresses(ctx context.Context, family uint8, index int, n *names) ([]*schema.Address, error) {
	body := native.AppendUint32([]byte{family, 0, 0, 0}, uint32(index))
	all, err := dump(ctx, p.conn, unix.RTM_GETADDR, body, func(b []byte) (*schema.Address, bool) {
		return decodeAddress(b, n)
	})
	return firsts(all), err
}

// firsts leaves out objects whose Ref an earlier one has: of two routes or addresses that differ only in what is not
// identity, the kernel uses the first.
func firsts[T schema.Object](all []T) []T {
	seen := make(map[schema.Ref]bool, len(all))
	out := all[:0]
	for _, o := range all {
		if r := o.Ref(); !seen[r] {
			seen[r] = true
			out = append(out, o)
		}
	}
	return out
}

// addressAttrs is what RTM_NEWADDR carries.
type addressAttrs struct {
	local, address, broadcast netip.Addr
	flags                     uint32
	label                     *string
	proto                     uint8
	preferred, valid          uint32
}

// decodeAddress reads RTM_NEWADDR: struct ifaddrmsg and IFA_* (rtnetlink(7)).
func decodeAddress(b []byte, n *names) (*schema.Address, bool) {
	if len(b) < unix.SizeofIfAddrmsg || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return nil, false
	}
	at := addressAttrs{flags: uint32(b[2]), preferred: forever, valid: forever}
	for t, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		at.decode(t, v)
	}
	if !at.local.IsValid() { // IPv6 without a peer has IFA_ADDRESS only
		at.local = at.address
	}
	prefix := netip.PrefixFrom(at.local, int(b[1]))
	link := n.name(int(u32(b[4:])))
	if !prefix.IsValid() || link == "" {
		return nil, false
	}
	a := &schema.Address{Link: link, Prefix: prefix, Peer: &netip.Prefix{}, Scope: new(scopeName(b[3])), Label: at.label, Proto: &at.proto}
	if at.address.IsValid() && at.address != at.local {
		*a.Peer = netip.PrefixFrom(at.address, int(b[1]))
	}
	if at.broadcast.IsValid() {
		a.Broadcast = &at.broadcast
	}
	a.NoPrefixRoute = new(at.flags&unix.IFA_F_NOPREFIXROUTE != 0)
	a.NoDAD = new(at.flags&unix.IFA_F_NODAD != 0)
	if at.valid != forever {
		a.Valid = &at.valid
	}
	if at.preferred != forever {
		a.Preferred = &at.preferred
	}
	a.Facts = at.facts(a, n.links[int(u32(b[4:]))])
	return a, true
}

func (at *addressAttrs) decode(t uint16, v []byte) {
	switch t {
	case unix.IFA_LOCAL:
		at.local, _ = netip.AddrFromSlice(v)
	case unix.IFA_ADDRESS:
		at.address, _ = netip.AddrFromSlice(v)
	case unix.IFA_BROADCAST:
		at.broadcast, _ = netip.AddrFromSlice(v)
	case unix.IFA_FLAGS:
		at.flags = u32(v)
	case unix.IFA_LABEL:
		at.label = new(str(v))
	case ifaProto:
		at.proto = u8(v)
	case unix.IFA_CACHEINFO: // struct ifa_cacheinfo
		if len(v) >= 8 {
			at.preferred, at.valid = u32(v), u32(v[4:])
		}
	}
}

func (at *addressAttrs) facts(a *schema.Address, l *schema.Link) *schema.AddressFacts {
	six := a.Prefix.Addr().Is6()
	return &schema.AddressFacts{
		Secondary:  !six && at.flags&unix.IFA_F_SECONDARY != 0, // in IPv6 the same bit is IFA_F_TEMPORARY
		Tentative:  at.flags&unix.IFA_F_TENTATIVE != 0,
		DADFailed:  at.flags&unix.IFA_F_DADFAILED != 0,
		KernelMade: kernelMade(at, a, l),
	}
}

// kernelMade goes by IFA_PROTO; before Linux 5.18 by what the kernel's own addresses look like.
func kernelMade(at *addressAttrs, a *schema.Address, l *schema.Link) bool {
	switch at.proto {
	case ifaprotKernelLo, ifaprotKernelRA, ifaprotKernelLL:
		return true
	case unix.RTPROT_UNSPEC:
	default:
		return false
	}
	addr := a.Prefix.Addr()
	switch {
	case l == nil:
		return false
	case addr.IsLoopback():
		return l.Type == "loopback"
	case !addr.Is6():
		return false
	case addr.IsLinkLocalUnicast():
		return l.MAC != nil && addr == eui64(*l.MAC)
	}
	return at.flags&(unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_TEMPORARY) != 0
}

// eui64 is the link-local address made of a MAC (RFC 4291, appendix A); the zero Addr for other hardware addresses.
func eui64(mac string) netip.Addr {
	m, err := net.ParseMAC(mac)
	if err != nil || len(m) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// scopeName is the scope of an address in the words of ip-address(8).
func scopeName(n uint8) string {
	switch n {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	}
	return strconv.Itoa(int(n))
}

func scopeNumber(s string) (uint8, error) {
	switch s {
	case "global", "":
		return unix.RT_SCOPE_UNIVERSE, nil
	case "site":
		return unix.RT_SCOPE_SITE, nil
	case "link":
		return unix.RT_SCOPE_LINK, nil
	case "host":
		return unix.RT_SCOPE_HOST, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("unknown scope %q", s)
	}
	return uint8(n), nil
}

// encodeAddress writes what decodeAddress reads. Lifetimes that are not set are forever.
func encodeAddress(a *schema.Address, index int) (*message, error) {
	addr := a.Prefix.Addr()
	if !a.Prefix.IsValid() {
		return nil, errors.New("the address is not valid")
	}
	scope, err := scopeNumber(value(a.Scope))
	if err != nil {
		return nil, err
	}
	flags := uint32(0)
	if value(a.NoPrefixRoute) {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if value(a.NoDAD) {
		flags |= unix.IFA_F_NODAD
	}
	m := &message{native.AppendUint32([]byte{family(addr), uint8(a.Prefix.Bits()), uint8(flags), scope}, uint32(index))}
	m.attr(unix.IFA_LOCAL, addr.AsSlice())
	m.attr(unix.IFA_ADDRESS, far(a).AsSlice())
	if a.Broadcast != nil && a.Broadcast.Is4() {
		m.attr(unix.IFA_BROADCAST, a.Broadcast.AsSlice())
	}
	if addr.Is4() && value(a.Label) != "" {
		m.str(unix.IFA_LABEL, *a.Label)
	}
	m.u32(unix.IFA_FLAGS, flags)
	if value(a.Proto) != 0 {
		m.u8(ifaProto, *a.Proto)
	}
	m.attr(unix.IFA_CACHEINFO, lifetimes(a))
	return m, nil
}

// far is what the kernel keeps as IFA_ADDRESS: the peer, or the address itself.
func far(a *schema.Address) netip.Addr {
	if a.Peer != nil && a.Peer.IsValid() {
		return a.Peer.Addr()
	}
	return a.Prefix.Addr()
}

// lifetimes is struct ifa_cacheinfo.
func lifetimes(a *schema.Address) []byte {
	valid, preferred := uint32(forever), uint32(forever)
	if value(a.Valid) != 0 {
		valid, preferred = *a.Valid, *a.Valid
	}
	if a.Preferred != nil {
		preferred = min(*a.Preferred, valid)
	}
	b := native.AppendUint32(nil, preferred)
	return append(native.AppendUint32(b, valid), make([]byte, 8)...)
}

// value is what a pointer points to, or zero.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address reads one address back.
func (p *Provider) address(ctx context.Context, want *schema.Address, l *schema.Link) (*schema.Address, error) {
	all, err := p.dumpAddresses(ctx, family(want.Prefix.Addr()), l.Facts.Index, few(l))
	if err != nil {
		return nil, err
	}
	return find(all, want.Ref()), nil
}

// find returns the object with that Ref, or nil.
func find[T any, P interface {
	*T
	schema.Object
}](all []P, r schema.Ref) P {
	for _, o := range all {
		if o.Ref() == r {
			return o
		}
	}
	return nil
}

func (p *Provider) changeAddress(ctx context.Context, before, after *schema.Address) error {
	either := one(before, after)
	l, err := p.linkNamed(ctx, either.Link)
	if err != nil {
		return err
	}
	live, err := p.address(ctx, either, l)
	if err != nil {
		return err
	}
	if err := expect(object(live), object(before)); err != nil {
		return err
	}
	switch {
	case before == nil:
		m, err := encodeAddress(after, l.Facts.Index)
		if err != nil {
			return err
		}
		return p.conn.do(ctx, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m.b)
	case after == nil:
		return p.deleteAddress(ctx, live, l.Facts.Index)
	}
	return p.updateAddress(ctx, live, after, l)
}

func (p *Provider) deleteAddress(ctx context.Context, a *schema.Address, index int) error {
	m := &message{native.AppendUint32([]byte{family(a.Prefix.Addr()), uint8(a.Prefix.Bits()), 0, 0}, uint32(index))}
	m.attr(unix.IFA_LOCAL, a.Prefix.Addr().AsSlice())
	m.attr(unix.IFA_ADDRESS, far(a).AsSlice())
	return p.conn.do(ctx, unix.RTM_DELADDR, 0, m.b)
}

// updateAddress changes what the kernel changes in place: lifetimes and protocol, in IPv6 also flags. What it would
// silently leave alone (scope, label, peer) is refused: it takes a deletion, which takes routes along.
func (p *Provider) updateAddress(ctx context.Context, live, after *schema.Address, l *schema.Link) error {
	for _, d := range schema.Compare(live, after) {
		if d.Field != "proto" && !(live.Prefix.Addr().Is6() && (d.Field == "noprefixroute" || d.Field == "nodad")) {
			return unsupported("the kernel cannot change %s of an address in place", d.Field)
		}
	}
	whole := schema.Merge(live, after).(*schema.Address)
	whole.Valid, whole.Preferred = after.Valid, after.Preferred
	m, err := encodeAddress(whole, l.Facts.Index)
	if err != nil {
		return err
	}
	if err := p.conn.do(ctx, unix.RTM_NEWADDR, unix.NLM_F_REPLACE, m.b); err != nil {
		return err
	}
	now, err := p.address(ctx, after, l)
	if err != nil || now == nil {
		return errors.Join(errors.New("read back"), err)
	}
	return differing("the kernel did not take the change", schema.Compare(now, after))
}
