package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func addressDAD() Check {
	return Check{
		Code: "VN324", Name: "address-dad", Layer: LayerIP, Title: "an IPv6 address is taken by another machine", Run: runAddressDAD,
		Doc: Doc{
			Means:   "Duplicate address detection (RFC 4862) found the address in use on the link: the kernel keeps it and does not use it. Guests whose gateway it is have none.",
			Example: "ip -6 address shows fd00:20::1/64 … tentative dadfailed.",
			Why:     "Another host or guest has the same address, two machines have one MAC address (VN223), or a loop brought the host's own question back.",
			Repair:  "It does not: while the other machine has it, adding it again fails again.",
			ByHand:  "ip -6 neighbour and tcpdump -ni br0 icmp6 tell the other MAC address; when it is gone: ip address del and add.",
			Lasting: "One address for each machine; nodad only where nobody else can have it.",
		},
	}
}

func runAddressDAD(h *Host) []Finding {
	var out []Finding
	for a := range schema.Each[*schema.Address](h.State) {
		if a.Facts == nil || !a.Facts.DADFailed {
			continue
		}
		out = append(out, Finding{
			Severity: Error, Title: fmt.Sprintf("%s on %s is in use by another machine", a.Prefix.Addr(), a.Link), Object: a.Ref(), Links: []string{a.Link},
			Detail:   "Duplicate address detection failed: the kernel does not use the address.",
			Evidence: []string{"flags of " + a.Prefix.String() + " have dadfailed"},
			Cure:     []string{"find the other machine (tcpdump -ni " + a.Link + " icmp6), then delete the address and add it again"},
		})
	}
	return out
}
