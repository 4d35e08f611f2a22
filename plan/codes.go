package plan

// CodeInfo explains a finding's code, for vmnet explain.
type CodeInfo struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Text  string `json:"text"` // what it means, why it happens, how it is repaired
}

// Codes lists every code that a plan can carry, in their order: the hundreds follow the way an engineer would look.
func Codes() []CodeInfo {
	return []CodeInfo{
		{"VN101", "a device does not exist", "The file names a network card or a tap that is not there. Cards are renamed by updates (enp4s0 becomes enp5s0); taps are made by the hypervisor when the guest starts. vmnet creates bridges, not cards or taps: correct the name, or start the guest."},
		{"VN102", "a device is administratively down", "IFF_UP is not set (ip link shows no UP in the angle brackets). Somebody or some manager took it down. vmnet takes it up; if a manager takes it down again, its own configuration must change."},
		{"VN103", "a device has no carrier", "The device is up but nothing is at the other end: no cable, a switch port that is off, or a tap that no process holds. Nothing on this host can repair it."},
		{"VN104", "a device's MTU is not as declared", "Frames larger than the smallest MTU on their way vanish inside a bridge without a word. vmnet sets the declared MTU."},
		{"VN105", "an adapter is stuck", "The adapter is up and has carrier, yet nothing gets through: a transmit queue is stopped, or its bridge does not forward on it though no spanning tree runs. With reset = true vmnet takes it down and up and puts back every address, route and neighbour that the kernel drops on the way."},
		{"VN201", "a bridge is missing or down", "The bridge a network of the file lives on does not exist, or is administratively down. vmnet creates it with the declared options (no spanning tree, no forward delay, a MAC that stays), or takes it up."},
		{"VN202", "a port is not attached to its bridge", "A guest's tap or a network card lost its master: networks were restarted, or a manager released it. The guest sees a link and reaches nobody. vmnet attaches it again."},
		{"VN203", "a bridge's port is down", "The port is attached but administratively down. vmnet takes it up."},
		{"VN204", "a port's isolation is not as declared", "Two isolated ports of a bridge exchange no frames (bridge(8), isolated). vmnet sets the flag where a network says isolate = true."},
		{"VN205", "a port does not forward", "The bridge keeps the port in a state other than forwarding."},
		{"VN206", "a bridge's options are not as declared", "Spanning tree, forward delay or our mark differ from the file. With spanning tree on, a new port is silent for 30 seconds, and guests' DHCP gives up."},
		{"VN207", "addresses sit on a bridge's port", "A bridge takes every frame of its ports before IP sees it: an address on a port answers ARP but nothing else. vmnet moves the addresses and all routes of the port to the bridge, new before old, so that connections live on and the default route never goes away."},
		{"VN208", "a port does not take the frame's VLAN", "The bridge filters by VLAN (vlan_filtering), and the port is not in the VLAN of the frame's tag, or has no PVID while the frame has no tag; for the bridge itself this holds of what the host sends (bridge(8), bridge vlan show). A guest that knows nothing of VLANs needs a port with a PVID that leaves untagged: bridge vlan add dev PORT vid N pvid untagged."},
		{"VN209", "a port, or the bridge itself, is not in the frame's VLAN", "The frame is in a VLAN of the bridge in which the way out is not: a guest's port with another PVID, an uplink that does not carry the VLAN, or the bridge itself, which is a port of its own (bridge vlan add dev BRIDGE vid N self): then guests reach the LAN, but not the host."},
		{"VN210", "a frame arrives with a tag that nobody takes off", "The VLAN leaves the port tagged, while the machine there sends without a tag; mostly a PVID without Egress Untagged (bridge vlan add dev PORT vid N pvid untagged). Or a VLAN comes up at the bridge with its tag, and there is no 802.1q link (BRIDGE.N) for it."},
		{"VN211", "a bridge does not flood to a port", "flood off keeps frames from the port whose receiver the bridge does not know, and with learning off it never gets to know it; bcast_flood off does so with broadcasts, and with them ARP. Entries by hand (bridge fdb add MAC dev PORT master static) take their place."},
		{"VN212", "a locked port", "The port takes frames only from senders that the forwarding database has behind it (bridge(8), locked): 802.1X, or somebody's protection against guests with addresses of others."},
		{"VN213", "the forwarding database leads to another port", "A static entry sends the MAC address of a guest to a port that it is not behind: bridge fdb del MAC dev PORT master."},
		{"VN301", "forwarding is off", "net.ipv4.ip_forward (or its IPv6 twin) is 0: the host routes nothing between its networks. vmnet sets it; on a Docker host that is also what keeps Docker from setting the FORWARD policy to DROP."},
		{"VN302", "no route", "The host has no route to the destination. The default route is missing, or the uplink is down."},
		{"VN303", "the reverse path filter drops", "rp_filter is strict and the best way back to the sender is another link (RFC 3704). Loose mode (2) on that link accepts it."},
		{"VN304", "a route says no", "A blackhole, unreachable or prohibit route covers the destination."},
		{"VN305", "a martian source or destination", "127.0.0.0/8 may not leave or enter by a link unless route_localnet is set there. vmnet sets it on the bridge that a forward of localhost leads to, and drops such packets from guests."},
		{"VN306", "an address is missing", "The host does not have the address that the file gives it on that network; guests' gateway does not answer. vmnet adds it."},
		{"VN307", "a route is missing or differs", "vmnet adds the declared route."},
		{"VN308", "a kernel setting is not as declared", "vmnet writes the declared value. A setting cannot bear a mark: it is never removed."},
		{"VN309", "something of ours is no longer in the file", "It bears our mark and no block asks for it any more. vmnet removes it, and nothing else."},
		{"VN310", "a step is not possible on this host", "The kernel would refuse it, or vmnet does not know what the kernel would do. The step is left out of the plan; what needs it stays broken."},
		{"VN311", "IPv6 is disabled on a link", "net.ipv6.conf.<link>.disable_ipv6 is 1: the link has no IPv6 addresses and takes no IPv6 packets. vmnet sets it to 0 where the file gives the link an IPv6 address."},
		{"VN312", "the host does not answer ARP", "arp_ignore or arp_filter keeps the host from telling its MAC address on that link: guests that ask for their gateway hear nothing, and send nothing. arp_ignore = 8 never answers, 2 answers senders of the same network only, 1 for addresses of that very link only; with arp_filter the host answers by the link only by which it would send back. What counts is the larger of all.arp_ignore and the link's own. vmnet lowers the link's own as far as the file's flows need."},
		{"VN401", "our own ruleset is missing", "The table that carries masquerading, forwards and isolation is gone: another program flushed the whole ruleset, or it was never applied. vmnet writes it in one transaction."},
		{"VN402", "our own ruleset was changed", "Something in our table is not as the file says. vmnet puts it right in one transaction."},
		{"VN403", "a rule of ours in a foreign chain is missing or left over", "A remedy of an earlier apply is gone (its owner reloaded), or no longer needed."},
		{"VN404", "something could not be read", "Reading nftables and iptables needs CAP_NET_ADMIN. Without it vmnet says what it could not see, calls nothing missing that it did not look for, and exits 10."},
		{"VN410", "a foreign rule blocks a flow of the file", "A drop in any base chain is final, an accept only in its own chain: no accept in another table can undo it (nft(8), VERDICT STATEMENTS). The remedy must act where the drop is: the owner's door, deleting the rule when nobody owns it and everything it blocks is governed by the file, or an exception in front of it."},
		{"VN411", "a foreign policy blocks a flow of the file", "The base chain's policy is drop and none of its rules accepts the flow. vmnet never sets a policy to accept: it adds the narrowest accept where the owner lets others act (DOCKER-USER, ufw route allow, a policy of firewalld, in front of the jumps to libvirt's chains), and at the end of the chain, before its policy, when nobody owns it."},
		{"VN412", "a flow depends on a rule that cannot be decided", "The rule matches by something that a snapshot cannot know (a rate limit, the time, recent traffic), or by an expression vmnet does not understand. Whether the flow passes depends on it."},
		{"VN413", "a saved rule will block at the next boot", "A line of a file that is loaded at boot (/etc/iptables/rules.v4 and its like, /etc/nftables.conf and what it includes) and is not live now would cut a flow of the file. vmnet takes it out when everything it blocks is governed by the file, and keeps a copy of the file; else it names it."},
		{"VN414", "a manager would load other rules than the kernel has", "Somebody put rules into the manager's chains by hand, or edited its files and did not load them. Its next reload changes what gets through. vmnet asks nothing of it meanwhile: what that would do cannot be foreseen."},
		{"VN451", "NAT does not lead the packet where it should go", "The packet passes, but arrives elsewhere: no mapping, or another one first, rewrites its destination."},
		{"VN452", "the reply bypasses the host", "The answer does not come back through the host that translated the request, so its addresses are not put back and the sender refuses it."},
		{"VN601", "something that must get through does not", "An expectation of the file fails and no remedy was found or allowed. The text says what decides."},
		{"VN602", "something gets through that must not", "An expectation with allow = false fails. Write a deny: a drop is final everywhere."},
		{"VN603", "an expectation cannot be decided", "A guest has no known device or address, or the flow depends on something that is not known."},
		{"VN903", "rules name a link that becomes a bridge's port", "Rules and policy rules that match eth0 do not match br0: what they accept today is dropped after the move, and what they drop is let through. That can lock you out. Name the bridge in them first (both names may stand side by side), or accept the risk: risk_limit = \"cut\"."},
		{"VN905", "the plan cuts a session", "Somebody is logged in over the connection named, perhaps you. After the step named its packets, or those of a new login from the same place, get through no more: the text says which rule, route or link stops them, or on what it depends. The plan's order is not to blame: vmnet makes before it breaks. Correct the file or the rule, or change the host from its console. apply refuses such a plan unless --accept-lockout is given together with a time for confirmation, after which it takes everything back."},
		{"VN906", "the plan violates a protect block", "A protect block names a flow that must get through after every step, or an interface that no step may touch; the plan does otherwise. For an interface any change of the link, its addresses, routes, neighbours or settings counts, also one that would pause it for milliseconds: what else hangs on it this host cannot know. Take the change out of the file, or the protection."},
		{"VN907", "the plan loses a default gateway", "A default route of the host is gone after the step named, or its gateway is reached no more: everybody who is not on a network of the host is cut off, although those next to it see nothing. Give the network its gateway in the file (gateway = in a bridge block), or correct what takes it away."},
		{"VN908", "a session is interrupted", "For as long as the text says at most, nothing gets through; then everything is as before, and TCP repeats what was lost. The bound counts 50 ms for a step, 5 s for a program of a firewall manager, twice the forward delay for a new port under spanning tree, 15 s for hardware that looks for its carrier, 60 s for neighbours that must learn another hardware address."},
	}
}
