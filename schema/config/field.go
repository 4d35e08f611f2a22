package config

import (
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/vmnet/vmnet/schema"
)

// field is the value of an attribute, with its place.
type field[T any] struct {
	v      T
	at     where
	status status
}

type status int

const (
	absent status = iota // not written, or null
	wrong                // written, and complained about
	good
)

func (f field[T]) ok() bool { return f.status == good }

// get evaluates an attribute.
func (l *loader) get(i *instance, name string) field[cty.Value] {
	a := i.body.Attributes[name]
	if a == nil {
		return field[cty.Value]{at: i.at()}
	}
	f := field[cty.Value]{v: l.eval(a.Expr, i), at: i.placeOf(a.Expr), status: good}
	switch {
	case !f.v.IsKnown():
		f.status = wrong
	case f.v.IsNull():
		f.status = absent
	}
	return f
}

// exampleOf is an attribute of strings as it may be written.
func exampleOf(name string) string {
	value, ok := map[string]string{
		"device": `"virbr-lab"`, "subnet": `"10.20.0.0/24"`, "subnet6": `"fd00:20::/64"`, "gateway": `"10.20.0.1"`,
		"gateway6": `"fd00:20::1"`, "address": `"10.20.0.11"`, "address6": `"fd00:20::11"`, "mac": `"52:54:00:12:34:56"`,
		"range": `"10.20.0.100-10.20.0.199"`, "required_version": `">= 0.1"`, "confirm": `"120s"`, "foreign": `"fix"`,
		"risk_limit": `"drop"`, "key": `"net.core.somaxconn"`, "network": "nat.lab", "to": "guest.db1", "from": "any", "value": "1",
	}[name]
	if !ok {
		value = `"…"`
	}
	return name + " = " + value
}

// require complains about an attribute that is not there.
func (l *loader) require(i *instance, st status, name string) {
	if st != absent {
		return
	}
	example := exampleOf(name)
	if i.node.repeated == forEach && (name == "device" || name == "key") {
		example = name + " = each.key"
	}
	l.fail(codeMissing, i.at(), "%s needs %s. Write, for example: %s", i.node.id(), name, example)
}

// as turns one field into another by a function that says what is wrong, "" for nothing.
func as[T, U any](l *loader, c Code, f field[T], read func(T) (U, string)) field[U] {
	out := field[U]{at: f.at, status: f.status}
	if !f.ok() {
		return out
	}
	v, why := read(f.v)
	if why != "" {
		l.fail(c, f.at, "%s", why)
		out.status = wrong
		return out
	}
	out.v = v
	return out
}

// text reads a string.
func (l *loader) text(i *instance, name string) field[string] {
	return as(l, codeWrongType, l.get(i, name), func(v cty.Value) (string, string) {
		s, ok := toText(v)
		if !ok {
			return "", fmt.Sprintf("%s takes a string, not %s.%s Write, for example: %s", name, article(v.Type()), insteadOf(v), exampleOf(name))
		}
		return s, ""
	})
}

// insteadOf names what is referred to where a string was needed.
func insteadOf(v cty.Value) string {
	id := idOf(v)
	if id == "" {
		return ""
	}
	return fmt.Sprintf(" %s is a whole block: name one of its attributes, such as %s.device.", id, id)
}

// toText gives a string, or a number as a string; false for anything else.
func toText(v cty.Value) (string, bool) {
	switch {
	case !v.IsKnown() || v.IsNull():
		return "", false
	case v.Type() == cty.String:
		return v.AsString(), true
	case v.Type() == cty.Number:
		f := v.AsBigFloat()
		if n, exact := f.Int64(); exact == big.Exact {
			return strconv.FormatInt(n, 10), true // printing a big.Float takes 50 times as long
		}
		// A number of thousands of digits would be printed in full.
		if f.MantExp(nil) < 256 && f.MantExp(nil) > -256 {
			return f.Text('f', -1), true
		}
	}
	return "", false
}

// flag reads true or false.
func (l *loader) flag(i *instance, name string) field[bool] {
	return as(l, codeWrongType, l.get(i, name), func(v cty.Value) (bool, string) {
		b, err := convert.Convert(v, cty.Bool)
		if err != nil || b.IsNull() {
			return false, fmt.Sprintf("%s is true or false, not %s. Write, for example: %s = true", name, article(v.Type()), name)
		}
		return b.True(), ""
	})
}

