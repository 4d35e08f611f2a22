package rtnl

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/schema"
)

// rich is a namespace with something of everything; where this user may not make tap links, with veths in their place.
func rich() string {
	if mayTun() {
		return richest
	}
	return strings.NewReplacer(
		"tuntap add tap0 mode tap", "link add tap0 type veth peer name tap1",
		"tuntap add tun0 mode tun", "link add tun0 type veth peer name tun1",
	).Replace(richest)
}

const richest = `
	link set lo up
	link add br0 address 02:00:00:00:00:b0 type bridge stp_state 1 forward_delay 400 mcast_snooping 0 nf_call_iptables 1
	link add br1 type bridge
	link set br0 alias "vmnet:bridge.lan"
	link add v0 address 02:00:00:00:00:0a mtu 1400 type veth peer name v1
	link add v2 type veth peer name v3
	link set v1 master br0 group 7
	link set v2 master br0
	bridge link set dev v1 isolated on hairpin on learning off flood off mcast_flood off bcast_flood off guard on root_block on neigh_suppress on
	tuntap add tap0 mode tap
	tuntap add tun0 mode tun
	link set tap0 master br1
	link add mv0 link v0 type macvlan mode bridge
	link add vx0 type vxlan id 42 dstport 4789 local 127.0.0.1
	link set vx0 master br1
	link set v3 addrgenmode none
	link set br0 up
	link set br1 up
	link set v0 up
	link set v1 up
	link set v2 up
	link set mv0 up
	link set vx0 up
	link set tun0 up

	addr add 192.0.2.10/24 brd + dev v0
	addr add 192.0.2.11/24 dev v0
	addr add 192.0.2.12/32 peer 192.0.2.77/32 dev v0 noprefixroute scope link label v0:x
	addr add 10.1.0.1/16 dev br0 valid_lft 5000 preferred_lft 4000
	addr add 2001:db8::10/64 dev v0 nodad
	addr add 2001:db8:1::10/64 dev br0 nodad noprefixroute valid_lft 5000 preferred_lft 0
	addr add 2001:db8:2::1 peer 2001:db8:2::2/128 dev v0 nodad
	addr add 10.9.9.9/32 dev tun0

	route add default via 192.0.2.1 dev v0 proto dhcp metric 100 initcwnd 30
	route add default via 192.0.2.2 dev v0 metric 200 mtu 1300 src 192.0.2.11
	route append default via 192.0.2.3 dev v0 metric 200
	route add 198.51.100.0/24 tos 0x10 via 192.0.2.1
	route add 198.51.100.0/24 nexthop via 192.0.2.1 dev v0 weight 2 nexthop via 172.16.0.1 dev br0 weight 5 onlink
	route add blackhole 203.0.113.0/24 metric 9
	route add unreachable 203.0.113.0/24 metric 10 table 100
	route add prohibit 203.0.113.0/25
	route add throw 203.0.113.128/25 table 4294967295
	route add local 198.18.0.0/24 dev lo
	route add 198.51.101.0/24 via inet6 fe80::1 dev v0
	route add 172.16.0.0/16 dev tun0 proto 118 scope global
	-6 route add default via fe80::1 dev v0 metric 100
	-6 route add 2001:db8:5::/48 nexthop via fe80::1 dev v0 weight 3 nexthop via fe80::2 dev br0
	-6 route add 2001:db8:6::/48 dev v0 mtu 1300 expires 4000
	-6 route add unreachable 2001:db8:7::/48
	-6 route add blackhole 2001:db8:8::/48 table 7
	-6 route add 2001:db8:9::/48 via fe80::1 dev v0 pref high
	nexthop add id 5 via 192.0.2.5 dev v0
	nexthop add id 6 via 192.0.2.6 dev v0
	nexthop add id 56 group 5/6,3
	route add 198.51.102.0/24 nhid 5
	route add 198.51.103.0/24 nhid 56

	rule add pref 100 from 10.0.0.0/8 to 192.0.2.0/24 tos 0x10 fwmark 1/0xff iif lo oif nope lookup 100
	rule add pref 101 not from all ipproto udp sport 53 dport 5000-6000 uidrange 0-0 unreachable
	rule add pref 102 goto 32766
	rule add pref 103 lookup main suppress_prefixlength 0 protocol 118
	rule add pref 104 fwmark 7 lookup main suppress_ifgroup 9
	rule add pref 105 l3mdev
	-6 rule add pref 200 from 2001:db8::/32 prohibit
	-6 rule add pref 201 blackhole
	-6 rule add pref 202 nop

	neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev v0 nud permanent
	neigh add 192.0.2.6 lladdr 02:00:00:00:00:06 dev v0 nud stale
	neigh add 2001:db8::5 lladdr 02:00:00:00:00:05 dev v0 nud permanent
	neigh add proxy 192.0.2.99 dev v0
	bridge fdb add 02:00:00:00:00:21 dev v1 master static
	bridge fdb add 02:00:00:00:00:22 dev vx0 master dynamic
	bridge fdb append 02:00:00:00:00:23 dev vx0 dst 192.0.2.23 self permanent
	bridge fdb add 02:00:00:00:00:24 dev v0 self
`

