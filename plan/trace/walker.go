package trace

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/vmnet/vmnet/schema"
)

// Walker follows flows through one State. It indexes the state once; the state must not change while it is used. It may
// be used by several goroutines at once.
type Walker struct {
	state   *schema.State
	devices map[string]*device
	lo      *device
	fib     [2]*fib
	tables  []*table
	// groups are the stations at each hook of IP, by family and hook: those of equal priority together, for their order
	// is not known.
	groups [2][hooks][][]entry
	nat    [2][hooks][][]entry
	bridge [hooks][][]entry
	// ingress and egress are the base chains hooked to a device.
	ingress, egress map[string][][]entry
	forward         [2]int // net.ipv4.ip_forward, net.ipv6.conf.all.forwarding; -1 unknown
	rpAll           int
	// callIP says, per family, whether br_netfilter hands bridged packets to IP: -1 the module is not there, 0 and 1 the
	// global setting.
	callIP       [2]int
	bridgeTracks bool
	tracks       [2]bool // whether a rule is seen, per family, without which conntrack would not look at packets
	// filterTagged is net.bridge.bridge-nf-filter-vlan-tagged: whether br_netfilter does so with frames that bear a tag, too.
	filterTagged int
	// macs is the neighbour table; fabrics are the bridges, over the 802.1q links by lower link and VLAN.
	macs map[neighbour]string
	// machines are those of Know.
	machines map[neighbour]Machine
	fabrics  map[string]*fabric
	proxied  map[linkFamily][]netip.Prefix // addresses that the host answers for on a link (ip neighbour add proxy)
	over     map[overKey]*device
	blind    []string
	// arp are the stations at the hooks of the arp family; seesARP and seesND say that some rules see ARP, or ICMPv6.
	arp             [hooks][][]entry
	seesARP, seesND bool
	// acquainted says that all know their neighbours: nobody asks.
	acquainted bool
	// entries is the host's neighbour table, own are its addresses, routers its gateways on a link.
	entries map[linkFamily][]entryOf
	own     [2][]ownAddr
	// ownPrefixes are those of own in IPv4, each once.
	ownPrefixes []netip.Prefix
	routers     map[linkFamily]netip.Addr
	// callARP is net.bridge.bridge-nf-call-arptables, arpIgnore and the others those of all links; -1 unknown.
	callARP, arpIgnore, arpFilter, arpAnnounce int
	// looksAtMACs says that some rule does.
	looksAtMACs bool
	pool        sync.Pool // of *sweep
	// borders says by border whether it is closed.
	borders   sync.Map
	crossings crossings
	// rewrites says that some rule writes into packets, or does with them what nobody can foresee.
	rewrites bool
	// contents name the expressions nobody can foresee, made when first asked for.
	contents    sync.Once
	contentList map[*op]content
}

// hook is a place where base chains run.
type hook int

const (
	prerouting hook = iota
	input
	forward
	output
	postrouting
	hooks
)

var hookNames = [hooks]string{"prerouting", "input", "forward", "output", "postrouting"}

// device is a link with what the walk asks of it.
type device struct {
	name    string
	index   int
	link    *schema.Link
	up      bool
	carrier bool
	bridge  bool
	master  *device // nil for none
	// masterName is set even when the master is not in the state.
	masterName string
	addrs      []*schema.Address
	// forwarding and the others are the sysctls of the link; -1 unknown.
	forwarding, rpFilter, routeLocalnet, acceptLocal int
	arpIgnore, arpFilter, arpAnnounce                int
	// validMark makes rp_filter look for the way back with the packet's mark, bcForwarding leads broadcasts for other links
	// on, force6 forwards IPv6 though the host as a whole does not.
	validMark, bcForwarding, force6 bool
	// linkdown says, per family, that routes by a link without a carrier do not count.
	linkdown [2]bool
	noIPv6   bool
	// noARP says that ARP is off on the link, proxies, per family, that the host answers there for addresses of others.
	noARP   bool
	proxies [2]bool
	// forwarding6 is the link's own setting: whether it is a router there, not whether the host forwards.
	forwarding6 int
	routed      bool    // a route leads out of it
	lower       *device // of an 802.1q link; nil for others
	unknown     bool    // stands for "some port of this bridge"
	said        string  // the link in words; "" where nobody has said it yet
}

// text is the link in words.
func (d *device) text() string {
	if d.said == "" {
		return d.link.String()
	}
	return d.said
}

// New indexes a state for many walks.
func New(s *schema.State) *Walker { return build(s, nil) }

// With makes a Walker over another state. It shares the tables that are the same object in both, which is most of the work
// where states differ in a rule. A nil Walker shares nothing.
func (w *Walker) With(s *schema.State) *Walker {
	ready := map[*schema.Table]*table{}
	if w != nil {
		for _, t := range w.tables {
			ready[t.t] = t
		}
	}
	return build(s, ready)
}

