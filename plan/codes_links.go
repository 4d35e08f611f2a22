package plan

import "github.com/vmnet/vmnet/plan/checks"

// linkDocs document the codes of links, bridges and ports, beside what each means.
func linkDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN101": {
			Example: "ports = [\"enp4s0\"] in a bridge block on a host where ip link shows enp5s0.",
			Why:     "A kernel or firmware update renamed the card (systemd's names follow the slot), a card was taken out, or the guest whose tap it is does not run.",
			Repair:  "It does not: vmnet makes bridges, not cards or taps.",
			ByHand:  "Correct the name in the file, or start the guest (virsh start NAME).",
			Lasting: "Pin the card's name by its MAC address in a .link file of systemd (systemd.link(5)).",
		},
		"VN102": {
			Example: "ip link set eno1 down.",
			Why:     "Somebody took it down, or a manager that has the link in its configuration as down or unmanaged: ifdown, nmcli device disconnect, networkctl down.",
			Repair:  "vmnet takes the link up.",
			ByHand:  "ip link set eno1 up",
			Lasting: "In the manager's own configuration: nmcli connection modify … connection.autoconnect yes; auto eno1 in /etc/network/interfaces; ActivationPolicy=up in a .network file.",
		},
		"VN103": {
			Example: "A cable that is not plugged in: ip link shows <NO-CARRIER,BROADCAST,MULTICAST,UP>.",
			Why:     "Cable, switch port, or for a tap: its guest is off or its hypervisor died. An empty bridge has no carrier either, and nothing is wrong with it.",
			Repair:  "It does not: nothing on this host can.",
			ByHand:  "ethtool eno1 tells whether there is a link; for a tap start the guest.",
			Lasting: "Nothing on this host needs to change.",
		},
		"VN104": {
			Example: "mtu = 9000 in the file, and ip link shows mtu 1500.",
			Why:     "The link was made anew with the default, or another program set it: a DHCP client by option 26, a VPN client, a hypervisor for the tap.",
			Repair:  "vmnet sets the declared MTU.",
			ByHand:  "ip link set br0 mtu 9000",
			Lasting: "The manager's configuration of that link: mtu in netplan, nmcli (802-3-ethernet.mtu), MTUBytes= in a .link file; libvirt: <mtu size='9000'/>.",
		},
		"VN105": {
			Example: "/sys/class/net/eno3/queues/tx-0/tx_timeout counts up, and the queue holds bytes that never leave.",
			Why:     "A driver or its firmware hangs (dmesg: NETDEV WATCHDOG … transmit queue timed out); often with certain offloads, or power saving of the PCIe link.",
			Repair:  "Where the adapter block says reset = true, vmnet takes it down and up and puts back what the kernel drops on the way.",
			ByHand:  "ip link set eno3 down; ip link set eno3 up; then add the routes that are gone.",
			Lasting: "A newer driver or firmware; ethtool -K eno3 tso off gso off if its offloads are to blame.",
		},
		"VN201": {
			Example: "ip link del virbr-lab, or ip link set virbr-lab down.",
			Why:     "The host was booted and nobody made the bridge, virsh net-destroy or ifdown took it away, or a manager took it down.",
			Repair:  "vmnet makes the bridge, or takes it up.",
			ByHand:  "ip link add virbr-lab type bridge; ip link set virbr-lab up; for libvirt's own: virsh net-start default.",
			Lasting: "vmnet apply at boot; or virsh net-autostart, auto br0 in /etc/network/interfaces, a .netdev file.",
		},
		"VN202": {
			Example: "ip link set vnet1 nomaster while its guest runs.",
			Why:     "The bridge was deleted and made again (virsh net-destroy and net-start, ifdown vmbr0), or NetworkManager or networkd took the port for a link of its own.",
			Repair:  "vmnet makes it a port of its bridge again.",
			ByHand:  "ip link set vnet1 master virbr0",
			Lasting: "Keep managers off guests' links: unmanaged-devices=interface-name:vnet*;interface-name:tap* in NetworkManager's conf.d, [Match] Kind=!tun in networkd's files. Restart libvirtd or virtnetworkd instead of its networks: it attaches guests again.",
		},
		"VN203": {
			Example: "ip link set vnet1 down.",
			Why:     "A script or manager took down what it did not know.",
			Repair:  "vmnet takes the port up.",
			ByHand:  "ip link set vnet1 up",
			Lasting: "Find who did it: journalctl -u NetworkManager -u systemd-networkd. Taps are made anew, and up, with every start of the guest.",
		},
		"VN204": {
			Example: "bridge -d link shows \"isolated on\" on two guests' ports of a network without isolate = true.",
			Why:     "<port isolated='yes'/> in libvirt's domain, a hypervisor's tenant separation; mostly on purpose.",
			Repair:  "vmnet sets the flag where the file says isolate = true, and names it where it stops a flow.",
			ByHand:  "bridge link set dev vnet1 isolated off",
			Lasting: "The port's definition at the hypervisor: the flag belongs to the tap, which is made with every start.",
		},
		"VN205": {
			Example: "bridge link shows vnet1 in state listening, or blocking.",
			Why:     "The spanning tree has just begun (twice the forward delay), has found a loop, or root_block or BPDU guard closed the port.",
			Repair:  "It does not where a tree runs; where none does, an adapter block with reset = true takes the port down and up.",
			ByHand:  "bridge link show dev vnet1; ip link set br0 type bridge stp_state 0 where no loop is possible.",
			Lasting: "stp: off in the bridge's configuration, or correct the cabling.",
		},
		"VN206": {
			Example: "ip link set br0 type bridge stp_state 1 on a bridge whose block says nothing of stp.",
			Why:     "Another program made or changed the bridge: NetworkManager makes bridges with STP, libvirt its own with a delay of 2 seconds.",
			Repair:  "vmnet sets the declared options.",
			ByHand:  "ip link set br0 type bridge stp_state 0",
			Lasting: "Let one program configure the bridge: nmcli connection modify br0 bridge.stp no, or no NetworkManager on it.",
		},
		"VN207": {
			Example: "ip link set eno1 master br0 while 192.0.2.10/24 and the default route are on eno1.",
			Why:     "The bridge is new, or a DHCP client still works on the card and put the address back.",
			Repair:  "vmnet moves addresses, routes and permanent neighbours to the bridge, new before old.",
			ByHand:  "ip address add 192.0.2.10/24 dev br0; ip route add default via 192.0.2.1 dev br0; ip address del 192.0.2.10/24 dev eno1",
			Lasting: "No address on the card in netplan, ifupdown, nmcli or networkd, and the bridge configured there or by vmnet.",
		},
		"VN208": {
			Example: "ip link set br0 type bridge vlan_filtering 1; bridge vlan del dev vnet1 vid 1: what the guest sends without a tag is dropped.",
			Why:     "vlan_filtering was switched on (bridge-vlan-aware yes, Proxmox, Incus) and the port was never given its VLAN, or it was given to the wrong one.",
			Repair:  "It does not yet: which VLAN a port belongs to no block says.",
			ByHand:  "bridge vlan add dev vnet1 vid 20 pvid untagged",
			Lasting: "At the manager: <vlan><tag id='20'/></vlan> in libvirt's interface (Open vSwitch, or libvirt 11 with Linux bridges), tag=20 on Proxmox, bridge-access 20 with ifupdown2.",
		},
		"VN209": {
			Example: "bridge vlan add dev vnet1 vid 100 pvid untagged without \"bridge vlan add dev br0 vid 100 self\": the guest reaches its VLAN, not the host.",
			Why:     "The bridge itself, or its uplink, is a port like others and was forgotten.",
			Repair:  "It does not yet.",
			ByHand:  "bridge vlan add dev br0 vid 100 self; bridge vlan add dev eno1 vid 100",
			Lasting: "bridge-vids on bridge and port with ifupdown2 (its bridge-vids leaves the native VLAN 1 out unless named), VLANs= in networkd's [BridgeVLAN].",
		},
		"VN210": {
			Example: "bridge vlan add dev vnet1 vid 100 pvid, without untagged: the guest gets frames with a tag.",
			Why:     "\"untagged\" was forgotten, or the 802.1q link of the bridge (br0.100) is missing.",
			Repair:  "It does not yet.",
			ByHand:  "bridge vlan add dev vnet1 vid 100 pvid untagged; or ip link add link br0 name br0.100 type vlan id 100",
			Lasting: "The same in the manager's configuration of port or VLAN link.",
		},
		"VN211": {
			Example: "bridge link set dev vnet1 flood off learning off: nobody gets to know the guest.",
			Why:     "A hypervisor switched both off and was to enter addresses itself, or a script did for a MAC filter.",
			Repair:  "It does not: flooding switched off may be protection.",
			ByHand:  "bridge link set dev vnet1 flood on learning on",
			Lasting: "libvirt: macTableManager='kernel' on the network's bridge.",
		},
		"VN212": {
			Example: "bridge link set dev vnet1 locked on, without an entry of the guest's address in bridge fdb.",
			Why:     "802.1X (hostapd) or a protection against forged senders: mostly on purpose.",
			Repair:  "It does not: it is a protection.",
			ByHand:  "bridge fdb add 52:54:00:12:34:56 dev vnet1 master static, once the guest is authorised.",
			Lasting: "With whoever authorises the port.",
		},
		"VN213": {
			Example: "bridge fdb add 52:54:00:12:34:56 dev vnet2 master static while that guest is behind vnet1; or the same without static, on whichever port.",
			Why:     "A script entered addresses and the guest came up behind another tap.",
			Repair:  "It does not: who entered it knows why.",
			ByHand:  "bridge fdb del 52:54:00:12:34:56 dev vnet2 master",
			Lasting: "Correct or drop the script; a bridge learns by itself. bridge fdb add wants static where an entry must stay; without it the entry is permanent, the host's own.",
		},
	}
}