// wholeIn reads a whole number in a range.
func wholeIn(v cty.Value, lo, hi int) (int, bool) {
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() || !n.IsKnown() {
		return 0, false
	}
	f := n.AsBigFloat()
	if !f.IsInt() || f.MantExp(nil) > 32 {
		return 0, false
	}
	x, _ := f.Int64()
	return int(x), x >= int64(lo) && x <= int64(hi)
}

// mtu reads the size of packets.
func (l *loader) mtu(i *instance) field[uint32] {
	return as(l, codeMTU, l.get(i, "mtu"), func(v cty.Value) (uint32, string) {
		n, ok := wholeIn(v, 68, 65535)
		if !ok {
			return 0, "mtu is a whole number of bytes from 68 to 65535; 1500 is usual."
		}
		return uint32(n), ""
	})
}

// address reads an IP address.
func (l *loader) address(i *instance, name string) field[netip.Addr] {
	return as(l, codeAddress, l.text(i, name), parseAddr)
}

// subnet reads a prefix without host bits that a network of guests can have.
func (l *loader) subnet(i *instance, name string) field[netip.Prefix] {
	f := as(l, codeAddress, l.text(i, name), parsePrefix)
	f = as(l, codeHostBits, f, func(p netip.Prefix) (netip.Prefix, string) {
		if m := p.Masked(); m != p {
			return p, fmt.Sprintf("%s has bits set beyond its length of %d, so it names a host and not a network. Write %s = %q.", p, p.Bits(), name, m)
		}
		return p, ""
	})
	return as(l, codeAddress, f, usableSubnet)
}

// usableSubnet refuses prefixes that no network of guests can have.
func usableSubnet(p netip.Prefix) (netip.Prefix, string) {
	taken := []struct{ prefix, what string }{
		{"0.0.0.0/8", "this host on this network"},
		{"127.0.0.0/8", "loopback"},
		{"224.0.0.0/3", "multicast and reserved"},
		{"::/127", "loopback"},
		{"fe80::/10", "link-local"},
		{"ff00::/8", "multicast"},
	}
	for _, t := range taken {
		if r := netip.MustParsePrefix(t.prefix); r.Overlaps(p) {
			return p, fmt.Sprintf("%s touches %s (%s), which no network of guests can have. Private networks use 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fd00::/8.", p, r, t.what)
		}
	}
	if free := p.Addr().BitLen() - p.Bits(); free < 2 {
		return p, fmt.Sprintf("%s has room for %d addresses: too few for the host and a guest. Use a length of %d or less.", p, 1<<free, p.Addr().BitLen()-2)
	}
	return p, ""
}

// mac reads the hardware address of one interface, in lower case.
func (l *loader) mac(i *instance) field[string] {
	return as(l, codeMAC, l.text(i, "mac"), func(s string) (string, string) {
		m, err := net.ParseMAC(s)
		switch {
		case err != nil || len(m) != 6:
			return "", fmt.Sprintf("%q is not a MAC address: write six pairs of hexadecimal digits, as in \"52:54:00:12:34:56\".", s)
		case m[0]&1 == 1:
			m[0] &^= 1
			return "", fmt.Sprintf("%q is an address of a group (multicast): the lowest bit of its first byte is set. %q would be one of a single interface.", s, m.String())
		case m.String() == "00:00:00:00:00:00":
			return "", "The MAC is all zeros, which no interface has."
		}
		return m.String(), ""
	})
}

// device reads the name of a network device.
func (l *loader) device(i *instance) field[string] {
	return as(l, codeDeviceName, l.text(i, "device"), deviceName)
}

// deviceName checks what the kernel checks (dev_valid_name, net/core/dev.c), and the few names it cannot give away.
func deviceName(s string) (string, string) {
	switch {
	case s == "":
		return s, "A device has a name; this one is empty."
	case len(s) > 15:
		return s, fmt.Sprintf("The device name %q has %d bytes; the kernel takes at most 15. Set device to a shorter one%s.", s, len(s), shorterName(s))
	case s == "." || s == "..":
		return s, fmt.Sprintf("%q cannot be the name of a device.", s)
	case s == "lo" || s == "all" || s == "default":
		return s, fmt.Sprintf("%q is taken: lo is the loopback device, all and default stand for every device in sysctls.", s)
	}
	for _, r := range s {
		if strings.ContainsRune("/:%\"", r) || r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0 || r == 0xfffd {
			return s, fmt.Sprintf("The device name %q has the character %q. Use letters, digits, dots, - and _.", s, r)
		}
	}
	return s, ""
}

// shorterName is ", such as x", or "" where nothing is left of a name to make one of: labels may be of any script.
func shorterName(s string) string {
	if short := shorten(s); short != "" && !strings.HasPrefix(short, ".") {
		return fmt.Sprintf(", such as %q", short)
	}
	return ""
}