// ipJSON runs ip(8) or bridge(8) for JSON.
func (h *host) ipJSON(command string) []map[string]any {
	h.Helper()
	var list []map[string]any
	out := h.out(command)
	if out == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		h.Fatalf("%s: %v\n%s", command, err, out)
	}
	return slices.DeleteFunc(list, func(m map[string]any) bool { return len(m) == 0 })
}

// agree compares two sets of lines, sorted.
func (h *host) agree(what string, ours, theirs []string) {
	h.Helper()
	slices.Sort(ours)
	slices.Sort(theirs)
	if d := cmp.Diff(theirs, ours); d != "" || len(ours) == 0 {
		h.Errorf("%s (-ip +vmnet):\n%s", what, d)
	}
}

// get walks into nested JSON objects; "" for what is not there.
func get(m map[string]any, path ...string) string {
	for _, p := range path[:len(path)-1] {
		m, _ = m[p].(map[string]any)
	}
	switch v := m[path[len(path)-1]].(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		return fmt.Sprint(len(v))
	default:
		return fmt.Sprint(v)
	}
}

func has(m map[string]any, list, word string) bool {
	words, _ := m[list].([]any)
	return slices.Contains(words, any(word))
}

func TestAgreesWithIP(t *testing.T) {
	t.Parallel()
	inHost(t, rich(), func(h *host) {
		// A router that leaves only the number of a nexthop object must come out the same.
		spelled := h.read()
		if err := setSysctl("net/ipv4/nexthop_compat_mode", "0"); err != nil {
			t.Fatal(err)
		}
		s := h.read()
		for r := range schema.Each[*schema.Route](s) {
			if spelled.Get(r.Ref()) == nil {
				t.Errorf("%s is another without nexthop_compat_mode", r.Ref())
			}
		}
		if err := setSysctl("net/ipv4/nexthop_compat_mode", "1"); err != nil {
			t.Fatal(err)
		}
		// No subtests: they would run on other threads, in another namespace.
		h.links(s, h.ipJSON("ip -d -j link"))
		h.addresses(s, h.ipJSON("ip -j addr"))
		h.routes(s, append(h.ipJSON("ip -4 -N -d -j route show table all"), h.ipJSON("ip -6 -N -d -j route show table all")...))
		h.rules(s, "ip", h.out("ip -N rule"))
		h.rules(s, "ip6", h.out("ip -6 -N rule"))
		h.neighbours(s, append(h.ipJSON("ip -j neigh show nud all"), h.ipJSON("ip -j neigh show proxy")...))
		h.fdb(s, h.ipJSON("bridge -j fdb"))
		h.sysctls()
	})
}

