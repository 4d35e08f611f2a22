package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// resolved is the desired configuration after a look at the live host: guests found by MAC, the NIC's MAC on its bridge,
// addresses and routes that move. It is still only a wish; diff makes changes of it.
type resolved struct {
	live *schema.State
	*schema.Desired
	want     *schema.State
	moves    []move
	findings []Finding
	// unrequested are openings that the changes themselves make.
	unrequested []string
	// addresses gives the block of an object, also for those that resolve added.
	addresses map[schema.Ref]string
	// declared are the devices the file speaks of, by name: the address of their block.
	networks map[string]*schema.Network // by device
	byBlock  map[string]*schema.Network // by address of the block
	guestsOf map[string][]*schema.Guest // by the address of their network, and each by its own
	// looked are the findings of package checks, repairs what they want beside the file.
	looked  []looked
	repairs map[schema.Ref]repair
}

// move carries what sits on a NIC to its bridge, or back.
type move struct {
	from, to string // links
	address  string // the block
	back     bool
	addrs    []addrMove
	routes   []routeMove
	neigh    []neighMove
}

type (
	addrMove  struct{ old, moved *schema.Address }
	routeMove struct{ old, moved *schema.Route }
	neighMove struct{ old, moved *schema.Neighbour }
)

func resolve(live *schema.State, d *schema.Desired) *resolved {
	own := *d
	own.Guests = slices.Clone(d.Guests)
	r := &resolved{
		live: live, Desired: &own, want: d.State.Clone(), addresses: map[schema.Ref]string{}, networks: map[string]*schema.Network{},
		byBlock: map[string]*schema.Network{}, guestsOf: map[string][]*schema.Guest{}, repairs: map[schema.Ref]repair{},
	}
	maps.Copy(r.addresses, d.Addresses)
	for i := range own.Networks {
		n := &own.Networks[i]
		r.networks[n.Device], r.byBlock[n.Address] = n, n
	}
	for i := range own.Guests {
		g := &own.Guests[i]
		r.guestsOf[g.Network] = append(r.guestsOf[g.Network], g)
		r.guestsOf[g.Address] = append(r.guestsOf[g.Address], g)
	}
	r.findGuests()
	r.missingLinks()
	r.missingUplinks()
	r.bridges()
	r.ports()
	r.isolation()
	r.reversePath()
	r.linkSettings()
	return r
}

func (r *resolved) put(o schema.Object, address string) {
	r.want.Put(o)
	if _, ok := r.addresses[o.Ref()]; !ok {
		r.addresses[o.Ref()] = address
	}
}

// wantLink lays more wishes over what is wanted of a link.
func (r *resolved) wantLink(l *schema.Link, address string) {
	if have := r.want.Link(l.Name); have != nil {
		r.put(schema.Merge(have, l), address)
		return
	}
	r.put(l, address)
}

// findGuests looks up the device of guests that are described by MAC alone: a bridge port behind which the MAC was
// learned, or the tap that libvirt gives the guest's MAC with fe as first byte.
func (r *resolved) findGuests() {
	byMAC := map[string]string{}
	for f := range schema.Each[*schema.FDBEntry](r.live) {
		if f.State == "" && f.Master != "" {
			byMAC[f.MAC] = f.Link
		}
	}
	for l := range schema.Each[*schema.Link](r.live) {
		if l.MAC != nil && strings.HasPrefix(*l.MAC, "fe:") && (l.Type == "tap" || l.Type == "macvtap") {
			byMAC[(*l.MAC)[3:]] = l.Name
		}
	}
	for i := range r.Guests {
		g := &r.Guests[i]
		if g.Device != "" || g.MAC == "" {
			continue
		}
		if dev := byMAC[g.MAC]; dev != "" {
			g.Device = dev
		} else if dev := byMAC[strings.ToLower(g.MAC)[3:]]; dev != "" {
			g.Device = dev
		}
		n := r.network(g.Network)
		if g.Device == "" || n == nil || r.want.Link(g.Device) != nil {
			continue
		}
		l := &schema.Link{Name: g.Device, Master: new(n.Device), Up: new(true)}
		r.wantLink(l, g.Address)
	}
	r.Goals = slices.Clone(r.Goals)
	for i := range r.Goals {
		r.Goals[i].From.Port, r.Goals[i].To.Port = r.portOf(r.Goals[i].From), r.portOf(r.Goals[i].To)
	}
}

func (r *resolved) portOf(e schema.Endpoint) string {
	if e.Kind != "guest" {
		return e.Port
	}
	for _, g := range r.guestsOf[e.Address] {
		return g.Device
	}
	return e.Port
}

