package plan

import "github.com/vmnet/vmnet/plan/checks"

// firewallDocs document the codes of rules and NAT.
func firewallDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN401": {
			Example: "nft flush ruleset, or systemctl restart nftables with flush ruleset in /etc/nftables.conf.",
			Why:     "Another program removed all tables, or the host was booted: tables of the kernel do not outlive it.",
			Repair:  "vmnet writes the table in one transaction.",
			ByHand:  "vmnet apply",
			Lasting: "In /etc/nftables.conf take \"flush ruleset\" out: \"table inet mine; delete table inet mine\" before one's own table removes no other.",
		},
		"VN402": {
			Example: "nft add rule inet vmnet forward drop",
			Why:     "Somebody changed our table by hand, or the file changed.",
			Repair:  "vmnet replaces the table in one transaction.",
			ByHand:  "vmnet apply; vmnet plan --full shows what differs.",
			Lasting: "Rules of one's own belong in a table of one's own.",
		},
		"VN403": {
			Example: "ufw reload, iptables-restore: the exception with the comment vmnet:nat.lab is gone.",
			Why:     "The owner of the chain wrote it anew.",
			Repair:  "vmnet puts it back, or removes what no flow needs.",
			ByHand:  "vmnet apply",
			Lasting: "vmnet apply after the owner's reload; the owner's own door where it has one on disk (ufw route allow, firewalld).",
		},
		"VN404": {
			Example: "vmnet plan as an ordinary user.",
			Why:     "Rules are for CAP_NET_ADMIN to see, some files for root.",
			Repair:  "It does not: what was not seen is not called missing.",
			ByHand:  "sudo vmnet plan",
			Lasting: "Run it as root; in a unit, AmbientCapabilities=CAP_NET_ADMIN and SupplementaryGroups=root.",
		},
		"VN410": {
			Example: "iptables -A FORWARD -d 192.168.122.11 -p tcp --dport 22 -j DROP",
			Why:     "An administrator, a saved file, or a firewall manager wrote a rule that matches more than it was meant for. The finding names who, and how that is known.",
			Repair:  "By the owner's door, by deleting a rule that is nobody's and blocks nothing but the file's flows, or by an exception in front of it: the first that opens nothing else.",
			ByHand:  "iptables -S FORWARD shows the rule; delete it by its full text (iptables -D FORWARD -d … -j DROP), never by its number.",
			Lasting: "Take its line out of the file it comes from, or use the owner's own permission: ufw route allow, a firewalld policy, DOCKER-USER by a unit after docker.service.",
		},
		"VN411": {
			Example: "iptables -P FORWARD DROP, as Docker sets it when it switches forwarding on.",
			Why:     "A default of \"drop\" is the normal, recommended state of Docker, ufw and firewalld; what is missing is an accept for the guests.",
			Repair:  "vmnet adds the narrowest accept where the owner lets others act, and never changes the policy.",
			ByHand:  "iptables -I DOCKER-USER -i virbr0 -j ACCEPT and -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; ufw route allow in on virbr0; firewall-cmd --zone=libvirt --change-interface=virbr0",
			Lasting: "ufw and firewalld keep it. For Docker a unit with After= and PartOf=docker.service, or \"ip-forward-no-drop\": true in daemon.json (Docker 28).",
		},
		"VN412": {
			Example: "iptables -A FORWARD -m limit --limit 5/second -j ACCEPT before a drop.",
			Why:     "Rate limits, times of day, lists of recent senders and programs in the kernel decide by what no snapshot holds.",
			Repair:  "It does not: it is not known that anything is wrong.",
			ByHand:  "vmnet check --probe sends real packets; iptables -vL shows whether the rule counts.",
			Lasting: "An accept for the guests before such a rule makes it certain.",
		},
		"VN413": {
			Example: "/etc/iptables/rules.v4 holds \"-A FORWARD -d 192.168.122.0/24 -j DROP\", and the kernel has no such rule.",
			Why:     "The file was saved at another time, or the rule was deleted from the kernel alone.",
			Repair:  "vmnet takes the line out where everything it blocks is the file's, and keeps a copy beside it.",
			ByHand:  "Edit the file; iptables-restore --test < /etc/iptables/rules.v4",
			Lasting: "The file is what lasts. Do not run netfilter-persistent save while Docker's or libvirt's rules are live.",
		},
		"VN414": {
			Example: "A rule inserted into ufw-user-forward by hand, which /etc/ufw/user.rules does not have.",
			Why:     "Somebody changed the kernel and not the manager's files, or the files and did not reload.",
			Repair:  "It does not, and asks nothing of the manager meanwhile.",
			ByHand:  "ufw reload or firewall-cmd --reload, when what the files say is what is wanted.",
			Lasting: "Make changes by the manager's own commands.",
		},
		"VN415": {
			Example: "vmnet put an accept at the end of FORWARD; later somebody appends \"-j f2b-sshd\" behind it.",
			Why:     "Rules of one chain are asked in their order, and an accept ends the chain: who comes later and appends is not heard for what was accepted before.",
			Repair:  "It does not: which of the two comes first is for whoever runs the control to say.",
			ByHand:  "iptables -D CHAIN the control's jump, iptables -I CHAIN 1 the same; or delete the rule that bears vmnet's mark and run vmnet apply, which finds a place behind the control.",
			Lasting: "Have the control insert at the top of the chain, as fail2ban does by default (actionstart with -I).",
		},
		"VN451": {
			Example: "-t nat -A PREROUTING -p tcp --dport 2222 -j DNAT --to 192.168.122.55:22 while the forward says .11.",
			Why:     "An older port forward to the guest's former address, another program that publishes the same port, or no mapping at all.",
			Repair:  "vmnet writes the forward's own mapping, deletes a rule that is nobody's and leads nothing else, or puts an accept in front of it.",
			ByHand:  "iptables -t nat -S PREROUTING; delete the stale rule by its full text.",
			Lasting: "A reservation for the guest's address (virsh net-update … ip-dhcp-host), and the mapping in one place only.",
		},
		"VN452": {
			Example: "The guest's default route leads to another router than this host, which forwarded the connection to it.",
			Why:     "The guest has two networks, or another default gateway; the answer takes the other way.",
			Repair:  "It does not: the route is in the guest.",
			ByHand:  "Give the guest this host as its gateway, or masquerade what is forwarded to it.",
			Lasting: "The guest's own network configuration, or the DHCP server's option 3.",
		},
	}
}
