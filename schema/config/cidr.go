package config

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

func addCIDRFunctions(f map[string]function.Function) {
	number := func(name string) function.Parameter { return function.Parameter{Name: name, Type: cty.Number} }
	prefix := function.Parameter{Name: "prefix", Type: cty.String}
	f["cidrhost"] = function.New(&function.Spec{
		Params: []function.Parameter{prefix, number("hostnum")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := readPrefix(a[0])
			if err != nil {
				return cty.UnknownVal(cty.String), err
			}
			n, err := wholeNumber(a[1])
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(1, err)
			}
			h, err := cidrHost(p, n)
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(1, err)
			}
			return cty.StringVal(h.String()), nil
		},
	})
	f["cidrnetmask"] = textFunc(func(a []string) (string, error) {
		p, why := parsePrefix(a[0])
		switch {
		case why != "":
			return "", errors.New(why)
		case !p.Addr().Is4():
			return "", errors.New("netmasks are for IPv4 only")
		}
		mask := ^uint32(0) << (32 - p.Bits())
		return netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String(), nil
	}, "prefix")
	f["cidrsubnet"] = function.New(&function.Spec{
		Params: []function.Parameter{prefix, number("newbits"), number("netnum")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := cidrSubnetArgs(a)
			if err != nil {
				return cty.UnknownVal(cty.String), err
			}
			return cty.StringVal(p.String()), nil
		},
	})
	f["cidrsubnets"] = function.New(&function.Spec{
		Params:   []function.Parameter{prefix},
		VarParam: &function.Parameter{Name: "newbits", Type: cty.Number},
		Type:     function.StaticReturnType(cty.List(cty.String)),
		Impl:     cidrSubnets,
	})
	f["cidrcontains"] = testFunc(cidrContains, "containing", "contained")
}

func readPrefix(v cty.Value) (netip.Prefix, error) {
	p, why := parsePrefix(v.AsString())
	if why != "" {
		return p, function.NewArgErrorf(0, "%s", strings.TrimSuffix(why, "."))
	}
	return p.Masked(), nil
}

// wholeNumber reads a number of up to 128 bits without a fraction.
func wholeNumber(v cty.Value) (*big.Int, error) {
	f := v.AsBigFloat()
	if !f.IsInt() || f.MantExp(nil) > 129 {
		return nil, errors.New("a whole number is needed")
	}
	n, _ := f.Int(nil)
	return n, nil
}

// cidrHost is the n-th address of a prefix; a negative n counts from the end, as in Terraform.
func cidrHost(p netip.Prefix, n *big.Int) (netip.Addr, error) {
	size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
	if n.Sign() < 0 {
		n = new(big.Int).Add(size, n)
	}
	if n.Sign() < 0 || n.Cmp(size) >= 0 {
		return netip.Addr{}, fmt.Errorf("the prefix %s has %s addresses, so it has no number %s", p, size, n)
	}
	return addrPlus(p.Addr(), n), nil
}

// addrPlus adds n to an address; the sum must stay in the family.
func addrPlus(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, n)
	b := make([]byte, len(a.AsSlice()))
	sum.FillBytes(b)
	out, _ := netip.AddrFromSlice(b)
	return out
}

func cidrSubnetArgs(a []cty.Value) (netip.Prefix, error) {
	p, err := readPrefix(a[0])
	if err != nil {
		return p, err
	}
	bits, err := newBits(p, a[1], 1)
	if err != nil {
		return p, err
	}
	n, err := wholeNumber(a[2])
	if err != nil {
		return p, function.NewArgError(2, err)
	}
	if n.Sign() < 0 || n.BitLen() > bits {
		return p, function.NewArgErrorf(2, "%d more bits give no subnet number %s", bits, n)
	}
	length := p.Bits() + bits
	offset := new(big.Int).Lsh(n, uint(p.Addr().BitLen()-length))
	return netip.PrefixFrom(addrPlus(p.Addr(), offset), length), nil
}

func newBits(p netip.Prefix, v cty.Value, arg int) (int, error) {
	n, err := wholeNumber(v)
	if err != nil {
		return 0, function.NewArgError(arg, err)
	}
	if n.Sign() < 0 || !n.IsInt64() || n.Int64() > int64(p.Addr().BitLen()-p.Bits()) {
		return 0, function.NewArgErrorf(arg, "%s cannot be extended by %s bits: an %s prefix has at most %d", p, n, familyName(p.Addr()), p.Addr().BitLen())
	}
	return int(n.Int64()), nil
}