func (h *host) links(s *schema.State, list []map[string]any) {
	var ours, theirs []string
	for _, m := range list {
		info, _ := m["linkinfo"].(map[string]any)
		kind := get(info, "info_kind")
		switch {
		case kind == "tun":
			kind = get(info, "info_data", "type")
		case kind == "" && get(m, "link_type") == "loopback":
			kind = "loopback"
		}
		line := fmt.Sprint(get(m, "ifindex"), get(m, "ifname"), " ", kind, " ", get(m, "mtu"), " ", get(m, "address"), " ", get(m, "ifalias"), " ",
			get(m, "master"), " ", has(m, "flags", "UP"), has(m, "flags", "LOWER_UP"), " ", strings.ToLower(get(m, "operstate")), " ", group(get(m, "group")), " ",
			get(m, "inet6_addr_gen_mode"), " parent ", get(m, "link"), get(m, "link_index"))
		if kind == "bridge" {
			d := info["info_data"].(map[string]any)
			line += fmt.Sprint(" stp ", get(d, "stp_state"), " delay ", get(d, "forward_delay"), " snoop ", get(d, "mcast_snooping"), " nf ", get(d, "nf_call_iptables"), " ", get(d, "nf_call_ip6tables"))
		}
		if get(info, "info_slave_kind") == "bridge" {
			d := info["info_slave_data"].(map[string]any)
			for _, k := range []string{"state", "isolated", "hairpin", "learning", "flood", "mcast_flood", "bcast_flood", "neigh_suppress", "guard", "root_block"} {
				line += " " + k + " " + get(d, k)
			}
		}
		theirs = append(theirs, line)
	}
	for l := range schema.Each[*schema.Link](s) {
		f := l.Facts
		parent := ""
		if f.ParentIndex != 0 {
			for m := range schema.Each[*schema.Link](s) {
				if m.Facts.Index == f.ParentIndex {
					parent = m.Name
				}
			}
		}
		line := fmt.Sprint(f.Index, l.Name, " ", l.Type, " ", *l.MTU, " ", macOrNone(l), " ", *l.Alias, " ", *l.Master, " ", *l.Up, f.Carrier, " ",
			f.OperState, " ", f.Group, " ", f.AddrGenMode, " parent ", parent)
		if b := l.Bridge; b != nil {
			line += fmt.Sprint(" stp ", n(*b.STP), " delay ", *b.ForwardDelay, " snoop ", n(*b.McastSnoop), " nf ", n(*b.NfCallIP), " ", n(*b.NfCallIP6))
		}
		if p := l.Port; p != nil {
			line += fmt.Sprint(" state ", *p.State, " isolated ", *p.Isolated, " hairpin ", *p.Hairpin, " learning ", *p.Learning, " flood ", *p.Flood,
				" mcast_flood ", *p.McastFlood, " bcast_flood ", *p.BcastFlood, " neigh_suppress ", *p.NeighSuppr, " guard ", *p.Guard, " root_block ", *p.RootBlock)
		}
		ours = append(ours, line)
	}
	h.agree("links", ours, theirs)
	for name, pinned := range map[string]bool{"br0": true, "br1": false} {
		if p := s.Link(name).MACPinned; p == nil || *p != pinned {
			h.Errorf("%s: pinned %v, want %v", name, p, pinned)
		}
	}
}

func macOrNone(l *schema.Link) string { return *l.MAC }

func n(b bool) int {
	if b {
		return 1
	}
	return 0
}

func group(name string) string {
	if name == "default" {
		return "0"
	}
	return name
}

func (h *host) addresses(s *schema.State, list []map[string]any) {
	var ours, theirs []string
	for _, m := range list {
		infos, _ := m["addr_info"].([]any)
		for _, i := range infos {
			a, _ := i.(map[string]any)
			peer := get(a, "address")
			if peer != "" {
				peer += "/" + get(a, "prefixlen")
			}
			valid, preferred := get(a, "valid_life_time"), get(a, "preferred_life_time")
			theirs = append(theirs, fmt.Sprint(get(m, "ifname"), " ", get(a, "local"), "/", get(a, "prefixlen"), " peer ", peer, " brd ", get(a, "broadcast"), " ",
				get(a, "scope"), " ", get(a, "label"), " ", yes(a, "noprefixroute"), yes(a, "nodad"), yes(a, "secondary"), yes(a, "tentative"),
				" lft ", life(valid), life(preferred)))
		}
	}
	for a := range schema.Each[*schema.Address](s) {
		peer, broadcast := "", ""
		if a.Peer.IsValid() {
			peer = a.Peer.String()
		}
		if a.Broadcast != nil {
			broadcast = a.Broadcast.String()
		}
		lft := func(p *uint32) string {
			if p == nil {
				return "forever"
			}
			return life(fmt.Sprint(*p))
		}
		ours = append(ours, fmt.Sprint(a.Link, " ", a.Prefix, " peer ", peer, " brd ", broadcast, " ", *a.Scope, " ", value(a.Label), " ",
			*a.NoPrefixRoute, *a.NoDAD, a.Facts.Secondary, a.Facts.Tentative, " lft ", lft(a.Valid), lft(a.Preferred)))
		wantProto := uint8(0)
		switch {
		case a.Prefix.Addr() == netip.IPv6Loopback():
			wantProto = ifaprotKernelLo
		case a.Prefix.Addr().IsLinkLocalUnicast():
			wantProto = ifaprotKernelLL
		}
		if *a.Proto != wantProto {
			h.Errorf("%s: proto %d, want %d", a, *a.Proto, wantProto)
		}
		if a.Facts.KernelMade != (wantProto != 0 || a.Prefix.Addr().IsLoopback()) {
			h.Errorf("%s: kernel made %v", a, a.Facts.KernelMade)
		}
	}
	h.agree("addresses", ours, theirs)
}

