package checks

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Host is a State and what the checks make of it. It is made for one State, which must not change meanwhile.
type Host struct {
	*schema.State
	// Networks are the virtual networks that exist or are defined, by device.
	Networks []*Network
	// Desired is what a file wants, nil where there is none.
	Desired *schema.Desired

	where  func() *trace.Map
	libvir []libvirtNetwork
	// What is asked for each network, and costs a look at every route or rule: found once.
	main   []*schema.Route          // unicast routes of table main, the default ones too
	routes map[bool][]*schema.Route // default routes by family (true is IPv6), the best first
	masq   []masquerade             // rules that give packets another source
	chains map[string]bool          // names of chains
}

// masquerade is a rule that gives packets another source.
type masquerade struct{ table, place, text string }

// Look finds the networks of a state. desired may be nil.
func Look(s *schema.State, desired *schema.Desired) *Host {
	h := &Host{State: s, Desired: desired, libvir: libvirtNetworks(s), routes: map[bool][]*schema.Route{}, chains: map[string]bool{}}
	h.where = sync.OnceValue(func() *trace.Map { return trace.NewMap(s) })
	h.sortRoutes()
	h.sortRules()
	h.findNetworks()
	return h
}

// blind tells whether a part could not be read: what was not seen is not called missing.
func (h *Host) blind(part string) bool {
	return slices.ContainsFunc(h.Blind, func(b string) bool { return b == part || strings.HasPrefix(b, part) })
}

// Network returns the network of a device, or nil.
func (h *Host) Network(device string) *Network {
	for _, n := range h.Networks {
		if n.Device == device {
			return n
		}
	}
	return nil
}

// file is the content of a file that was read, "" for one that is not there.
func (h *Host) file(path string) string {
	f, _ := h.Get(schema.FileRef(path)).(*schema.File)
	if f == nil {
		return ""
	}
	return f.Content
}

// files lists the files whose path matches one of these beginnings and ends, sorted by path.
func (h *Host) files(prefix, suffix string) []*schema.File {
	var out []*schema.File
	for f := range schema.Each[*schema.File](h.State) {
		if strings.HasPrefix(f.Path, prefix) && strings.HasSuffix(f.Path, suffix) {
			out = append(out, f)
		}
	}
	return out
}

// runs tells whether a service is at work, by the group of its processes or its pid file, and which file says so.
func (h *Host) runs(units ...string) (evidence string, ok bool) {
	for _, u := range units {
		for _, path := range []string{
			"/sys/fs/cgroup/system.slice/" + u + ".service/cgroup.procs", "/sys/fs/cgroup/systemd/system.slice/" + u + ".service/cgroup.procs",
			"/run/" + u + ".pid", "/run/" + u + "/" + u + ".pid",
		} {
			if h.file(path) != "" {
				return path + " names a process", true
			}
		}
	}
	return "", false
}

// sysctl is the value of a setting, "" where it is not known.
func (h *Host) sysctl(key string) string {
	v, _ := h.Sysctl(key)
	return v
}

// addresses lists the addresses of a link, those of the link itself (fe80::/10, 169.254.0.0/16) left out.
func (h *Host) addresses(link string) []*schema.Address {
	var out []*schema.Address
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if a, ok := h.Get(r).(*schema.Address); ok && !a.Prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	return out
}

// ports lists the links whose master is link.
func (h *Host) ports(link string) []*schema.Link {
	var out []*schema.Link
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if l, ok := h.Get(r).(*schema.Link); ok && master(l) == link {
			out = append(out, l)
		}
	}
	return out
}

// neighbours lists the entries of a link that name a machine.
func (h *Host) neighbours(link string) []*schema.Neighbour {
	var out []*schema.Neighbour
	for _, r := range h.Dependents(schema.LinkRef(link)) {
		if n, ok := h.Get(r).(*schema.Neighbour); ok && mac(n.MAC) != "" && !n.Proxy && n.State != "noarp" && n.State != "failed" {
			out = append(out, n)
		}
	}
	return out
}

// behind is the port of a bridge behind which a machine was heard; "" where none was.
func (h *Host) behind(bridge, hw string) string {
	for _, p := range h.ports(bridge) {
		for _, r := range h.Dependents(p.Ref()) {
			if f, ok := h.Get(r).(*schema.FDBEntry); ok && f.MAC == hw && f.Master == bridge && f.State != "permanent" {
				return p.Name
			}
		}
	}
	return ""
}

// defaults lists the default routes of table main, the best first.
func (h *Host) defaults(v6 bool) []*schema.Route { return h.routes[v6] }

func (h *Host) sortRoutes() {
	for r := range schema.Each[*schema.Route](h.State) {
		if r.Table != schema.TableMain || r.Type != "" && r.Type != "unicast" || len(r.Devices()) == 0 {
			continue
		}
		h.main = append(h.main, r)
		if v6 := r.Dst.Addr().Is6(); r.Dst.Bits() == 0 {
			h.routes[v6] = append(h.routes[v6], r)
		}
	}
	for _, all := range h.routes {
		slices.SortStableFunc(all, func(a, b *schema.Route) int { return cmp.Compare(a.Metric, b.Metric) })
	}
}

func (h *Host) sortRules() {
	for t := range schema.Each[*schema.Table](h.State) {
		for _, c := range t.Chains {
			h.chains[c.Name] = true
			for _, r := range c.Rules {
				if slices.ContainsFunc(r.Exprs, func(e schema.Expr) bool { return e.Name == "masq" || e.Name == "nat" && e.Op == "snat" }) {
					h.masq = append(h.masq, masquerade{t.Name, "table " + t.Name + " chain " + c.Name, r.Text})
				}
			}
		}
	}
}

// Outside lists the links that the default routes leave by, the best of each family, and the ports of a bridge among them that
// lead to the LAN.
func (h *Host) Outside() []string {
	var out []string
	for _, v6 := range []bool{false, true} {
		all := h.defaults(v6)
		for _, r := range all[:min(1, len(all))] {
			for _, dev := range r.Devices() {
				out = appendNew(out, dev)
				if n := h.Network(dev); n != nil {
					for _, p := range n.Uplinks {
						out = appendNew(out, p)
					}
				}
			}
		}
	}
	return out
}

func master(l *schema.Link) string {
	if l.Master == nil {
		return ""
	}
	return *l.Master
}

func mac(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func up(l *schema.Link) bool { return l != nil && l.Up != nil && *l.Up }

func mtu(l *schema.Link) uint32 {
	if l == nil || l.MTU == nil {
		return 0
	}
	return *l.MTU
}

// parent is the lower device of a link in this namespace, or nil.
func (h *Host) parent(l *schema.Link) *schema.Link {
	if l.Facts == nil || l.Facts.ParentIndex == 0 || l.Facts.ParentElsewhere {
		return nil
	}
	return h.LinkByIndex(l.Facts.ParentIndex)
}

// overlap tells whether two prefixes share addresses; of different families they do not.
func overlap(a, b netip.Prefix) bool { return a.Masked().Overlaps(b.Masked()) }
