package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// Options that follow from a network (RFC 2132).
const (
	optionRouter = 3
	optionDNS    = 6
	optionDomain = 15
	optionMTU    = 26
)

// optionForm is how the value of an option is written.
type optionForm int

const (
	formAddresses optionForm = iota // one or more IPv4 addresses
	formAddress                     // one
	formText
	formNumber
	formNames // domain names
	formFree  // whatever dnsmasq makes of it
)

// knownOption is an option by its name, as "dnsmasq --help dhcp" and dhcp-options(5) call it.
type knownOption struct {
	name string
	code uint8
	form optionForm
}

func knownOptions() []knownOption {
	return []knownOption{
		{"time-offset", 2, formNumber},
		{"router", optionRouter, formAddresses},
		{"dns-server", optionDNS, formAddresses},
		{"log-server", 7, formAddresses},
		{"lpr-server", 9, formAddresses},
		{"boot-file-size", 13, formNumber},
		{"domain-name", optionDomain, formNames},
		{"swap-server", 16, formAddress},
		{"root-path", 17, formText},
		{"extension-path", 18, formText},
		{"policy-filter", 21, formAddresses},
		{"max-datagram-reassembly", 22, formNumber},
		{"default-ttl", 23, formNumber},
		{"mtu", optionMTU, formNumber},
		{"static-route", 33, formAddresses},
		{"tcp-ttl", 37, formNumber},
		{"tcp-keepalive", 38, formNumber},
		{"nis-domain", 40, formText},
		{"nis-server", 41, formAddresses},
		{"ntp-server", 42, formAddresses},
		{"vendor-encap", 43, formFree},
		{"netbios-ns", 44, formAddresses},
		{"netbios-nodetype", 46, formNumber},
		{"netbios-scope", 47, formText},
		{"tftp-server", 66, formText},
		{"bootfile-name", 67, formText},
		{"smtp-server", 69, formAddresses},
		{"domain-search", 119, formNames},
		{"classless-static-route", 121, formFree},
		{"tftp-server-address", 150, formAddress},
		{"server-ip-address", 255, formAddress},
	}
}

// ownOptions are filled in by dnsmasq for each answer, and cannot be set.
func ownOptions() map[uint8]string {
	return map[uint8]string{
		0: "padding", 1: "the netmask of the subnet", 12: "the guest's name, of its guest block", 28: "the broadcast address of the subnet",
		50: "the address asked for", 51: "the lease, which is an attribute of its own", 52: "used by the protocol itself", 53: "the type of the message",
		54: "the server's own address", 55: "what the guest asks for", 57: "the guest's to say", 58: "part of the lease", 59: "part of the lease",
		61: "the guest's to say", 82: "a relay's to say", 255: "the end",
	}
}

// dhcpOptions reads the options of a dhcp block, in the order of their codes.
func (l *loader) dhcpOptions(n *network, in *instance) []schema.DHCPOption {
	f := l.get(in, "options")
	if !f.ok() {
		return nil
	}
	t := f.v.Type()
	if !t.IsObjectType() && !t.IsMapType() {
		l.fail(codeDHCPOption, f.at, "options takes a map, not %s. Write, for example: options = { ntp-server = \"10.20.0.1\" }", article(t))
		return nil
	}
	var out []schema.DHCPOption
	for it := f.v.ElementIterator(); it.Next(); {
		k, v := it.Element()
		o, ok := l.dhcpOption(f.at, k.AsString(), v)
		if !ok {
			continue
		}
		if n.served.named[o.Code] {
			l.fail(codeDHCPOption, f.at, "Option %d is given twice: once by its name, once by its number.", o.Code)
			continue
		}
		n.served.named[o.Code] = true
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b schema.DHCPOption) int { return int(a.Code) - int(b.Code) })
	return out
}

func (l *loader) dhcpOption(at where, key string, v cty.Value) (schema.DHCPOption, bool) {
	k, why := findOption(key)
	var o schema.DHCPOption
	if why == "" {
		o.Code = k.code
		o.Value, why = optionValue(k, v)
	}
	if why != "" {
		l.fail(codeDHCPOption, at, "%s", why)
	}
	return o, why == ""
}

// findOption finds an option by name or number; _ may stand for -.
func findOption(key string) (knownOption, string) {
	all := knownOptions()
	name := strings.ReplaceAll(key, "_", "-")
	if i := slices.IndexFunc(all, func(k knownOption) bool { return k.name == name && k.code != 255 }); i >= 0 {
		return all[i], ""
	}
	code, err := strconv.ParseUint(key, 10, 8)
	if err != nil {
		list := make([]string, 0, len(all))
		for _, k := range all {
			list = append(list, k.name)
		}
		return knownOption{}, fmt.Sprintf("There is no DHCP option %q.%s An option is named as dnsmasq --help dhcp does, or by its number in quotes, from 2 to 254.", key, didYouMean(name, list))
	}
	if what := ownOptions()[uint8(code)]; what != "" {
		return knownOption{}, fmt.Sprintf("Option %d is %s: it cannot be set.", code, what)
	}
	if i := slices.IndexFunc(all, func(k knownOption) bool { return k.code == uint8(code) }); i >= 0 {
		return all[i], ""
	}
	return knownOption{name: key, code: uint8(code), form: formFree}, ""
}

// optionValue is a value as dnsmasq reads it. An empty list or text keeps the option from being sent.
func optionValue(k knownOption, v cty.Value) (string, string) {
	var parts []string
	switch {
	case v.IsNull():
	case isSequence(v.Type()):
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			s, ok := toText(e)
			if !ok {
				return "", fmt.Sprintf("The option %s takes texts, and one of its values is %s.", k.name, article(e.Type()))
			}
			parts = append(parts, s)
		}
	default:
		s, ok := toText(v)
		if !ok {
			return "", fmt.Sprintf("The option %s takes a text or a list of texts, not %s.", k.name, article(v.Type()))
		}
		if s != "" {
			parts = []string{s}
		}
	}
	for _, s := range parts {
		if why := checkOption(k, s, len(parts)); why != "" {
			return "", why
		}
	}
	return strings.Join(parts, ","), ""
}

func checkOption(k knownOption, s string, n int) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '#' }) || s == "" || strings.TrimSpace(s) != s {
		return fmt.Sprintf("The value %q of the option %s cannot be written in a configuration of dnsmasq: it has white space at an end, a quotation mark, a backslash, a # or control characters, or is empty.", s, k.name)
	}
	if n > 1 && k.form != formAddresses && k.form != formNames && k.form != formFree {
		return fmt.Sprintf("The option %s takes one value, not %d.", k.name, n)
	}
	switch k.form {
	case formAddresses, formAddress:
		if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
			return fmt.Sprintf("The option %s takes IPv4 addresses, and %q is none.", k.name, s)
		}
	case formNumber:
		if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			return fmt.Sprintf("The option %s takes a number, and %q is none.", k.name, s)
		}
	case formNames:
		if why := notAName(s); why != "" {
			return fmt.Sprintf("The option %s takes domain names. %s", k.name, why)
		}
	case formText:
		if strings.Contains(s, ",") {
			return fmt.Sprintf("The option %s takes a text without commas, which dnsmasq takes apart.", k.name)
		}
	case formFree:
	}
	return ""
}
