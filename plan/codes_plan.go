package plan

import "github.com/vmnet/vmnet/plan/checks"

// planDocs document the codes of expectations and of a plan's safety.
func planDocs() map[string]checks.Doc {
	return map[string]checks.Doc{
		"VN601": {
			Example: "expect \"updates\" { from = guest.db1, to = \"203.0.113.10\", tcp = 443, allow = true } while the uplink has no carrier.",
			Why:     "The cause is another finding of the same plan, or a place where vmnet may not act: a privacy or security control, another host, a guest.",
			Repair:  "It does not: no remedy was found, or foreign = \"report\" forbids it.",
			ByHand:  "vmnet trace guest.db1 203.0.113.10 tcp/443 shows the way, hook by hook, and who decides.",
			Lasting: "As for the finding that is its cause.",
		},
		"VN602": {
			Example: "expect { from = outside, to = guest.db1, allow = false } while a forward of somebody else's leads there.",
			Why:     "Another program opens it, or nothing closes it.",
			Repair:  "A deny in a firewall block is written into our table; the expectation alone closes nothing.",
			ByHand:  "Write deny { from = …, to = … } in a firewall block.",
			Lasting: "The deny stays as long as the file holds it.",
		},
		"VN603": {
			Example: "A guest block without address on a network whose guest does not run.",
			Why:     "Nobody knows the device or address, or the rule is one that a snapshot cannot decide (VN412).",
			Repair:  "It does not.",
			ByHand:  "Give the guest address and device in the file, or start it; run vmnet as root if rules were not seen.",
			Lasting: "address and mac in the guest's block.",
		},
		"VN903": {
			Example: "iptables -A INPUT -i eth0 -p tcp --dport 22 -j ACCEPT, and a bridge block with ports = [\"eth0\"].",
			Why:     "After the move the host's packets come in by br0, which the rule does not name.",
			Repair:  "It does not: the rules are somebody's. The plan is refused unless risk_limit allows it.",
			ByHand:  "Add the same rule with -i br0 first.",
			Lasting: "Both names in the firewall's own files.",
		},
		"VN905": {
			Example: "A deny for the network that you are logged in from.",
			Why:     "What the file asks for stops the packets of your own connection.",
			Repair:  "It does not apply such a plan without --accept-lockout and a time for confirmation.",
			ByHand:  "Correct the file or the rule that is named, or work from the console.",
			Lasting: "A protect block for the management network makes every later plan keep it.",
		},
		"VN906": {
			Example: "protect \"mgmt\" { interface = \"eno1\" } and a bridge block that takes eno1 as a port.",
			Why:     "Two blocks of the file want different things.",
			Repair:  "It does not: the plan is refused.",
			ByHand:  "Take one of the two out of the file.",
			Lasting: "Nothing else needs to change.",
		},
		"VN907": {
			Example: "A bridge block that takes the card with the default route and has no gateway, on a host whose route cannot move along.",
			Why:     "The route goes with what the plan removes or moves.",
			Repair:  "It does not: the plan is refused.",
			ByHand:  "gateway = \"192.0.2.1\" in the bridge block.",
			Lasting: "The same.",
		},
		"VN908": {
			Example: "A card that becomes a port of a bridge with a spanning tree: 30 seconds.",
			Why:     "The kernel, the switch or the neighbours need that time.",
			Repair:  "vmnet orders its steps so that the time is as short as it can be, and says the bound.",
			ByHand:  "Wait; TCP repeats what was lost.",
			Lasting: "Nothing lasts of it.",
		},
		"VN909": {
			Example: "vmnet apply in a container that does not see the host's /proc.",
			Why:     "Processes and sockets of others are not visible to this process.",
			Repair:  "It does not: the plan is refused without --accept-lockout and a time for confirmation.",
			ByHand:  "Run vmnet on the host itself, as root.",
			Lasting: "A protect block says what must live on, whoever is logged in.",
		},
	}
}