// life rounds a running lifetime.
func life(s string) string {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == forever {
		return "forever"
	}
	return fmt.Sprint((n + 99) / 100 * 100)
}

func yes(m map[string]any, key string) bool { return m[key] == true }

func (h *host) routes(s *schema.State, list []map[string]any) {
	var ours, theirs []string
	for _, m := range list {
		six := strings.Contains(get(m, "dst"), ":") || m["pref"] != nil
		theirs = append(theirs, theirRoute(m, six))
	}
	for r := range schema.Each[*schema.Route](s) {
		ours = append(ours, ourRoute(r))
	}
	h.agree("routes", ours, theirs)
}

// theirRoute is a route of ip -N -d -j route, in our words.
func theirRoute(m map[string]any, six bool) string {
	dst := get(m, "dst")
	switch {
	case dst == "default" && six:
		dst = "::/0"
	case dst == "default":
		dst = "0.0.0.0/0"
	case !strings.Contains(dst, "/"):
		a := netip.MustParseAddr(dst)
		dst = netip.PrefixFrom(a, a.BitLen()).String()
	}
	table := get(m, "table")
	if table == "" {
		table = "254"
	}
	number, _ := strconv.Atoi(get(m, "type"))
	dev := get(m, "dev")
	if dev == "lo" && number >= 6 {
		dev = ""
	}
	gateway := get(m, "gateway")
	if gateway == "" {
		gateway = get(m, "via", "host")
	}
	tos, _ := strconv.ParseUint(strings.TrimPrefix(get(m, "tos"), "0x"), 16, 8)
	mtu := ""
	if list, ok := m["metrics"].([]any); ok {
		for _, x := range list {
			mtu += get(x.(map[string]any), "mtu")
		}
	}
	scope := get(m, "scope")
	if six {
		scope = "0"
	}
	line := fmt.Sprint(table, " ", dst, " type ", routeType(uint8(number)), " via ", gateway, " dev ", dev, " metric ", zero(get(m, "metric")), " tos ", tos,
		" proto ", get(m, "protocol"), " scope ", scope, " src ", get(m, "prefsrc"), " mtu ", mtu, " onlink ", has(m, "flags", "onlink"), " linkdown ", has(m, "flags", "linkdown"))
	hops, _ := m["nexthops"].([]any)
	for _, x := range hops {
		hop := x.(map[string]any)
		line += fmt.Sprint(" nexthop ", get(hop, "gateway"), " ", get(hop, "dev"), " ", get(hop, "weight"), " ", has(hop, "flags", "onlink"))
	}
	return line
}

func zero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func ourRoute(r *schema.Route) string {
	str := func(a netip.Addr) string {
		if a.IsValid() {
			return a.String()
		}
		return ""
	}
	mtu := ""
	if *r.MTU != 0 {
		mtu = fmt.Sprint(*r.MTU)
	}
	gateway, dev, onlink := str(r.Gateway), r.Link, *r.OnLink
	line := fmt.Sprint(r.Table, " ", r.Dst, " type ", r.Type, " via ", gateway, " dev ", dev, " metric ", r.Metric, " tos ", r.TOS,
		" proto ", *r.Proto, " scope ", *r.Scope, " src ", str(r.Source), " mtu ", mtu, " onlink ", onlink, " linkdown ", r.Facts.LinkDown)
	for _, hop := range r.NextHops {
		line += fmt.Sprint(" nexthop ", str(hop.Gateway), " ", hop.Link, " ", hop.Weight, " ", hop.OnLink)
	}
	return line
}