func build(s *schema.State, ready map[*schema.Table]*table) *Walker {
	w := indexed(s)
	for t := range schema.Each[*schema.Table](s) {
		ct := ready[t]
		if ct == nil {
			ct = compileTable(t)
		}
		w.tables = append(w.tables, ct)
		w.looksAtMACs = w.looksAtMACs || ct.looksAtMACs
		w.rewrites = w.rewrites || slices.ContainsFunc(ct.list, func(c *chain) bool { return c.rewrites })
	}
	w.hookChains()
	return w
}

// indexed is a Walker that knows everything but rules.
func indexed(s *schema.State) *Walker {
	w := &Walker{state: s, devices: map[string]*device{}, ingress: map[string][][]entry{}, egress: map[string][][]entry{}, blind: s.Blind}
	for l := range schema.Each[*schema.Link](s) {
		w.devices[l.Name] = newDevice(s, l)
	}
	for _, d := range w.devices {
		if d.masterName != "" {
			d.master = w.devices[d.masterName]
		}
	}
	w.readFabrics()
	for a := range schema.Each[*schema.Address](s) {
		if d := w.devices[a.Link]; d != nil {
			d.addrs = append(d.addrs, a)
		}
	}
	if w.lo = w.devices["lo"]; w.lo == nil {
		w.lo = &device{name: "lo", index: 1, up: true, carrier: true, link: &schema.Link{Name: "lo", Type: "loopback"}}
	}
	w.readSysctls()
	w.readNeighbours()
	w.readEntries()
	w.fib[0], w.fib[1] = newFIB(w, false), newFIB(w, true)
	return w
}

func newDevice(s *schema.State, l *schema.Link) *device {
	d := &device{name: l.Name, link: l, said: l.String(), bridge: l.Type == "bridge", up: true, carrier: true}
	if l.Up != nil {
		d.up = *l.Up
	}
	if l.Master != nil {
		d.masterName = *l.Master
	}
	if l.Facts != nil {
		d.index, d.carrier, d.noARP = l.Facts.Index, l.Facts.Carrier, l.Facts.NoARP
	}
	get := func(family, name string) int { return sysctl(s, schema.LinkSysctl(family, l.Name, name)) }
	d.forwarding, d.rpFilter = get("ipv4", "forwarding"), get("ipv4", "rp_filter")
	d.routeLocalnet, d.acceptLocal = get("ipv4", "route_localnet"), get("ipv4", "accept_local")
	d.arpIgnore, d.arpFilter, d.arpAnnounce = get("ipv4", "arp_ignore"), get("ipv4", "arp_filter"), get("ipv4", "arp_announce")
	d.noIPv6 = get("ipv6", "disable_ipv6") == 1
	d.forwarding6 = get("ipv6", "forwarding")
	d.readEither(s)
	return d
}

// readEither reads settings of IPv4 that hold where either the link or all links have them (IN_DEV_ORCONF in
// include/linux/inetdevice.h), one that both must have, and those of IPv6, which are the link's alone.
func (d *device) readEither(s *schema.State) {
	set := func(family, link, name string) bool { return sysctl(s, schema.LinkSysctl(family, link, name)) > 0 }
	either := func(name string) bool { return set("ipv4", d.name, name) || set("ipv4", "all", name) }
	if either("route_localnet") {
		d.routeLocalnet = 1
	}
	if either("accept_local") {
		d.acceptLocal = 1
	}
	d.validMark = either("src_valid_mark")
	d.linkdown = [2]bool{either("ignore_routes_with_linkdown"), set("ipv6", d.name, "ignore_routes_with_linkdown")}
	d.bcForwarding = set("ipv4", d.name, "bc_forwarding") && set("ipv4", "all", "bc_forwarding")
	d.proxies = [2]bool{either("proxy_arp"), set("ipv6", d.name, "proxy_ndp") || set("ipv6", "all", "proxy_ndp")}
	d.force6 = set("ipv6", d.name, "force_forwarding")
}

// sysctl reads a number; -1 when it is not known.
func sysctl(s *schema.State, key string) int {
	v, ok := s.Sysctl(key)
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return -1
	}
	return n
}

// neighbour is a key: an address on a link.
type neighbour struct {
	link string
	ip   netip.Addr
}

func (w *Walker) readNeighbours() {
	w.macs, w.proxied = map[neighbour]string{}, map[linkFamily][]netip.Prefix{}
	for n := range schema.Each[*schema.Neighbour](w.state) {
		if n.Proxy {
			k := linkFamily{n.Link, n.IP.Is6()}
			w.proxied[k] = append(w.proxied[k], netip.PrefixFrom(n.IP, n.IP.BitLen()))
		}
		if n.MAC != nil && *n.MAC != "" && !n.Proxy {
			w.macs[neighbour{n.Link, n.IP}] = *n.MAC
		}
	}
}

