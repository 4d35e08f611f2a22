package schema

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Desired is what a configuration asks for: objects, and wishes about packets.
type Desired struct {
	// State holds the objects the file implies without a look at the host.
	State *State `json:"state"`
	// Goals are the wishes about packets, from modes, forward, allow and deny, and expect, in the order of the file.
	Goals []Goal `json:"goals,omitempty"`
	// Networks, Guests, Forwards and Adapters are the blocks themselves, for what depends on the live host (guests found
	// by MAC, addresses moving to a bridge) and for texts.
	Networks []Network `json:"networks,omitempty"`
	Guests   []Guest   `json:"guests,omitempty"`
	Forwards []Forward `json:"forwards,omitempty"`
	Adapters []Adapter `json:"adapters,omitempty"`
	// Protects are what a plan must not cut, in the order of the file.
	Protects []Protect `json:"protects,omitempty"`
	// Origins say where in the file an object comes from; Blocks the same for addresses such as "nat.lab".
	Origins map[Ref]Origin    `json:"origins,omitempty"`
	Blocks  map[string]Origin `json:"blocks,omitempty"`
	// Address gives the block ("nat.lab") each object belongs to.
	Addresses map[Ref]string `json:"addresses,omitempty"`
	Settings  Settings       `json:"settings"`
	// Files lists the files read, Digest is "sha256:…" over their content and the variables.
	Files  []string `json:"files,omitempty"`
	Digest string   `json:"digest,omitempty"`
}

// Origin is a place in a file: where a block or attribute stands. Line and Column count from 1.
type Origin struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
}

// String prints "lab.vmnet.hcl:12", or "" for the zero Origin.
func (o Origin) String() string {
	if o.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Settings are the vmnet block.
type Settings struct {
	Confirm   string `json:"confirm,omitempty"`    // a duration, or "none"; "" is the command's default
	Foreign   string `json:"foreign,omitempty"`    // "fix" (the default) or "report"
	RiskLimit string `json:"risk_limit,omitempty"` // "none", "blip", "drop" (the default) or "cut"
}

// Network is a bridge, nat or host_only block.
type Network struct {
	Address string `json:"address"` // "nat.lab"
	Mode    string `json:"mode"`    // "bridge", "nat" or "host_only"
	Device  string `json:"device"`
	// Subnets are the prefixes of a nat or host_only network, and the networks of a bridge's addresses; masked.
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// Gateways are the host's own addresses in the network.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// Uplink is the device that a nat network leaves by; "" for wherever the route leads.
	Uplink  string   `json:"uplink,omitempty"`
	Ports   []string `json:"ports,omitempty"` // declared ports of a bridge
	Isolate bool     `json:"isolate,omitempty"`
	MTU     uint32   `json:"mtu,omitempty"` // 0: not declared
	// DHCP and DNS are what vmnet serves there, nil for nothing.
	DHCP *DHCP `json:"dhcp,omitempty"`
	DNS  *DNS  `json:"dns,omitempty"`
}

// Guest is a guest block: a VM's interface.
type Guest struct {
	Address string `json:"address"` // "guest.db1" or `guest.vm["a"]`
	Name    string `json:"name"`
	Network string `json:"network"` // "nat.lab"
	MAC     string `json:"mac,omitempty"`
	// IPs are the declared addresses, at most one of each family.
	IPs []netip.Addr `json:"ips,omitempty"`
	// Device is the host-side tap or veth; "" is found by MAC on the live host.
	Device string `json:"device,omitempty"`
}

// Forward is a forward block: a port of the host that leads to a guest.
type Forward struct {
	Address string       `json:"address"` // "forward.ssh_db1"
	Proto   string       `json:"proto"`   // "tcp" or "udp"
	Ports   PortRange    `json:"ports"`   // of the host
	ToPort  uint16       `json:"to_port"` // where Ports.First leads; the others follow one by one
	To      string       `json:"to"`      // "guest.db1"
	ToIPs   []netip.Addr `json:"to_ips"`
	Network string       `json:"network"`
}

// Adapter is an adapter block.
type Adapter struct {
	Address string `json:"address"` // "adapter.eno3"
	Device  string `json:"device"`
	Reset   bool   `json:"reset,omitempty"`
}

// Protect is a protect block: what a change of the network must not cut, not even while it is made.
type Protect struct {
	Address string `json:"address"` // "protect.management"
	// Interface is a link that no step may touch, nor what sits on it; "" for none.
	Interface string `json:"interface,omitempty"`
	// Flows are what must get through after every step. All of them are to be allowed (Goal.Allow).
	Flows []Goal `json:"flows,omitempty"`
}

// PortRange is an inclusive range of ports; First == Last for one.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// String prints "22" or "8000-8100".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Goal is a wish about packets: flows that must, or must not, get through.
type Goal struct {
	// Address is the block that wishes it: "nat.lab", "forward.ssh_db1", "firewall.lab", "expect.db1_updates".
	Address string `json:"address"`
	// Name says it in words: "guests of nat.lab reach the outside".
	Name string   `json:"name"`
	From Endpoint `json:"from"`
	To   Endpoint `json:"to"`
	// Via is set for a forward: the connection is made to these ports of the host and must arrive at To.
	Via *Via `json:"via,omitempty"`
	// Service is what is spoken.
	Service Service `json:"service"`
	// Allow is true for what must get through, false for what must not.
	Allow bool `json:"allow"`
	// Implied is true when a mode implies it, false when the file says it in so many words.
	Implied bool `json:"implied,omitempty"`
	// Probe asks check --probe and apply to send real packets.
	Probe bool `json:"probe,omitempty"`
}

// Via is the host's side of a forward.
type Via struct {
	Proto string    `json:"proto"`
	Ports PortRange `json:"ports"`
}

// Service is a protocol and its ports. The zero Service is every protocol.
type Service struct {
	Proto string      `json:"proto,omitempty"` // "tcp", "udp", "icmp" (ICMPv6 in IPv6), or "" for all
	Ports []PortRange `json:"ports,omitempty"` // of the destination; none: all
}

// String prints "tcp/22,80-90", "icmp" or "any".
func (s Service) String() string {
	if s.Proto == "" {
		return "any"
	}
	if len(s.Ports) == 0 {
		return s.Proto
	}
	var p []string
	for _, r := range s.Ports {
		p = append(p, r.String())
	}
	return s.Proto + "/" + strings.Join(p, ",")
}

// Endpoint is one side of a Goal.
type Endpoint struct {
	// Kind is "host", "outside", "any", "network", "guest" or "prefix".
	Kind string `json:"kind"`
	// Address is the block of a network or guest.
	Address string `json:"address,omitempty"`
	// Device is the bridge the packets come from or go to, for a network or guest.
	Device string `json:"device,omitempty"`
	// Port is the guest's own device on that bridge, where known.
	Port string `json:"port,omitempty"`
	// Prefixes are the addresses: a network's subnets, a guest's addresses as /32 or /128, or the prefix itself.
	// Empty for outside and any; for the host, where packets to it are sent when that is no address of its own.
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
}

// String names the endpoint: "nat.lab", "host", "192.0.2.0/24".
func (e Endpoint) String() string {
	switch {
	case e.Address != "":
		return e.Address
	case e.Kind == "prefix" && len(e.Prefixes) > 0:
		var p []string
		for _, x := range e.Prefixes {
			if x.IsSingleIP() {
				p = append(p, x.Addr().String())
			} else {
				p = append(p, x.String())
			}
		}
		return strings.Join(p, ", ")
	}
	return e.Kind
}
