package plan

import "github.com/vmnet/vmnet/plan/checks"

// serviceDocs document the codes of the DHCP and DNS servers that vmnet runs.
func serviceDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN501": {
			Example: "dhcp { range = \"10.20.0.100-10.20.0.199\" } was added to the file, and no dnsmasq runs on virbr-lab.",
			Why:     "The block is new, or the host was started anew: a server lives until then.",
			Repair:  "vmnet starts a dnsmasq that is bound to the bridge; where systemd runs, as a transient unit.",
			ByHand:  "dnsmasq --interface=virbr-lab --except-interface=lo --bind-dynamic --dhcp-range=10.20.0.100,10.20.0.199",
			Lasting: "The dhcp or dns block in the file, and vmnet apply at boot.",
		},
		"VN502": {
			Example: "kill -9 of the dnsmasq on virbr-lab; guests whose lease ends fall back to 169.254.x.y.",
			Why:     "Somebody stopped every dnsmasq to free a port, the kernel ran out of memory, or a package update ended it.",
			Repair:  "vmnet starts it again with the configuration of the file. The leases are in their file and live on.",
			ByHand:  "dnsmasq --conf-file=/run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf",
			Lasting: "Under systemd its unit starts it again by itself; elsewhere vmnet apply does.",
		},
		"VN503": {
			Example: "log-queries stands in /run/vmnet/dnsmasq/virbr-lab/dnsmasq.conf, and not in the file of vmnet.",
			Why:     "Somebody edited the configuration in place, or the file of vmnet changed since it was applied.",
			Repair:  "vmnet writes the configuration anew and starts the server again; for reservations alone it lets it read them again.",
			ByHand:  "vmnet apply, which is what owns these files",
			Lasting: "Say it in the dhcp or dns block: options takes every DHCP option.",
		},
		"VN504": {
			Example: "failed to create listening socket for 10.20.0.1: Address already in use; ss -lntup shows named on 0.0.0.0:53.",
			Why:     "A name server or DHCP server of the host listens on every address, and so on those of bridges that are yet to come.",
			Repair:  "It does not: stopping a server of somebody else takes its clients away. The plan leaves its own server out.",
			ByHand:  "ss -lntup 'sport = :53 or sport = :67'; then listen-on { 127.0.0.1; 192.0.2.10; } in named.conf, or interface=eth0 and bind-interfaces in /etc/dnsmasq.conf.",
			Lasting: "The same, in the configuration of that server; or systemctl disable --now for one that nobody needs.",
		},
		"VN505": {
			Example: "\"no address available\" in the log of dnsmasq, and a hundred leases in a range of a hundred addresses.",
			Why:     "Guests are made and thrown away faster than their leases end, or the network has grown.",
			Repair:  "It does not: which leases may go is not for it to know.",
			ByHand:  "A wider range, or a shorter lease, in the dhcp block.",
			Lasting: "lease = \"10m\" where guests come and go.",
		},
		"VN506": {
			Example: "guest \"db1\" has address = \"10.20.0.11\", and its lease says 10.20.0.137.",
			Why:     "The guest was there before the reservation, or another guest was given the address when it was still free.",
			Repair:  "It does not: a lease is a promise. The server says no when the guest asks again, and gives the reserved address then.",
			ByHand:  "In the guest: networkctl renew eth0, or dhclient -r eth0 && dhclient eth0, or a restart.",
			Lasting: "Addresses beside the range for guests that have one of their own.",
		},
		"VN507": {
			Example: "web1 and web2 are copies of one image; both are 10.20.0.115, and each loses its connections when the other speaks.",
			Why:     "The image was copied with its /etc/machine-id, of which systemd-networkd, NetworkManager and others make the client id.",
			Repair:  "It does not: the cause is in the guests.",
			ByHand:  "In one of them: rm /etc/machine-id && systemd-machine-id-setup, then restart it; or a guest block with mac and address for each.",
			Lasting: "An empty /etc/machine-id in the image (virt-sysprep, cloud-init clean --machine-id).",
		},
		"VN508": {
			Example: "The range is 10.20.0.100-10.20.0.199, and virbr-lab has 192.168.50.1/24.",
			Why:     "Somebody changed the address of the bridge, or flushed it.",
			Repair:  "vmnet puts back the address that the file gives the host (VN306).",
			ByHand:  "ip address add 10.20.0.1/24 dev virbr-lab",
			Lasting: "Keep other managers off the bridge (Unmanaged=yes in networkd, unmanaged-devices in NetworkManager).",
		},
		"VN509": {
			Example: "ip link del virbr-lab, and vmnet or somebody else makes it again: dnsmasq runs and hears nobody.",
			Why:     "A socket is bound to a link by its index, and the new link has another.",
			Repair:  "vmnet starts the server anew. The leases live on.",
			ByHand:  "kill the process that the finding names, then vmnet apply",
			Lasting: "Nothing to do: do not delete bridges that are in use.",
		},
	}
}
