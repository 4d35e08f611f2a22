package checks

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func virtualboxRange() Check {
	return Check{
		Code: "VN123", Name: "virtualbox-range", Layer: LayerAdapters, Title: "VirtualBox does not allow its host-only network's address", Run: runVirtualboxRange,
		Doc: Doc{
			Means: "A host-only card of VirtualBox has an address outside the ranges that VirtualBox allows since 6.1.28. VBoxManage and Vagrant fail with E_ACCESSDENIED (0x80070005), " +
				"\"not within the allowed ranges\", the next time they configure it.",
			Example: "vboxnet0 has 10.77.0.1/24 and /etc/vbox/networks.conf does not exist: 192.168.56.0/21 alone is allowed.",
			Why:     "The network was made with an older VirtualBox, or by hand.",
			Repair:  "It does not: the file is VirtualBox's.",
			ByHand:  "echo \"* 10.77.0.0/24\" >> /etc/vbox/networks.conf, mode 0644: exactly the network, not 0.0.0.0/0.",
			Lasting: "The file is what lasts.",
		},
	}
}

const vboxNetworks = "/etc/vbox/networks.conf"

func runVirtualboxRange(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		if n.Manager != "virtualbox" {
			continue
		}
		for _, p := range n.Hosts {
			allowed := vboxAllowed(h.file(vboxNetworks), p.Addr().Is6())
			if covers(allowed, p.Addr()) {
				continue
			}
			f := Finding{
				Severity: Warning, Title: fmt.Sprintf("%s of %s is outside the ranges that VirtualBox allows", p, n.Device), Owner: "virtualbox",
				Object: schema.AddressRef(n.Device, p), Links: []string{n.Device},
				Detail:   "VirtualBox refuses to configure the network again: E_ACCESSDENIED.",
				Evidence: []string{fmt.Sprintf("allowed are %v", allowed)},
				Cure:     []string{fmt.Sprintf("echo \"* %s\" >> %s; chmod 0644 %s", p.Masked(), vboxNetworks, vboxNetworks)},
			}
			if h.file(vboxNetworks) == "" {
				f.Evidence = append(f.Evidence, vboxNetworks+" does not exist")
			}
			out = append(out, f)
		}
	}
	return out
}

// vboxAllowed are the ranges of networks.conf, or those that hold without it (VirtualBox manual, 6.7).
func vboxAllowed(text string, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "*" {
			continue
		}
		for _, w := range words[1:] {
			if p, err := netip.ParsePrefix(w); err == nil && p.Addr().Is6() == v6 {
				out = append(out, p)
			}
		}
	}
	switch {
	case len(out) > 0:
		return out
	case v6:
		return []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	}
	return []netip.Prefix{netip.MustParsePrefix("192.168.56.0/21")}
}

func covers(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
