package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

func policyTable() Check {
	return Check{
		Code: "VN321", Name: "policy-table", Layer: LayerIP, Title: "a policy rule leads packets for guests elsewhere", Run: runPolicyTable,
		Doc: Doc{
			Means: "A policy rule (ip rule) sends packets to another routing table before table main is looked at, and that table leads what is for the guests into a tunnel or to another link. " +
				"Requests of guests get out; the answers to them, and whatever the host itself says to guests, do not come back.",
			Example: "5270: from all lookup 52, with \"default dev tailscale0\" in table 52, and 192.168.122.0/24 dev virbr0 in table main only: ip route get 192.168.122.11 says dev tailscale0.",
			Why: "VPN clients lead everything into their tunnel by a table of their own: tailscale with an exit node (table 52, rules 5210 to 5270), mullvad, openvpn scripts. wg-quick does it right: its rule " +
				"\"lookup main suppress_prefixlength 0\" lets every network of the host pass first, and is no finding. A rule \"from SUBNET lookup N\" for guests catches what their gateway answers, too.",
			Repair:  "vmnet adds a rule in front: \"to SUBNET lookup main\", marked as ours (protocol 118), for the networks of the file. It leads nothing elsewhere but what is for those guests.",
			ByHand:  "ip rule add to 192.168.122.0/24 lookup main priority 2500; with tailscale: tailscale set --exit-node-allow-lan-access=true.",
			Lasting: "The VPN client's own setting for local networks; or a RoutingPolicyRule in a .network file of networkd, which else removes rules of others when it restarts.",
		},
	}
}

func runPolicyTable(h *Host) []Finding {
	bare := h.withoutOurRules()
	if !bare.divides() {
		return nil
	}
	var out []Finding
	for _, n := range h.Networks {
		if n.Mode == ModeBridge || !up(h.Link(n.Device)) {
			continue
		}
		for _, p := range n.Hosts {
			if f, ok := bare.stolen(n, p); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// divides tells whether a policy rule leads to another table than every host's.
func (h *Host) divides() bool {
	for r := range schema.Each[*schema.PolicyRule](h.State) {
		if r.Table != schema.TableLocal && r.Table != schema.TableMain && r.Table != 253 || r.Action != "" && r.Action != "lookup" {
			return true
		}
	}
	return false
}

// withoutOurRules is the host without the policy rules that vmnet added: whether they are needed is found anew.
func (h *Host) withoutOurRules() *Host {
	s := h.Clone()
	found := false
	for r := range schema.Each[*schema.PolicyRule](h.State) {
		if schema.Owned(r) {
			s.Delete(r.Ref())
			found = true
		}
	}
	if !found {
		return h
	}
	return Look(s, h.Desired)
}

// stolen asks where the host sends its own answers to guests, and compares with what table main says.
func (h *Host) stolen(n *Network, p netip.Prefix) (Finding, bool) {
	guest := someGuest(p)
	if !guest.IsValid() || h.mainLink(guest) != n.Device {
		return Finding{}, false
	}
	for _, way := range h.where().Ways(netip.PrefixFrom(guest, guest.BitLen()), p.Addr(), "") {
		if way.Local || way.Link == n.Device || way.Link == "" { // a route or rule that says no is VN304
			continue
		}
		rule := h.thief(guest, p.Addr())
		f := Finding{
			Severity: Error, Links: []string{n.Device},
			Title:    fmt.Sprintf("packets for guests of %s leave by %s", n.Device, way.Link),
			Detail:   "A policy rule leads them to another routing table before table main is asked: guests hear no answers.",
			Evidence: []string{fmt.Sprintf("%s is on %s", p, n.Device), "the way to " + guest.String() + ": " + way.Text},
		}
		priority := uint32(2500)
		if rule != nil {
			f.Object, f.Owner = rule.Ref(), vpnOf(rule)
			f.Evidence = append(f.Evidence, "ip rule "+rule.String())
			priority = min(priority, max(rule.Priority, 1)-1)
		}
		if f.Owner == "tailscale" {
			f.Cure = append(f.Cure, "tailscale set --exit-node-allow-lan-access=true")
		}
		f.Cure = append(f.Cure, fmt.Sprintf("ip rule add to %s lookup main priority %d", p.Masked(), priority))
		if priority > 0 {
			f.Want = []schema.Object{&schema.PolicyRule{
				Family: familyOf(p.Addr()), Priority: priority, Dst: p.Masked(), Table: schema.TableMain, Proto: new(uint8(schema.ProtoVMNET)),
			}}
		}
		return f, true
	}
	return Finding{}, false
}

// thief is the first rule by whose table an address is looked up: no selector of it excludes a packet of the host's, and the
// table has a route that it takes.
func (h *Host) thief(dst, src netip.Addr) *schema.PolicyRule {
	var rules []*schema.PolicyRule
	for r := range schema.Each[*schema.PolicyRule](h.State) {
		if r.Family == familyOf(dst) && r.Table != schema.TableLocal {
			rules = append(rules, r)
		}
	}
	slices.SortStableFunc(rules, func(a, b *schema.PolicyRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range rules {
		matches := (!r.Src.IsValid() || r.Src.Contains(src)) && (!r.Dst.IsValid() || r.Dst.Contains(dst)) && r.IIF == ""
		if r.Table == schema.TableMain || matches == r.Invert {
			continue
		}
		if r.Action != "" && r.Action != "lookup" || h.hasRoute(r.Table, dst) {
			return r
		}
	}
	return nil
}

func (h *Host) hasRoute(table uint32, dst netip.Addr) bool {
	for r := range schema.Each[*schema.Route](h.State) {
		if r.Table == table && r.Dst.Contains(dst) {
			return true
		}
	}
	return false
}

// mainLink is the link by which table main alone leads to an address, "" for none.
func (h *Host) mainLink(dst netip.Addr) string {
	var best *schema.Route
	for _, r := range h.main {
		if !r.Dst.Contains(dst) {
			continue
		}
		if best == nil || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	if best == nil {
		return ""
	}
	return best.Devices()[0]
}

// vpnOf names a VPN client by the tables and priorities that it takes.
func vpnOf(r *schema.PolicyRule) string {
	switch {
	case r.Table == 52 || r.Priority >= 5210 && r.Priority <= 5270:
		return "tailscale"
	case r.Table == 51820:
		return "wg-quick"
	case r.Proto != nil && *r.Proto == 16:
		return "dhcp"
	}
	return ""
}

func familyOf(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

// someGuest is an address of a network that the host does not have; the zero Addr where there is none.
func someGuest(host netip.Prefix) netip.Addr {
	for a := host.Masked().Addr().Next(); host.Contains(a); a = a.Next() {
		if a != host.Addr() {
			return a
		}
	}
	return netip.Addr{}
}