// machines are the guests whose addresses and MAC addresses the file gives.
func (r *resolved) machines() []trace.Machine {
	var out []trace.Machine
	for _, g := range r.Guests {
		n := r.network(g.Network)
		if n == nil || g.MAC == "" {
			continue
		}
		for _, ip := range g.IPs {
			out = append(out, trace.Machine{Link: n.Device, IP: ip, MAC: g.MAC, Port: g.Device})
		}
	}
	return out
}

func (r *resolved) network(address string) *schema.Network { return r.byBlock[address] }

// missingLinks takes out of the wish what vmnet cannot create: NICs and taps that are not there.
func (r *resolved) missingLinks() {
	for _, ref := range r.want.Refs(schema.KindLink) {
		l := r.want.Get(ref).(*schema.Link)
		if l.Type != "" || r.live.Link(l.Name) != nil {
			continue
		}
		r.want.Delete(ref)
		address := r.addresses[ref]
		f := Finding{
			Code: "VN101", Severity: "error", Title: fmt.Sprintf("device %s does not exist", l.Name), Address: address,
			Object: ref.String(), Origin: r.origin(ref),
			Detail: "vmnet does not make network cards or taps; it configures them when they are there. Correct the name, or start what provides the device.",
		}
		if strings.HasPrefix(address, "guest.") {
			f.Severity = "warning"
			f.Detail = "The guest's device is made by its hypervisor: most likely the guest is not running."
		}
		r.findings = append(r.findings, f)
	}
}

// missingUplinks names declared uplinks that are neither there nor made by this file: nothing would be masqueraded.
func (r *resolved) missingUplinks() {
	for _, n := range r.Networks {
		if n.Uplink == "" || r.live.Link(n.Uplink) != nil || r.want.Link(n.Uplink) != nil {
			continue
		}
		r.findings = append(r.findings, Finding{
			Code: "VN101", Severity: "error", Title: fmt.Sprintf("uplink %s of %s does not exist", n.Uplink, n.Address), Address: n.Address,
			Object: schema.LinkRef(n.Uplink).String(), Origin: r.Blocks[n.Address],
			Detail: "Guests would leave by another link, and with their own address: only what leaves by the uplink is masqueraded. Correct the name.",
		})
	}
}

func (r *resolved) origin(ref schema.Ref) schema.Origin {
	if o, ok := r.Origins[ref]; ok {
		return o
	}
	return r.Blocks[r.addresses[ref]]
}

// bridges settles what depends on whether the bridge exists: its MAC, and who pins it.
func (r *resolved) bridges() {
	for _, n := range r.Networks {
		want := r.want.Link(n.Device)
		if want == nil {
			continue
		}
		c := schema.Clone(want).(*schema.Link)
		live := r.live.Link(n.Device)
		switch {
		case live == nil && n.Mode == "bridge":
			c.MAC = r.bridgeMAC(n)
		case live != nil && (!schema.Owned(live) || adopted(live)):
			c.MAC = nil // guests know its MAC
			c.Alias = new(*want.Alias + adoptedSuffix)
			if !schema.Owned(live) && live.Alias != nil && *live.Alias != "" {
				c.Alias = nil // somebody's own words: they stay, and the bridge unmarked
			}
		}
		if live != nil && live.MACPinned == nil {
			c.MACPinned = nil // the kernel does not tell
		}
		r.want.Put(c)
	}
}

// adoptedSuffix tells in the mark of a bridge that it was there before us: when its block goes, the mark goes, not the
// bridge.
const adoptedSuffix = " (adopted)"

func adopted(l *schema.Link) bool {
	return l.Alias != nil && strings.HasSuffix(*l.Alias, adoptedSuffix)
}

// blockOf is the address in the mark of a link.
func blockOf(l *schema.Link) string {
	if l.Alias == nil {
		return ""
	}
	address, _ := schema.Mark(strings.TrimSuffix(*l.Alias, adoptedSuffix))
	return address
}

// bridgeMAC is the MAC of the first port that exists: to the LAN the bridge is then the host it always was.
func (r *resolved) bridgeMAC(n schema.Network) *string {
	for _, p := range n.Ports {
		if l := r.live.Link(p); l != nil && l.MAC != nil && *l.MAC != "" {
			return new(*l.MAC)
		}
	}
	return nil
}

// ports marks a bridge's declared ports and moves what sits on them.
func (r *resolved) ports() {
	for _, n := range r.Networks {
		if n.Mode != "bridge" {
			continue
		}
		for _, p := range n.Ports {
			live := r.live.Link(p)
			if live == nil {
				continue
			}
			// Only what we attach ourselves bears our mark: it is released when its block goes.
			attached := live.Master != nil && *live.Master == n.Device
			if schema.Owned(live) || (!attached && (live.Alias == nil || *live.Alias == "")) {
				r.wantLink(&schema.Link{Name: p, Alias: new(schema.AliasFor(n.Address))}, n.Address)
			}
			if m := r.moveTo(p, n.Device, n.Address); m != nil {
				r.moves = append(r.moves, *m)
			}
		}
	}
	r.movesBack()
}

