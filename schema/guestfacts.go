package schema

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Holder is a process that holds a tap or macvtap open: the hypervisor of the guest behind it. Read only, and complete for
// root alone; read only when asked for, since it takes a look at the open files of every hypervisor.
type Holder struct {
	Link    string `json:"link"`
	PID     int    `json:"pid"`
	Process string `json:"process"` // its command name (/proc/PID/comm)
	// Guest is the machine's name as the command line tells it (qemu's -name); "" where it does not.
	Guest string `json:"guest,omitempty"`
	// MACs are the hardware addresses that the command line gives the guest's cards, lower case; not all of them need be
	// behind this link.
	MACs []string `json:"macs,omitempty"`
}

// Ref implements Object.
func (h *Holder) Ref() Ref { return Ref{KindHolder, fmt.Sprintf("%s pid %d", h.Link, h.PID)} }

// Requires implements Object: the link.
func (h *Holder) Requires() []Ref { return []Ref{LinkRef(h.Link)} }

// String prints "vnet3 held by qemu-system-x86[4711] (db1)".
func (h *Holder) String() string {
	s := fmt.Sprintf("%s held by %s[%d]", h.Link, h.Process, h.PID)
	if h.Guest != "" {
		s += " (" + h.Guest + ")"
	}
	return s
}

func (*Holder) object() {}

// Lease is an address that a DHCP server of this host gave away, from its file of leases. Read only; leases come and go.
type Lease struct {
	// File is where it stands.
	File string `json:"file"`
	// Link is the bridge the file is of, "" where neither its name nor its content tells.
	Link string     `json:"link,omitempty"`
	IP   netip.Addr `json:"ip"`
	MAC  string     `json:"mac,omitempty"` // lower case; "" for IPv6, where dnsmasq writes a DUID
	// ClientID is DHCP's option 61, or the DUID of IPv6; "" where the client sent none.
	ClientID string `json:"client_id,omitempty"`
	Name     string `json:"name,omitempty"`
	// Expires is when it ends; the zero Time for never.
	Expires time.Time `json:"expires,omitzero"`
}

// Ref implements Object.
func (l *Lease) Ref() Ref { return Ref{KindLease, l.IP.String() + " in " + l.File} }

// Requires implements Object. A lease outlives its bridge.
func (l *Lease) Requires() []Ref { return nil }

// String prints "192.168.122.73 for 52:54:00:00:00:01 (db1)".
func (l *Lease) String() string {
	s := l.IP.String() + " for " + l.MAC
	if l.MAC == "" {
		s = l.IP.String() + " for client " + l.ClientID
	}
	if l.Name != "" {
		s += " (" + l.Name + ")"
	}
	return strings.TrimSpace(s)
}

func (*Lease) object() {}

// Machine is what the running kernel is and has beside its network, and how full its tables are. Read only; there is one.
// Its numbers are of the moment, and not compared.
type Machine struct {
	Release string `json:"release"` // uname -r
	// NoModules says that the kernel loads modules and /lib/modules/RELEASE is gone: none can be loaded any more.
	NoModules bool `json:"no_modules,omitempty"`
	// NoTun says that /dev/net/tun is not there.
	NoTun bool `json:"no_tun,omitempty"`
	// Modules are those loaded that matter to virtual networks, sorted. Nil where /proc/modules could not be read.
	Modules []string `json:"modules,omitempty"`
	// DanglingResolv is what /etc/resolv.conf leads to where that is not there; "" for a file that is.
	DanglingResolv string `json:"dangling_resolv,omitempty"`
	// Capabilities are the effective ones of this process that matter: "CAP_NET_ADMIN", "CAP_NET_RAW" ….
	Capabilities []string `json:"capabilities,omitempty"`
	// Conntrack is the number of connections that are tracked in this network namespace (nf_conntrack_count), ConntrackMax the
	// most there may be. Both 0 where connections are not tracked.
	Conntrack    uint64 `json:"conntrack,omitempty"`
	ConntrackMax uint64 `json:"conntrack_max,omitempty"`
	// NeighbourMax is gc_thresh3 of each family, "ip" and "ip6": the most neighbours there may be, in all namespaces together.
	// Nil in another namespace than the first, which does not show it.
	NeighbourMax map[string]uint64 `json:"neighbour_max,omitempty"`
	// BacklogDropped counts packets that found the input queue of a processor full (/proc/net/softnet_stat, second column), of
	// BacklogSeen. Since boot, of all namespaces.
	BacklogDropped uint64 `json:"backlog_dropped,omitempty"`
	BacklogSeen    uint64 `json:"backlog_seen,omitempty"`
	// VMwareDevices are the device nodes that VMware's networks need and that are there: "/dev/vmnet0".
	VMwareDevices []string `json:"vmware_devices,omitempty"`
}

// MachineRef names the machine.
func MachineRef() Ref { return Ref{KindMachine, "host"} }

// Machine returns what is known of the machine, or nil.
func (s *State) Machine() *Machine {
	m, _ := s.objects[MachineRef()].(*Machine)
	return m
}

// Ref implements Object.
func (m *Machine) Ref() Ref { return MachineRef() }

// Requires implements Object.
func (m *Machine) Requires() []Ref { return nil }

// String prints "Linux 6.12.1".
func (m *Machine) String() string { return "Linux " + m.Release }

func (*Machine) object() {}
