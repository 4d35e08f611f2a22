package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/vmnet/vmnet/plan/checks"
)

// CodeInfo explains a finding's code, for vmnet explain.
type CodeInfo struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Text  string `json:"text"` // what it means
	// Doc is the rest, nil for codes that are the program's own and have no more to tell.
	Doc *checks.Doc `json:"doc,omitempty"`
	// Check is the name of the check that finds it, "" for what plan finds by itself.
	Check string `json:"check,omitempty"`
}

// Codes lists every code that a plan can carry, in their order: the hundreds follow the way an engineer would look.
func Codes() []CodeInfo {
	docs := linkDocs()
	for _, more := range []map[string]checks.Doc{ipDocs(), firewallDocs(), serviceDocs(), planDocs()} {
		maps.Copy(docs, more)
	}
	all := planCodes()
	for i := range all {
		if d, ok := docs[all[i].Code]; ok {
			d.Means = all[i].Text
			all[i].Doc = &d
		}
	}
	for _, c := range checks.All() {
		all = append(all, CodeInfo{c.Code, c.Title, c.Doc.Means, &c.Doc, c.Name})
	}
	slices.SortStableFunc(all, func(a, b CodeInfo) int { return cmp.Compare(a.Code, b.Code) })
	return all
}

// planCodes are those that plan finds by itself.
func planCodes() []CodeInfo {
	return []CodeInfo{
		{Code: "VN101", Title: "a device does not exist", Text: "The file names a network card or a tap that is not there. Cards are renamed by updates (enp4s0 becomes enp5s0); taps are made by the hypervisor when the guest starts. vmnet creates bridges, not cards or taps: correct the name, or start the guest."},
		{Code: "VN102", Title: "a device is administratively down", Text: "IFF_UP is not set (ip link shows no UP in the angle brackets). Somebody or some manager took it down. vmnet takes it up; if a manager takes it down again, its own configuration must change."},
		{Code: "VN103", Title: "a device has no carrier", Text: "The device is up but nothing is at the other end: no cable, a switch port that is off, or a tap that no process holds. Nothing on this host can repair it."},
		{Code: "VN104", Title: "a device's MTU is not as declared", Text: "Frames larger than the smallest MTU on their way vanish inside a bridge without a word. vmnet sets the declared MTU."},
		{Code: "VN105", Title: "an adapter is stuck", Text: "The adapter is up and has carrier, yet nothing gets through: a transmit queue is stopped, or its bridge does not forward on it though no spanning tree runs. With reset = true vmnet takes it down and up and puts back every address, route and neighbour that the kernel drops on the way."},
		{Code: "VN201", Title: "a bridge is missing or down", Text: "The bridge a network of the file lives on does not exist, or is administratively down. vmnet creates it with the declared options (no spanning tree, no forward delay, a MAC that stays), or takes it up."},
		{Code: "VN202", Title: "a port is not attached to its bridge", Text: "A guest's tap or a network card lost its master: networks were restarted, or a manager released it. The guest sees a link and reaches nobody. vmnet attaches it again."},
		{Code: "VN203", Title: "a bridge's port is down", Text: "The port is attached but administratively down. vmnet takes it up."},
		{Code: "VN204", Title: "a port's isolation is not as declared", Text: "Two isolated ports of a bridge exchange no frames (bridge(8), isolated). vmnet sets the flag where a network says isolate = true."},
		{Code: "VN205", Title: "a port does not forward", Text: "The bridge keeps the port in a state other than forwarding."},
		{Code: "VN206", Title: "a bridge's options are not as declared", Text: "Spanning tree, forward delay or our mark differ from the file. With spanning tree on, a new port is silent for 30 seconds, and guests' DHCP gives up."},
		{Code: "VN207", Title: "addresses sit on a bridge's port", Text: "A bridge takes every frame of its ports before IP sees it: an address on a port answers ARP but nothing else. vmnet moves the addresses and all routes of the port to the bridge, new before old, so that connections live on and the default route never goes away."},
		{Code: "VN208", Title: "a port does not take the frame's VLAN", Text: "The bridge filters by VLAN (vlan_filtering), and the port is not in the VLAN of the frame's tag, or has no PVID while the frame has no tag; for the bridge itself this holds of what the host sends (bridge(8), bridge vlan show). A guest that knows nothing of VLANs needs a port with a PVID that leaves untagged: bridge vlan add dev PORT vid N pvid untagged."},
		{Code: "VN209", Title: "a port, or the bridge itself, is not in the frame's VLAN", Text: "The frame is in a VLAN of the bridge in which the way out is not: a guest's port with another PVID, an uplink that does not carry the VLAN, or the bridge itself, which is a port of its own (bridge vlan add dev BRIDGE vid N self): then guests reach the LAN, but not the host."},
		{Code: "VN210", Title: "a frame arrives with a tag that nobody takes off", Text: "The VLAN leaves the port tagged, while the machine there sends without a tag; mostly a PVID without Egress Untagged (bridge vlan add dev PORT vid N pvid untagged). Or a VLAN comes up at the bridge with its tag, and there is no 802.1q link (BRIDGE.N) for it."},
		{Code: "VN211", Title: "a bridge does not flood to a port", Text: "flood off keeps frames from the port whose receiver the bridge does not know, and with learning off it never gets to know it; bcast_flood off does so with broadcasts, and with them ARP. Entries by hand (bridge fdb add MAC dev PORT master static) take their place."},
		{Code: "VN212", Title: "a locked port", Text: "The port takes frames only from senders that the forwarding database has behind it (bridge(8), locked): 802.1X, or somebody's protection against guests with addresses of others."},
		{Code: "VN213", Title: "the forwarding database leads to another port", Text: "A static entry sends the MAC address of a guest to a port that it is not behind: bridge fdb del MAC dev PORT master. A permanent one, which bridge fdb add makes where neither static nor dynamic is said, makes the address the host's own: frames of guests for it go up to the host, and not to the guest."},
		{Code: "VN301", Title: "forwarding is off", Text: "net.ipv4.ip_forward (or its IPv6 twin) is 0: the host routes nothing between its networks. vmnet sets it; on a Docker host that is also what keeps Docker from setting the FORWARD policy to DROP."},
		{Code: "VN302", Title: "no route", Text: "The host has no route to the destination. The default route is missing, or the uplink is down."},
		{Code: "VN303", Title: "the reverse path filter drops", Text: "rp_filter is strict and the best way back to the sender is another link (RFC 3704). Loose mode (2) on that link accepts it."},
		{Code: "VN304", Title: "a route says no", Text: "A blackhole, unreachable or prohibit route covers the destination."},
		{Code: "VN305", Title: "a martian source or destination", Text: "127.0.0.0/8 may not leave or enter by a link unless route_localnet is set there. vmnet sets it on the bridge that a forward of localhost leads to, and drops such packets from guests."},
		{Code: "VN306", Title: "an address is missing", Text: "The host does not have the address that the file gives it on that network; guests' gateway does not answer. vmnet adds it."},
		{Code: "VN307", Title: "a route is missing or differs", Text: "vmnet adds the declared route."},
		{Code: "VN308", Title: "a kernel setting is not as declared", Text: "vmnet writes the declared value. A setting cannot bear a mark: it is never removed."},
		{Code: "VN309", Title: "something of ours is no longer in the file", Text: "It bears our mark and no block asks for it any more. vmnet removes it, and nothing else."},
		{Code: "VN310", Title: "a step is not possible on this host", Text: "The kernel would refuse it, or vmnet does not know what the kernel would do. The step is left out of the plan; what needs it stays broken."},
		{Code: "VN311", Title: "IPv6 is disabled on a link", Text: "net.ipv6.conf.<link>.disable_ipv6 is 1: the link has no IPv6 addresses and takes no IPv6 packets. vmnet sets it to 0 where the file gives the link an IPv6 address."},
		{Code: "VN312", Title: "the host does not answer ARP", Text: "arp_ignore or arp_filter keeps the host from telling its MAC address on that link: guests that ask for their gateway hear nothing, and send nothing. arp_ignore = 8 never answers, 2 answers senders of the same network only, 1 for addresses of that very link only; with arp_filter the host answers by the link only by which it would send back. What counts is the larger of all.arp_ignore and the link's own. vmnet lowers the link's own as far as the file's flows need. For an address that is of a link's network, but behind another link, the host answers only with proxy_arp, or an entry of ip neighbour add proxy; and on a link on which ARP is off it neither asks nor answers. These two are named and left."},
		{Code: "VN313", Title: "a permanent neighbour entry has another MAC address", Text: "The host's neighbour table has an entry for the guest's address that is permanent, or noarp, and its MAC address is not the one that the file gives the guest: whatever the host sends or routes to the guest bears the wrong one, and no answer of the guest corrects it. Guests of the same bridge reach each other all the same."},
		{Code: "VN401", Title: "our own ruleset is missing", Text: "The table that carries masquerading, forwards and isolation is gone: another program flushed the whole ruleset, or it was never applied. vmnet writes it in one transaction."},
		{Code: "VN402", Title: "our own ruleset was changed", Text: "Something in our table is not as the file says. vmnet puts it right in one transaction."},
		{Code: "VN403", Title: "a rule of ours in a foreign chain is missing or left over", Text: "A remedy of an earlier apply is gone (its owner reloaded), or no longer needed."},
		{Code: "VN404", Title: "something could not be read", Text: "Reading nftables and iptables needs CAP_NET_ADMIN. Without it vmnet says what it could not see, calls nothing missing that it did not look for, and exits 10."},
		{Code: "VN410", Title: "a foreign rule blocks a flow of the file", Text: "A drop in any base chain is final, an accept only in its own chain: no accept in another table can undo it (nft(8), VERDICT STATEMENTS). The remedy must act where the drop is: the owner's door, deleting the rule when nobody owns it and everything it blocks is governed by the file, or an exception in front of it."},
		{Code: "VN411", Title: "a foreign policy blocks a flow of the file", Text: "The base chain's policy is drop and none of its rules accepts the flow. vmnet never sets a policy to accept: it adds the narrowest accept where the owner lets others act (DOCKER-USER, ufw route allow, a policy of firewalld, in front of the jumps to libvirt's chains), and at the end of the chain, before its policy, when nobody owns it."},
		{Code: "VN412", Title: "a flow depends on a rule that cannot be decided", Text: "The rule matches by something that a snapshot cannot know (a rate limit, the time, recent traffic), or by an expression vmnet does not understand. Whether the flow passes depends on it."},
		{Code: "VN413", Title: "a saved rule will block at the next boot", Text: "A line of a file that is loaded at boot (/etc/iptables/rules.v4 and its like, /etc/nftables.conf and what it includes) and is not live now would cut a flow of the file. vmnet takes it out when everything it blocks is governed by the file, and keeps a copy of the file; else it names it."},
		{Code: "VN414", Title: "a manager would load other rules than the kernel has", Text: "Somebody put rules into the manager's chains by hand, or edited its files and did not load them. Its next reload changes what gets through. vmnet asks nothing of it meanwhile: what that would do cannot be foreseen."},
		{Code: "VN415", Title: "a rule of ours stands in front of a control", Text: "A ban or a kill switch came to stand behind an accept of an earlier apply, in the same chain: it does not see the packets that this accepts. vmnet puts no new rule in front of such a control, but leaves one that was there first: what holds is not broken by a plan. Put the control in front of the rule, or delete the rule and apply again."},
		{Code: "VN451", Title: "NAT does not lead the packet where it should go", Text: "The packet passes, but arrives elsewhere: no mapping, or another one first, rewrites its destination. Where a rule of somebody else leads a forward's packets astray, that rule is named, wherever they then die. vmnet deletes it when nobody owns it and it leads nothing but the forward's packets, else puts an accept in front of it, which ends that base chain for them only; what Docker or another manager publishes is theirs: one of the two needs another port."},
		{Code: "VN452", Title: "the reply bypasses the host", Text: "The answer does not come back through the host that translated the request, so its addresses are not put back and the sender refuses it."},
		{Code: "VN511", Title: "DHCP or DNS is not served", Text: "The file asks for DHCP or DNS on the network, and no server of vmnet's runs there. Guests without an address of their own get none (169.254.x.y, by themselves), and no names. vmnet starts dnsmasq on the bridge."},
		{Code: "VN512", Title: "a server is dead", Text: "Its configuration is there, its process is not: it was killed, or ended by itself. Where systemd runs it is started again at once; elsewhere vmnet starts it again. The leases are in their file and live on."},
		{Code: "VN513", Title: "a server is not as declared", Text: "Its configuration differs from the file, or the process was started with another one than its file holds now: somebody edited it (the evidence has each line), or the file of vmnet changed. Reservations and names are read again without a restart, anything else takes a restart of some 20 ms. Leases live on."},
		{Code: "VN514", Title: "a port that a server needs is taken", Text: "Another program listens on port 53 or 67 of the bridge's address, or of every address: named, dnsmasq of the distribution, AdGuard, pihole, another DHCP server. Two programs cannot have one port. Let the other one listen on addresses of its own (named: listen-on, dnsmasq: interface= with bind-interfaces), or stop it. systemd-resolved has 127.0.0.53 only and is in nobody's way."},
		{Code: "VN515", Title: "a server listens on a link that is gone", Text: "The bridge was deleted and made again while the server ran; its sockets are bound to the old one. vmnet starts it anew."},
		{Code: "VN601", Title: "something that must get through does not", Text: "An expectation of the file fails and no remedy was found or allowed. The text says what decides."},
		{Code: "VN602", Title: "something gets through that must not", Text: "An expectation with allow = false fails. Write a deny: a drop is final everywhere."},
		{Code: "VN603", Title: "an expectation cannot be decided", Text: "A guest has no known device or address, or the flow depends on something that is not known."},
		{Code: "VN903", Title: "rules name a link that becomes a bridge's port", Text: "Rules and policy rules that match eth0 do not match br0: what they accept today is dropped after the move, and what they drop is let through. That can lock you out. Name the bridge in them first (both names may stand side by side), or accept the risk: risk_limit = \"cut\"."},
		{Code: "VN905", Title: "the plan cuts a session", Text: "Somebody is logged in over the connection named, perhaps you. After the step named its packets, or those of a new login from the same place, get through no more: the text says which rule, route or link stops them, or on what it depends. The plan's order is not to blame: vmnet makes before it breaks. Correct the file or the rule, or change the host from its console. apply refuses such a plan unless --accept-lockout is given together with a time for confirmation, after which it takes everything back."},
		{Code: "VN906", Title: "the plan violates a protect block", Text: "A protect block names a flow that must get through after every step, or an interface that no step may touch; the plan does otherwise. For an interface any change of the link, its addresses, routes, neighbours or settings counts, also one that would pause it for milliseconds: what else hangs on it this host cannot know. Take the change out of the file, or the protection."},
		{Code: "VN907", Title: "the plan loses a default gateway", Text: "A default route of the host is gone after the step named, or its gateway is reached no more: everybody who is not on a network of the host is cut off, although those next to it see nothing. Give the network its gateway in the file (gateway = in a bridge block), or correct what takes it away."},
		{Code: "VN908", Title: "a session is interrupted", Text: "For as long as the text says at most, nothing gets through; then everything is as before, and TCP repeats what was lost. The bound counts 50 ms for a step, 5 s for a program of a firewall manager, twice the forward delay for a new port under spanning tree, 15 s for hardware that looks for its carrier, 60 s for neighbours that must learn another hardware address."},
		{Code: "VN909", Title: "who is logged in is not known", Text: "The processes and sockets of the host (/proc) could not be read, so nobody knows over which connection you are logged in, and nothing was followed but protect blocks and default gateways. apply refuses the plan unless --accept-lockout is given together with a time for confirmation, after which it takes everything back."},
	}
}