func (h *host) rules(s *schema.State, family, text string) {
	var ours, theirs []string
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.ReplaceAll(line, "ipproto-", ""))
		words = slices.DeleteFunc(words, func(w string) bool { return w == "[detached]" || w == "[unresolved]" })
		if i := slices.Index(words, "proto"); i >= 0 {
			words = slices.Delete(words, i, i+2)
		}
		slices.Sort(words)
		theirs = append(theirs, strings.Join(words, " "))
	}
	for r := range schema.Each[*schema.PolicyRule](s) {
		if r.Family != family {
			continue
		}
		// ip -N prints numbers of tables, and a whole mask not at all
		line := strings.ReplaceAll(r.String(), "/0xffffffff", "")
		for name, number := range map[string]string{"main": "254", "local": "255", "default": "253"} {
			line = strings.ReplaceAll(line, "lookup "+name, "lookup "+number)
		}
		for n, name := range ruleActions() {
			if name != "" && name != "goto" && name != "nop" {
				line = strings.ReplaceAll(line, " "+name, fmt.Sprintf(" %d", n))
			}
		}
		words := strings.Fields(line)
		slices.Sort(words)
		ours = append(ours, strings.Join(words, " "))
	}
	h.agree("rules", ours, theirs)
}

func (h *host) neighbours(s *schema.State, list []map[string]any) {
	var ours, theirs []string
	for _, m := range list {
		state := ""
		if words, ok := m["state"].([]any); ok && len(words) > 0 {
			state = strings.ToLower(fmt.Sprint(words[0]))
		}
		if state == "noarp" {
			continue // multicast groups, which the kernel joins when it pleases
		}
		_, proxy := m["proxy"]
		if proxy {
			state = "none"
		}
		theirs = append(theirs, fmt.Sprint(get(m, "dev"), " ", get(m, "dst"), " ", get(m, "lladdr"), " ", state, " ", proxy))
	}
	for e := range schema.Each[*schema.Neighbour](s) {
		if e.State != "noarp" {
			ours = append(ours, fmt.Sprint(e.Link, " ", e.IP, " ", *e.MAC, " ", e.State, " ", e.Proxy))
		}
	}
	h.agree("neighbours", ours, theirs)
}

func (h *host) fdb(s *schema.State, list []map[string]any) {
	var ours, theirs []string
	for _, m := range list {
		state := get(m, "state")
		if state != "permanent" && state != "static" {
			state = ""
		}
		theirs = append(theirs, fmt.Sprint(get(m, "ifname"), " ", get(m, "mac"), " ", get(m, "vlan"), " ", get(m, "master"), " ", get(m, "dst"), " ", state))
	}
	for e := range schema.Each[*schema.FDBEntry](s) {
		vlan := ""
		if e.VLAN != 0 {
			vlan = fmt.Sprint(e.VLAN)
		}
		ours = append(ours, fmt.Sprint(e.Link, " ", e.MAC, " ", vlan, " ", e.Master, " ", e.Dst, " ", e.State))
	}
	h.agree("fdb", slices.Compact(sorted(ours)), slices.Compact(sorted(theirs)))
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// sysctls checks every per-link setting against /proc/sys, after giving each a value of its own.
func (h *host) sysctls() {
	four := map[string]string{
		"forwarding": "1", "rp_filter": "2", "route_localnet": "1", "arp_ignore": "3", "arp_announce": "2", "arp_filter": "1", "proxy_arp": "1", "accept_local": "1",
		"log_martians": "1", "src_valid_mark": "1",
	}
	six := map[string]string{"disable_ipv6": "1", "forwarding": "1", "accept_ra": "2", "proxy_ndp": "1", "autoconf": "0", "accept_dad": "2"}
	for family, settings := range map[string]map[string]string{"ipv4": four, "ipv6": six} {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			before := h.read()
			if err := setSysctl("net/"+family+"/conf/v2/"+name, settings[name]); err != nil {
				h.Fatal(err)
			}
			after := h.read()
			for other := range settings {
				key := schema.LinkSysctl(family, "v2", other)
				was, _ := before.Sysctl(key)
				now, ok := after.Sysctl(key)
				if want := settings[name]; other == name && now != want {
					h.Errorf("%s = %q, want %q", key, now, want)
				} else if other != name && now != was || !ok {
					h.Errorf("%s changed from %q to %q with %s", key, was, now, name)
				}
			}
		}
	}
}
