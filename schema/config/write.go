package config

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Write is a configuration of these networks and guests, in canonical form. Of a network it writes mode, device, ports, the
// host's addresses (Gateways with the lengths of Subnets) and the uplink; of guests, those whose network is among them. A
// network without what its mode needs is left out.
func Write(networks []schema.Network, guests []schema.Guest) []byte {
	var b bytes.Buffer
	b.WriteString("vmnet {\n  required_version = \">= 0.1\"\n}\n")
	labels := map[string]bool{}
	references := map[string]string{}
	for _, n := range networks {
		block := blockOf(n)
		if block == "" {
			continue
		}
		label := unique(labels, n.Device)
		references[n.Address] = n.Mode + "." + label
		fmt.Fprintf(&b, "\n%s %q {\n  device = %q\n%s}\n", n.Mode, label, n.Device, block)
	}
	for _, g := range guests {
		network := references[g.Network]
		if network == "" {
			continue
		}
		fmt.Fprintf(&b, "\nguest %q {\n  network = %s\n", unique(labels, cmp.Or(g.Name, g.Device)), network)
		attribute(&b, "mac", g.MAC)
		for _, ip := range g.IPs {
			attribute(&b, map[bool]string{true: "address6", false: "address"}[ip.Is6()], ip.String())
		}
		attribute(&b, "device", g.Device)
		b.WriteString("}\n")
	}
	return Format(b.Bytes())
}

func attribute(b *bytes.Buffer, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "  %s = %q\n", name, value)
	}
}

// blockOf are the attributes of a network's block; "" for one that cannot be written.
func blockOf(n schema.Network) string {
	var b bytes.Buffer
	if n.Mode == "bridge" {
		fmt.Fprintf(&b, "  ports = [%s]\n", quotedList(n.Ports))
		var addresses []string
		for i, a := range n.Gateways {
			addresses = append(addresses, netip.PrefixFrom(a, n.Subnets[i].Bits()).String())
		}
		if len(addresses) > 0 {
			fmt.Fprintf(&b, "  addresses = [%s]\n", quotedList(addresses))
		}
		return b.String()
	}
	seen := map[bool]bool{}
	for i, p := range n.Subnets {
		v6 := p.Addr().Is6()
		if seen[v6] || p.IsSingleIP() {
			continue
		}
		seen[v6] = true
		six := map[bool]string{true: "6"}[v6]
		attribute(&b, "subnet"+six, p.Masked().String())
		if n.Gateways[i] != p.Masked().Addr().Next() {
			attribute(&b, "gateway"+six, n.Gateways[i].String())
		}
	}
	if len(seen) == 0 {
		return ""
	}
	attribute(&b, "uplink", n.Uplink)
	return b.String()
}

func quotedList(list []string) string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

var notInLabels = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// unique is a label that no other block has.
func unique(taken map[string]bool, name string) string {
	label := strings.Trim(notInLabels.ReplaceAllString(name, "-"), "-")
	if label == "" || label[0] >= '0' && label[0] <= '9' {
		label = "n" + label
	}
	base := label
	for i := 2; taken[label]; i++ {
		label = fmt.Sprintf("%s-%d", base, i)
	}
	taken[label] = true
	return label
}