func (w *Walker) readSysctls() {
	s := w.state
	w.forward = [2]int{sysctl(s, "net.ipv4.ip_forward"), sysctl(s, "net.ipv6.conf.all.forwarding")}
	w.rpAll = max(sysctl(s, "net.ipv4.conf.all.rp_filter"), 0)
	w.callARP = sysctl(s, "net.bridge.bridge-nf-call-arptables")
	all := func(name string) int { return sysctl(s, schema.LinkSysctl("ipv4", "all", name)) }
	w.arpIgnore, w.arpFilter, w.arpAnnounce = all("arp_ignore"), all("arp_filter"), all("arp_announce")
	w.filterTagged = sysctl(s, "net.bridge.bridge-nf-filter-vlan-tagged")
	w.callIP = [2]int{sysctl(s, "net.bridge.bridge-nf-call-iptables"), sysctl(s, "net.bridge.bridge-nf-call-ip6tables")}
}

// callsIP tells whether bridged packets of a family are shown to IP's hooks: the global setting OR that of the bridge
// (br_nf_pre_routing in net/bridge/br_netfilter_hooks.c). Without the module the settings do not exist.
func (w *Walker) callsIP(br *device, v6 bool) bool {
	f := family(v6)
	if w.callIP[f] == 1 {
		return true
	}
	if w.callIP[f] < 0 || br.link.Bridge == nil {
		return false
	}
	own := br.link.Bridge.NfCallIP
	if v6 {
		own = br.link.Bridge.NfCallIP6
	}
	return own != nil && *own
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// hookChains sorts every base chain to its place.
func (w *Walker) hookChains() {
	var ip, nat [2][hooks][]entry
	var bridge, arp [hooks][]entry
	in, eg := map[string][]entry{}, map[string][]entry{}
	for _, t := range w.tables {
		v4, v6 := tracks(t.t)
		w.tracks[0], w.tracks[1] = w.tracks[0] || v4, w.tracks[1] || v6
		if t.t.Family == "bridge" && t.usesCT {
			w.bridgeTracks = true
		}
		if t.t.Dormant {
			continue
		}
		for _, c := range t.list {
			b := newBase(t, c)
			if b == nil {
				continue
			}
			e := entry{prio: c.c.Priority, base: b}
			switch t.t.Family {
			case "arp", "bridge", "netdev":
				w.seesARP, w.seesND = true, w.seesND || t.t.Family != "arp"
			case "ip6", "inet":
				w.seesND = w.seesND || !b.nat
			}
			switch h, ok := hookNumber(c.c.Hook); {
			case t.t.Family == "arp":
				if ok {
					arp[h] = append(arp[h], e)
				}
			case c.c.Hook == "ingress" || c.c.Hook == "egress":
				b.stage = c.c.Hook
				by := in
				if c.c.Hook == "egress" {
					by = eg
				}
				for _, dev := range c.c.Devices {
					by[dev] = append(by[dev], e)
				}
			case !ok:
			case t.t.Family == "bridge":
				bridge[h] = append(bridge[h], e)
			default:
				for f := range 2 {
					if !familyMatches(t.t.Family, f == 1) {
						continue
					}
					if b.nat {
						nat[f][h] = append(nat[f][h], e)
					} else {
						ip[f][h] = append(ip[f][h], e)
					}
				}
			}
		}
	}
	for f := range 2 {
		for h := range hooks {
			if len(nat[f][h]) > 0 {
				w.nat[f][h] = group(nat[f][h])
			}
			if h == prerouting || h == output {
				ip[f][h] = append(ip[f][h], entry{prio: -200, kind: entryTrack})
			}
			if h != forward {
				ip[f][h] = append(ip[f][h], entry{prio: natPriority(h), kind: entryNAT})
			}
			w.groups[f][h] = group(ip[f][h])
		}
	}
	for h := range hooks {
		if h == prerouting {
			bridge[h] = append(bridge[h], entry{prio: 0, kind: entryCallIP}, entry{prio: -200, kind: entryTrack})
		}
		if h == forward {
			bridge[h] = append(bridge[h], entry{prio: 0, kind: entryCallIP})
		}
		if h == input && w.callIP[0] >= 0 {
			bridge[h] = append(bridge[h], entry{prio: 0, kind: entryConfirm})
		}
		w.bridge[h] = group(bridge[h])
		w.arp[h] = group(arp[h])
	}
	for dev, e := range in {
		w.ingress[dev] = group(e)
	}
	for dev, e := range eg {
		w.egress[dev] = group(e)
	}
}

// natPriority is where the NAT core stands (NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC), whatever priority its chains ask for.
func natPriority(h hook) int32 {
	if h == prerouting || h == output {
		return -100
	}
	return 100
}

func hookNumber(name string) (hook, bool) {
	i := slices.Index(hookNames[:], name)
	return hook(i), i >= 0
}

func familyMatches(f string, v6 bool) bool {
	switch f {
	case "inet":
		return true
	case "ip":
		return !v6
	case "ip6":
		return v6
	}
	return false
}

// group sorts by priority and puts equals together.
func group(es []entry) [][]entry {
	slices.SortStableFunc(es, func(a, b entry) int { return cmp.Compare(a.prio, b.prio) })
	var out [][]entry
	for i := 0; i < len(es); {
		j := i + 1
		for j < len(es) && es[j].prio == es[i].prio {
			j++
		}
		out = append(out, es[i:j:j])
		i = j
	}
	return out
}
