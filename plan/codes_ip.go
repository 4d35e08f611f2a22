package plan

import "github.com/vmnet/vmnet/plan/checks"

// ipDocs document the codes of addresses, routes and kernel settings.
func ipDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN301": {
			Example: "sysctl net.ipv4.ip_forward says 0 on a host with a nat network.",
			Why:     "It is off at boot; nobody switched it on, or a later file of sysctl.d, /etc/ufw/sysctl.conf or a hardening script switched it off again.",
			Repair:  "vmnet writes 1.",
			ByHand:  "sysctl -w net.ipv4.ip_forward=1",
			Lasting: "net.ipv4.ip_forward = 1 in the file that is read last: /etc/sysctl.d/99-vm.conf, and /etc/ufw/sysctl.conf where ufw is enabled.",
		},
		"VN302": {
			Example: "ip route del default: guests get ICMP \"network unreachable\" from their gateway.",
			Why:     "The default route went with an address that moved, with a link that was taken down, or a DHCP lease ran out.",
			Repair:  "vmnet adds the route that the file gives (gateway = in a bridge block); others it cannot know.",
			ByHand:  "ip route add default via 192.0.2.1 dev br0",
			Lasting: "gateway in the bridge block, or in the configuration of whoever manages that link.",
		},
		"VN303": {
			Example: "net.ipv4.conf.eth1.rp_filter = 1, packets from 192.0.2.9 come in by eth1, and ip route get 192.0.2.9 says dev eth0.",
			Why:     "Strict filtering is the default of Red Hat's and many hardening guides; the host has two uplinks, or policy routing.",
			Repair:  "vmnet sets loose mode (2) on the uplink that a nat network names; elsewhere it names the setting.",
			ByHand:  "sysctl -w net.ipv4.conf.eth1.rp_filter=2 (the larger of this and conf.all counts)",
			Lasting: "net.ipv4.conf.eth1.rp_filter = 2 in /etc/sysctl.d/; firewalld's IPv6_rpfilter and NixOS' checkReversePath are rules of their own.",
		},
		"VN304": {
			Example: "ip route add blackhole 10.20.0.0/16",
			Why:     "Routing daemons and VPN scripts lay null routes over whole ranges, to keep packets from the default route.",
			Repair:  "It does not: such a route is there on purpose.",
			ByHand:  "ip route del blackhole 10.20.0.0/16, or a more specific route beside it.",
			Lasting: "In the configuration of the daemon that adds it (its protocol is shown by ip route).",
		},
		"VN305": {
			Example: "A DNAT rule for 127.0.0.1:8080 to a guest, with net.ipv4.conf.virbr0.route_localnet = 0.",
			Why:     "Packets of 127.0.0.0/8 may not leave the loopback: a forward of localhost needs route_localnet and a source that the guest can answer.",
			Repair:  "For a forward of the file vmnet sets route_localnet on the bridge, masquerades, and drops what guests send from 127.0.0.0/8.",
			ByHand:  "sysctl -w net.ipv4.conf.virbr0.route_localnet=1, and a masquerade rule for -s 127.0.0.0/8 -o virbr0",
			Lasting: "The forward in the file; or both in sysctl.d and in the firewall's own files.",
		},
		"VN306": {
			Example: "ip address del 10.20.0.1/24 dev virbr-lab: the guests' gateway does not answer.",
			Why:     "The bridge was made anew, networkd or NetworkManager flushed a link that they took for theirs, or the prefix length was wrong.",
			Repair:  "vmnet adds the address.",
			ByHand:  "ip address add 10.20.0.1/24 dev virbr-lab",
			Lasting: "Keep managers off the bridge (Unmanaged=yes, unmanaged-devices), or configure the address there as well.",
		},
		"VN307": {
			Example: "gateway = \"192.0.2.1\" in the file, and the default route leads elsewhere or is gone.",
			Why:     "The link was down for a moment, or a manager replaced the route.",
			Repair:  "vmnet adds the route, and leaves others where they are.",
			ByHand:  "ip route add default via 192.0.2.1 dev br0",
			Lasting: "ManageForeignRoutes=no in networkd.conf keeps networkd from removing it; ipv4.never-default for NetworkManager's other connections.",
		},
		"VN308": {
			Example: "sysctl \"net.core.netdev_max_backlog\" { value = 10000 } on a host that has 1000.",
			Why:     "It is the kernel's default, or somebody else set it; or the setting does not exist, since its module is not loaded.",
			Repair:  "vmnet writes the declared value.",
			ByHand:  "sysctl -w net.core.netdev_max_backlog=10000",
			Lasting: "A file in /etc/sysctl.d/; for settings below net.bridge one more in /etc/modules-load.d/, for they appear with br_netfilter only.",
		},
		"VN309": {
			Example: "The nat block was removed from the file, and its bridge is still there.",
			Why:     "The file says what is to be; what bears the mark vmnet: and is not in it is left over.",
			Repair:  "vmnet removes it.",
			ByHand:  "ip link del virbr-lab",
			Lasting: "Nothing needs to be done.",
		},
		"VN310": {
			Example: "mtu = 9000 on a card whose largest is 1500.",
			Why:     "The hardware, the kind of link, or the kernel's configuration does not allow it; the text says which.",
			Repair:  "The step is left out, and the rest of the plan stands.",
			ByHand:  "ip -d link shows minmtu and maxmtu; zcat /proc/config.gz what the kernel was built with.",
			Lasting: "Ask for something else in the file.",
		},
		"VN311": {
			Example: "net.ipv6.conf.virbr-lab.disable_ipv6 = 1, and subnet6 in the file.",
			Why:     "libvirt sets it on bridges of networks without IPv6; hardening guides set conf.all and conf.default.",
			Repair:  "vmnet sets it to 0 where the file gives the link an IPv6 address.",
			ByHand:  "sysctl -w net.ipv6.conf.virbr-lab.disable_ipv6=0",
			Lasting: "Take net.ipv6.conf.default.disable_ipv6 = 1 out of sysctl.d; ipv6.disable=1 on the kernel's command line cannot be undone without a reboot.",
		},
		"VN312": {
			Example: "net.ipv4.conf.virbr0.arp_ignore = 8: the guest asks for its gateway and hears nothing.",
			Why:     "Load balancers (arp_ignore 1 or 2), or guides against ARP flux, for the whole host.",
			Repair:  "vmnet lowers the link's own setting as far as the file's flows need.",
			ByHand:  "sysctl -w net.ipv4.conf.virbr0.arp_ignore=0",
			Lasting: "A line for that link in /etc/sysctl.d/, behind the one that sets it for all.",
		},
		"VN313": {
			Example: "ip neigh replace 10.20.0.12 lladdr 02:00:00:00:00:99 dev virbr-lab nud permanent, and the guest's card has 52:54:00:00:00:12.",
			Why:     "A script or a manager pins neighbours against forged ARP, and the guest was made anew, or given the address of another.",
			Repair:  "It does not: who pinned it knows why, and the file may be the one that is out of date.",
			ByHand:  "ip neigh del 10.20.0.12 dev virbr-lab, or ip neigh replace with the guest's MAC address.",
			Lasting: "With whoever enters it (a hook of the hypervisor, [Neighbor] in a .network file of networkd), or mac in the guest block.",
		},
	}
}