// cidrSubnets cuts consecutive subnets out of a prefix, each as many bits longer as the arguments say.
func cidrSubnets(a []cty.Value, t cty.Type) (cty.Value, error) {
	p, err := readPrefix(a[0])
	if err != nil {
		return cty.UnknownVal(t), err
	}
	if len(a) == 1 {
		return cty.ListValEmpty(cty.String), nil
	}
	next := big.NewInt(0)
	size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
	var out []cty.Value
	for i, v := range a[1:] {
		bits, err := newBits(p, v, i+1)
		if err != nil {
			return cty.UnknownVal(t), err
		}
		length := p.Bits() + bits
		step := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-length))
		// Round up to where a subnet of this size can begin.
		next.Add(next, new(big.Int).Sub(step, big.NewInt(1)))
		next.Sub(next, new(big.Int).Mod(next, step))
		if new(big.Int).Add(next, step).Cmp(size) > 0 {
			return cty.UnknownVal(t), function.NewArgErrorf(i+1, "not enough room left in %s for a prefix of %d bits", p, length)
		}
		out = append(out, cty.StringVal(netip.PrefixFrom(addrPlus(p.Addr(), next), length).String()))
		next.Add(next, step)
	}
	return cty.ListVal(out), nil
}

// cidrContains tells whether the second prefix or address lies in the first prefix.
func cidrContains(a []string) (bool, error) {
	outer, why := parsePrefix(a[0])
	if why != "" {
		return false, errors.New(why)
	}
	if addr, why := parseAddr(a[1]); why == "" {
		return outer.Contains(addr), nil
	}
	inner, why := parsePrefix(a[1])
	if why != "" {
		return false, errors.New(why)
	}
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr()), nil
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// parseAddr reads an address; why says what is wrong with it, "" for nothing.
func parseAddr(s string) (a netip.Addr, why string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		return a, fmt.Sprintf("%q has a prefix length; an address stands alone, as in %q.", s, s[:strings.Index(s, "/")])
	case err != nil:
		return a, fmt.Sprintf("%q is not an IP address%s.", s, because(err))
	case a.Zone() != "":
		return a, fmt.Sprintf("%q has a zone; the device is known from the network. Write %q.", s, a.WithZone("").String())
	case a.Is4In6():
		return a, fmt.Sprintf("%q is an IPv4 address in the clothes of IPv6. Write %q.", s, a.Unmap().String())
	}
	return a, ""
}

// parsePrefix reads an address with a prefix length, keeping host bits.
func parsePrefix(s string) (p netip.Prefix, why string) {
	addr, bits, ok := strings.Cut(s, "/")
	a, why := parseAddr(addr)
	if why != "" {
		if !ok {
			why = fmt.Sprintf("%q is not a prefix: write an address, a slash and a length, as in \"10.0.0.0/24\".", s)
		}
		return p, why
	}
	if !ok {
		return p, fmt.Sprintf("%q has no prefix length: write \"%s/%d\", or the length your network has.", s, a, map[bool]int{true: 24, false: 64}[a.Is4()])
	}
	p, err := netip.ParsePrefix(s)
	if err == nil {
		return p, ""
	}
	n := 0
	if _, err := fmt.Sscanf(bits+"\n", "%d\n", &n); err == nil && n > a.BitLen() {
		return p, fmt.Sprintf("The prefix length %d is too long: an %s network has at most %d bits.", n, familyName(a), a.BitLen())
	}
	return p, fmt.Sprintf("%q is not a prefix: %q is not a length between 0 and %d.", s, bits, a.BitLen())
}

// because is the cause out of an error of net/netip, ": IPv4 field has value >255", or "".
func because(err error) string {
	_, why, ok := strings.Cut(err.Error(), "): ")
	if !ok {
		return ""
	}
	why, _, _ = strings.Cut(why, " (at ")
	if strings.HasPrefix(why, "unable to parse IP") {
		return ""
	}
	return ": " + why
}

// lastAddr is the highest address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if free := (i+1)*8 - p.Bits(); free > 0 {
			b[i] |= byte(1<<min(free, 8) - 1)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// reserved says why no machine may have the address in this subnet; "" when one may.
func reserved(p netip.Prefix, a netip.Addr) string {
	switch {
	case a.BitLen()-p.Bits() < 2:
		return "" // point-to-point and host prefixes have no names to keep free (RFC 3021, RFC 6164)
	case a == p.Masked().Addr() && a.Is4():
		return fmt.Sprintf("%s is the address of the network %s itself", a, p.Masked())
	case a == p.Masked().Addr():
		return fmt.Sprintf("%s is the anycast address of the routers of %s (RFC 4291, 2.6.1)", a, p.Masked())
	case a.Is4() && a == lastAddr(p):
		return fmt.Sprintf("%s is the broadcast address of %s", a, p.Masked())
	}
	return ""
}
