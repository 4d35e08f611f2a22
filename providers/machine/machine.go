// Package machine reads what the running kernel is and has beside its network, and how full its tables are, from /proc and a few
// places on disk.
//
// It changes nothing and loads nothing. Counters are of the network namespace of the calling thread where the kernel has them so.
package machine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// Provider reads the machine.
type Provider struct {
	root   string // of /etc and /lib
	kernel string // of /proc and /dev; "" but in tests
}

// New returns a Provider with files below root; "" is the host's own. What the kernel shows is the host's in any case.
func New(root string) *Provider { return &Provider{root: root} }

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindMachine} }

// Read returns the machine. What cannot be read is left out.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	m := &schema.Machine{Release: p.line("/proc/sys/kernel/osrelease"), Capabilities: capabilities(p.text("/proc/thread-self/status"))}
	m.Modules = modules(p.text("/proc/modules"))
	m.NoModules = m.Release != "" && p.text("/proc/modules") != "" && !p.there("/lib/modules/"+m.Release) && !p.there("/usr/lib/modules/"+m.Release) && p.there("/lib/modules")
	m.NoTun = !p.there("/dev/net/tun")
	m.DanglingResolv = p.dangling("/etc/resolv.conf")
	m.Conntrack, m.ConntrackMax = p.number("/proc/sys/net/netfilter/nf_conntrack_count"), p.number("/proc/sys/net/netfilter/nf_conntrack_max")
	for family, dir := range map[string]string{"ip": "ipv4", "ip6": "ipv6"} {
		if n := p.number("/proc/sys/net/" + dir + "/neigh/default/gc_thresh3"); n > 0 {
			if m.NeighbourMax == nil {
				m.NeighbourMax = map[string]uint64{}
			}
			m.NeighbourMax[family] = n
		}
	}
	m.BacklogSeen, m.BacklogDropped = backlog(p.text("/proc/net/softnet_stat"))
	for _, dev := range []string{"/dev/vmnet0", "/dev/vmnet1", "/dev/vmnet8", "/dev/vmmon"} {
		if p.there(dev) {
			m.VMwareDevices = append(m.VMwareDevices, dev)
		}
	}
	return []schema.Object{m}, ctx.Err()
}

// path is where a file is: the kernel's, or one on disk.
func (p *Provider) path(name string) string {
	if strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/dev/") {
		return filepath.Join("/", p.kernel, name)
	}
	return filepath.Join("/", p.root, name)
}

func (p *Provider) text(path string) string {
	b, err := os.ReadFile(p.path(path))
	if err != nil {
		return ""
	}
	return string(b)
}

func (p *Provider) line(path string) string { return strings.TrimSpace(p.text(path)) }

func (p *Provider) number(path string) uint64 {
	n, err := strconv.ParseUint(p.line(path), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (p *Provider) there(path string) bool {
	_, err := os.Stat(p.path(path))
	return err == nil
}

// dangling is where a symbolic link leads that leads nowhere; "" for anything else.
func (p *Provider) dangling(path string) string {
	target, err := os.Readlink(p.path(path))
	if err != nil {
		return ""
	}
	full := target
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(path), full)
	}
	if p.there(full) {
		return ""
	}
	return target
}

// matter are the modules that virtual networks need, or that change what becomes of their packets.
var matter = []string{
	"8021q", "bonding", "br_netfilter", "bridge", "ip_tables", "iptable_filter", "iptable_nat", "kvm", "macvlan", "macvtap", "nf_conntrack", "nf_tables",
	"openvswitch", "tap", "tun", "vboxdrv", "vboxnetadp", "vboxnetflt", "veth", "vhost_net", "vmmon", "vmnet", "vxlan", "wireguard",
}

// modules are those of /proc/modules that matter, which come in the order of loading.
func modules(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(line, " "); slices.Contains(matter, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// capabilities are the effective ones that matter here, of a process' status (proc(5), CapEff).
func capabilities(status string) []string {
	var out []string
	for line := range strings.Lines(status) {
		text, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		if err != nil {
			return nil
		}
		for _, c := range []struct {
			bit  int
			name string
		}{
			{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
			{unix.CAP_NET_RAW, "CAP_NET_RAW"},
			{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
			{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
			{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
		} {
			if bits&(1<<c.bit) != 0 {
				out = append(out, c.name)
			}
		}
	}
	return out
}

// backlog sums the first two columns of softnet_stat, in hexadecimal: packets seen, and dropped since the queue was full
// (net/core/net-procfs.c, softnet_seq_show).
func backlog(text string) (seen, dropped uint64) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		s, err1 := strconv.ParseUint(f[0], 16, 64)
		d, err2 := strconv.ParseUint(f[1], 16, 64)
		if err1 == nil && err2 == nil {
			seen, dropped = seen+s, dropped+d
		}
	}
	return seen, dropped
}