// shorten suggests a name that fits.
func shorten(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > 0x7e || r <= ' ' || strings.ContainsRune("/:%\"", r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= 15 {
		return s
	}
	return strings.TrimRight(s[:15], "-_.")
}

// elements gives the values of a list with their places: of each element where the list is written out.
func (l *loader) elements(i *instance, name, example string) []field[cty.Value] {
	a := i.body.Attributes[name]
	if a == nil {
		return nil
	}
	var out []field[cty.Value]
	if t, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok {
		for _, x := range t.Exprs {
			out = append(out, l.element(l.eval(x, i), i.placeOf(x)))
		}
		return out
	}
	f := l.get(i, name)
	if !f.ok() {
		return nil
	}
	if !isSequence(f.v.Type()) {
		l.fail(codeWrongType, f.at, "%s takes a list, not %s. Write %s.", name, article(f.v.Type()), example)
		return nil
	}
	for _, v := range f.v.AsValueSlice() {
		out = append(out, l.element(v, f.at))
	}
	return out
}

func (l *loader) element(v cty.Value, at where) field[cty.Value] {
	f := field[cty.Value]{v: v, at: at, status: good}
	if !v.IsKnown() {
		f.status = wrong
	} else if v.IsNull() {
		l.fail(codeWrongType, at, "The list has a null element. Leave it out.")
		f.status = wrong
	}
	return f
}

// texts reads a list of strings.
func (l *loader) texts(i *instance, name, example string) []field[string] {
	vals := l.elements(i, name, example)
	out := make([]field[string], 0, len(vals))
	for _, f := range vals {
		out = append(out, as(l, codeWrongType, f, func(v cty.Value) (string, string) {
			s, ok := toText(v)
			if !ok {
				return "", fmt.Sprintf("%s takes a list of strings; this is %s.%s Write %s.", name, article(v.Type()), insteadOf(v), example)
			}
			return s, ""
		}))
	}
	return out
}

// ports reads one port, a range, or a list of them.
func (l *loader) ports(i *instance, name string) ([]field[schema.PortRange], status) {
	a := i.body.Attributes[name]
	if a == nil {
		return nil, absent
	}
	if t, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok && len(t.Exprs) > 0 {
		vals := l.elements(i, name, "[22, 80]")
		return l.portList(vals, name), good
	}
	f := l.get(i, name)
	if !f.ok() {
		return nil, f.status
	}
	if !isSequence(f.v.Type()) {
		return l.portList([]field[cty.Value]{f}, name), good
	}
	var vals []field[cty.Value]
	for _, v := range f.v.AsValueSlice() {
		vals = append(vals, l.element(v, f.at))
	}
	if len(vals) == 0 {
		l.fail(codePort, f.at, "%s is an empty list. Leave it out for every port, or name the ports.", name)
		return nil, wrong
	}
	return l.portList(vals, name), good
}

func (l *loader) portList(vals []field[cty.Value], name string) []field[schema.PortRange] {
	var out []field[schema.PortRange]
	for _, v := range vals {
		out = append(out, as(l, codePort, v, func(v cty.Value) (schema.PortRange, string) { return parsePorts(v, name) }))
	}
	return out
}

// parsePorts reads 22, "22" or "8000-8100".
func parsePorts(v cty.Value, name string) (schema.PortRange, string) {
	s, ok := toText(v)
	if !ok {
		return schema.PortRange{}, fmt.Sprintf("%s takes ports, not %s. Write 22, [22, 80] or \"8000-8100\".", name, article(v.Type()))
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange || first == "" {
		first, last = s, s
	}
	a, why := parsePort(first)
	if why != "" {
		return schema.PortRange{}, why
	}
	b, why := parsePort(last)
	if why != "" {
		return schema.PortRange{}, why
	}
	if a > b {
		return schema.PortRange{}, fmt.Sprintf("The range %q goes down. Write \"%d-%d\".", s, b, a)
	}
	return schema.PortRange{First: a, Last: b}, ""
}

func parsePort(s string) (uint16, string) {
	s = strings.TrimSpace(s)
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Sprintf("%q is not a port: ports are whole numbers from 1 to 65535.", s)
	}
	return uint16(n), ""
}

// idOf is the address of the block that a value stands for, "" for other values.
func idOf(v cty.Value) string {
	if !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute("id") {
		return ""
	}
	s, _ := toText(v.GetAttr("id"))
	return s
}
