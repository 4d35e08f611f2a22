package plan

import "github.com/vmnet/vmnet/plan/checks"

// serviceDocs document the codes of the DHCP and DNS servers that vmnet runs.
func serviceDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN511": {
			Example: "dhcp { range = \"10.20.0.100-10.20.0.199\" } was added to the file, and no dnsmasq runs on virbr-lab.",
			Why:     "The block is new, or the host was started anew: a server lives until then.",
			Repair:  "vmnet starts a dnsmasq that is bound to the bridge; where systemd runs, as a transient unit.",
			ByHand:  "dnsmasq --interface=virbr-lab --except-interface=lo --bind-dynamic --dhcp-range=10.20.0.100,10.20.0.199",
			Lasting: "The dhcp or dns block in the file, and vmnet apply at boot.",
		},
		"VN512": {
			Example: "kill -9 of the dnsmasq on virbr-lab; guests whose lease ends fall back to 169.254.x.y.",
			Why:     "Somebody stopped every dnsmasq to free a port, the kernel ran out of memory, or a package update ended it.",
			Repair:  "vmnet starts it again with the configuration of the file. The leases are in their file and live on.",
			ByHand:  "dnsmasq --conf-file=/run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf",
			Lasting: "Under systemd its unit starts it again by itself; elsewhere vmnet apply does.",
		},
		"VN513": {
			Example: "log-queries stands in /run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf, and not in the file of vmnet.",
			Why:     "Somebody edited the configuration in place, or the file of vmnet changed since it was applied.",
			Repair:  "vmnet writes the configuration anew and starts the server again; for reservations alone it lets it read them again.",
			ByHand:  "vmnet apply, which is what owns these files",
			Lasting: "Say it in the dhcp or dns block: options takes every DHCP option.",
		},
		"VN514": {
			Example: "failed to create listening socket for 10.20.0.1: Address already in use; ss -lntup shows named on 0.0.0.0:53.",
			Why:     "A name server or DHCP server of the host listens on every address, and so on those of bridges that are yet to come.",
			Repair:  "It does not: stopping a server of somebody else takes its clients away. The plan leaves its own server out.",
			ByHand:  "ss -lntup 'sport = :53 or sport = :67'; then listen-on { 127.0.0.1; 192.0.2.10; } in named.conf, or interface=eth0 and bind-interfaces in /etc/dnsmasq.conf.",
			Lasting: "The same, in the configuration of that server; or systemctl disable --now for one that nobody needs.",
		},
		"VN515": {
			Example: "ip link del virbr-lab, and vmnet or somebody else makes it again: dnsmasq runs and hears nobody.",
			Why:     "A socket is bound to a link by its index, and the new link has another.",
			Repair:  "vmnet starts the server anew. The leases live on.",
			ByHand:  "kill the process that the finding names, then vmnet apply",
			Lasting: "Nothing to do: do not delete bridges that are in use.",
		},
	}
}