// moveTo collects the addresses and routes of one link as they will be on another. Nil when there is nothing to move.
// Kernel-made ones stay: they follow their address or link by themselves.
func (r *resolved) moveTo(from, to, address string) *move {
	m := &move{from: from, to: to, address: address}
	for _, a := range addressesOn(r.live, from) {
		moved := schema.Clone(a).(*schema.Address)
		moved.Link, moved.Facts = to, nil
		if a.Label != nil {
			moved.Label = new(strings.Replace(*a.Label, from, to, 1))
			if len(*moved.Label) > 15 {
				moved.Label = new(to)
			}
		}
		if a.Prefix.Addr().Is6() {
			moved.NoDAD = new(true) // the address is ours already: checking it again would only take it away for a second
		}
		m.addrs = append(m.addrs, addrMove{a, moved})
		r.put(moved, address)
	}
	for _, rt := range routesVia(r.live, from) {
		moved := schema.Clone(rt).(*schema.Route)
		moved.Facts = nil
		if moved.Link == from {
			moved.Link = to
		}
		for i := range moved.NextHops {
			if moved.NextHops[i].Link == from {
				moved.NextHops[i].Link = to
			}
		}
		m.routes = append(m.routes, routeMove{rt, moved})
		r.put(moved, address)
	}
	for n := range schema.Each[*schema.Neighbour](r.live) {
		if n.Link != from || n.Permanent == nil || !*n.Permanent || n.Proxy {
			continue
		}
		moved := *n
		moved.Link = to
		m.neigh = append(m.neigh, neighMove{n, &moved})
		r.put(&moved, address)
	}
	if len(m.addrs) == 0 && len(m.routes) == 0 && len(m.neigh) == 0 {
		return nil
	}
	return m
}

// movesBack finds bridges of ours that are no longer in the file, and NICs that are no longer their ports: what was moved
// there goes back to the NIC. What bears our mark was made by us and goes away instead.
func (r *resolved) movesBack() {
	for l := range schema.Each[*schema.Link](r.live) {
		if l.Type != "bridge" || !schema.Owned(l) || adopted(l) || r.want.Link(l.Name) != nil {
			continue
		}
		nic := r.nicOf(l)
		if nic == "" {
			continue
		}
		if m := r.moveTo(l.Name, nic, blockOf(l)); m != nil {
			m.back = true
			m.addrs = slices.DeleteFunc(m.addrs, func(a addrMove) bool { return r.dropOwned(a.old, a.moved) })
			m.routes = slices.DeleteFunc(m.routes, func(x routeMove) bool { return r.dropOwned(x.old, x.moved) })
			r.moves = append(r.moves, *m)
		}
	}
}

func (r *resolved) dropOwned(old, moved schema.Object) bool {
	if !schema.Owned(old) {
		return false
	}
	r.want.Delete(moved.Ref())
	return true
}

// nicOf is the marked port of a bridge, the one whose MAC the bridge has if there are several.
func (r *resolved) nicOf(bridge *schema.Link) string {
	nic := ""
	for l := range schema.Each[*schema.Link](r.live) {
		if l.Master == nil || *l.Master != bridge.Name || !schema.Owned(l) {
			continue
		}
		if nic == "" || (l.MAC != nil && bridge.MAC != nil && *l.MAC == *bridge.MAC) {
			nic = l.Name
		}
	}
	return nic
}

// isolation sets the port flag on every guest's port of a network that asks for it: the bridge then carries nothing
// between two such ports (ip-link(8), isolated).
func (r *resolved) isolation() {
	for _, n := range r.Networks {
		if !n.Isolate {
			continue
		}
		for l := range schema.Each[*schema.Link](r.live) {
			if l.Master != nil && *l.Master == n.Device && !slices.Contains(n.Ports, l.Name) {
				r.wantLink(&schema.Link{Name: l.Name, Port: &schema.Port{Isolated: new(true)}}, n.Address)
			}
		}
	}
}

// reversePath loosens rp_filter on an uplink that a nat network names though the default route leads elsewhere: replies
// come in by a link that strict checking (RFC 3704) refuses.
func (r *resolved) reversePath() {
	for _, n := range r.Networks {
		if n.Mode != "nat" || n.Uplink == "" || r.live.Link(n.Uplink) == nil {
			continue
		}
		key := schema.LinkSysctl("ipv4", n.Uplink, "rp_filter")
		all, _ := r.live.Sysctl("net.ipv4.conf.all.rp_filter")
		own, _ := r.live.Sysctl(key)
		if max(all, own) != "1" || defaultLeavesBy(r.live, n.Uplink) {
			continue
		}
		r.put(&schema.Sysctl{Key: key, Value: "2"}, n.Address)
	}
}

// linkSettings wants what addresses and forwarding of a network need of each link, where somebody has switched it off there.
func (r *resolved) linkSettings() {
	for a := range schema.Each[*schema.Address](r.want) {
		if !a.Prefix.Addr().Is6() {
			continue
		}
		if v, ok := r.settingOf("ipv6", a.Link, "disable_ipv6"); ok && v != "0" {
			r.put(&schema.Sysctl{Key: schema.LinkSysctl("ipv6", a.Link, "disable_ipv6"), Value: "0"}, r.addresses[a.Ref()])
		}
	}
	r.advertised()
	for _, n := range r.Networks {
		if n.Mode != "nat" {
			continue
		}
		for _, dev := range []string{n.Device, n.Uplink} {
			r.forwards(n, dev)
		}
	}
}

// forwards wants per-link forwarding on where the global switch says on and the link says off.
func (r *resolved) forwards(n schema.Network, dev string) {
	global := map[string]string{"ipv4": "net.ipv4.ip_forward", "ipv6": "net.ipv6.conf.all.forwarding"}
	for _, p := range n.Subnets {
		family := "ipv4"
		if p.Addr().Is6() {
			family = "ipv6"
		}
		on, _ := r.live.Sysctl(global[family])
		key := schema.LinkSysctl(family, dev, "forwarding")
		if v, ok := r.live.Sysctl(key); dev != "" && ok && v == "0" && on == "1" {
			r.put(&schema.Sysctl{Key: key, Value: "1"}, n.Address)
		}
	}
}

// settingOf is a setting of a link as it is, or as it will be when the link is made.
func (r *resolved) settingOf(family, link, name string) (string, bool) {
	if r.live.Link(link) == nil {
		return r.live.Sysctl("net." + family + ".conf.default." + name)
	}
	return r.live.Sysctl(schema.LinkSysctl(family, link, name))
}

func defaultLeavesBy(s *schema.State, link string) bool {
	for rt := range schema.Each[*schema.Route](s) {
		if rt.Table == schema.TableMain && rt.Dst.Bits() == 0 && rt.Dst.Addr().Is4() {
			return slices.Contains(rt.Devices(), link)
		}
	}
	return false
}

// addressesOn lists the addresses of a link that somebody set.
func addressesOn(s *schema.State, link string) []*schema.Address {
	var out []*schema.Address
	for a := range schema.Each[*schema.Address](s) {
		if a.Link == link && !kernelMadeAddress(a) {
			out = append(out, a)
		}
	}
	// A primary address before its secondaries, as they were added.
	slices.SortStableFunc(out, func(a, b *schema.Address) int { return secondary(a) - secondary(b) })
	return out
}

// protoKernelLL marks the link-local address that the kernel makes (IFAPROT_KERNEL_LL, include/uapi/linux/if_addr.h).
const protoKernelLL = 3

func kernelMadeAddress(a *schema.Address) bool {
	ip := a.Prefix.Addr()
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		b := ip.As16()
		eui64 := b[11] == 0xff && b[12] == 0xfe // RFC 4291, appendix A: kernels before 5.18 do not mark theirs
		return eui64 || (a.Proto != nil && *a.Proto == protoKernelLL)
	}
	return ip.IsLoopback() || (a.Facts != nil && a.Facts.KernelMade)
}

func secondary(a *schema.Address) int {
	if a.Facts != nil && a.Facts.Secondary {
		return 1
	}
	return 0
}

// routesVia lists the routes by a link that somebody set, on-link ones before those through a gateway.
func routesVia(s *schema.State, link string) []*schema.Route {
	var out []*schema.Route
	for rt := range schema.Each[*schema.Route](s) {
		if rt.KernelMade() || rt.Table == schema.TableLocal || !slices.Contains(rt.Devices(), link) || linkScoped(rt.Dst) {
			continue
		}
		out = append(out, rt)
	}
	slices.SortStableFunc(out, func(a, b *schema.Route) int { return viaGateway(a) - viaGateway(b) })
	return out
}

func viaGateway(rt *schema.Route) int {
	if rt.Gateway.IsValid() || len(rt.NextHops) > 0 {
		return 1
	}
	return 0
}

// linkScoped tells fe80::/10 and ff00::/8, which the kernel keeps by itself on every link.
func linkScoped(p netip.Prefix) bool {
	a := p.Addr()
	return a.Is6() && p.Bits() > 0 && (a.IsLinkLocalUnicast() || a.IsMulticast())
}
