package files

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/nftconf"
)

const (
	// maxFiles bounds how many files an include statement can lead to.
	maxFiles = 256
	// maxSign bounds a file that is only looked at.
	maxSign = 1 << 20
)

// Rules are the files that are loaded into the kernel at boot: those of iptables-persistent (netfilter-persistent(8)),
// iptables-services (Red Hat), Arch's iptables.service and if-up scripts after Debian's wiki, and of nftables.service.
func Rules() []string {
	return []string{
		"/etc/iptables/rules.v4", "/etc/iptables/rules.v6",
		"/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables",
		"/etc/iptables/iptables.rules", "/etc/iptables/ip6tables.rules",
		"/etc/iptables.rules", "/etc/ip6tables.rules", "/etc/iptables.up.rules",
		"/etc/nftables.conf", "/etc/sysconfig/nftables.conf",
	}
}

// Signs are patterns of files that tell which managers of rules are at work: their switches, the rules they load, and the
// processes of their services. None of them holds a secret: a snapshot shows them to others.
func Signs() []string {
	out := []string{
		"/etc/os-release",
		"/etc/ufw/ufw.conf", "/etc/default/ufw",
		"/etc/ufw/before.rules", "/etc/ufw/before6.rules", "/etc/ufw/after.rules", "/etc/ufw/after6.rules",
		"/etc/ufw/user.rules", "/etc/ufw/user6.rules",
		"/etc/firewalld/firewalld.conf", "/etc/firewalld/direct.xml",
		"/etc/shorewall/shorewall.conf", "/var/lib/shorewall/.iptables-restore-input", "/var/lib/shorewall6/.ip6tables-restore-input", "/etc/ferm/ferm.conf", "/etc/firehol/firehol.conf", "/etc/csf/version.txt",
		"/etc/libvirt/qemu/networks/*.xml", "/etc/libvirt/qemu/networks/autostart/*.xml",
		"/etc/vbox/networks.conf", "/etc/vmware/networking", "/etc/docker/daemon.json",
		"/etc/systemd/networkd.conf", "/etc/systemd/networkd.conf.d/*.conf", "/etc/systemd/network/*.network",
		"/run/docker.pid", "/run/firewalld.pid", "/run/libvirtd.pid", "/run/virtnetworkd.pid", "/run/fail2ban/fail2ban.pid",
		"/run/sshguard.pid", "/run/lfd.pid", "/run/pve-firewall.pid", "/run/NetworkManager/NetworkManager.pid",
	}
	for _, unit := range []string{"nftables", "netfilter-persistent", "iptables", "ip6tables"} {
		out = append(out, "/etc/systemd/system/*.wants/"+unit+".service") // there when it is enabled (systemctl(1))
	}
	for _, unit := range []string{
		"docker", "firewalld", "libvirtd", "virtnetworkd", "fail2ban", "crowdsec-firewall-bouncer", "sshguard", "kubelet", "k3s",
		"tailscaled", "mullvad-daemon", "nordvpnd", "ivpn-service", "expressvpn", "expressvpn-service", "incus", "snap.lxd.daemon",
		"pve-firewall", "proxmox-firewall", "NetworkManager", "systemd-networkd", "lfd",
	} {
		// There exactly while a service runs (systemd.resource-control(5)); the second is the hybrid hierarchy's.
		out = append(out,
			"/sys/fs/cgroup/system.slice/"+unit+".service/cgroup.procs",
			"/sys/fs/cgroup/systemd/system.slice/"+unit+".service/cgroup.procs")
	}
	return out
}

// Settings are the files that set kernel settings at boot, in no order (sysctl.d(5); ufw-framework(8) for its own).
func Settings() []string {
	out := []string{"/etc/sysctl.conf", "/etc/ufw/sysctl.conf"}
	for _, dir := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"} {
		out = append(out, dir+"/sysctl.d/*.conf")
	}
	return out
}

// included lists the files that a file of nft(8) includes, which looks for relative names in /etc.
func (p *Provider) included(f *schema.File) []string {
	if !strings.Contains(f.Content, "include ") || strings.Contains(f.Path, "iptables") {
		return nil
	}
	var out []string
	for _, pattern := range nftconf.Includes(f.Content) {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join("/etc", pattern)
		}
		out = append(out, p.glob(filepath.Clean(pattern))...)
	}
	return out
}

// glob lists the names below root that match a pattern, sorted.
func (p *Provider) glob(pattern string) []string {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	names, err := filepath.Glob(filepath.Join(p.root, pattern))
	if err != nil {
		return nil // a bad pattern matches nothing, for nft too
	}
	for i := range names {
		names[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(names[i], p.root), "/")
	}
	slices.Sort(names)
	return names
}

// readSigns reads what is only looked at.
func (p *Provider) readSigns(seen map[string]bool) []schema.Object {
	var out []schema.Object
	for _, pattern := range p.signs {
		for _, path := range p.glob(pattern) {
			if seen[path] {
				continue
			}
			target, err := p.target(path)
			if err != nil {
				continue
			}
			if info, err := os.Stat(target); err != nil || info.Size() > maxSign {
				continue
			}
			f, err := p.read(path)
			if err != nil || strings.TrimSpace(f.Content) == "" || strings.HasSuffix(path, ".pid") && !alive(f.Content) {
				continue
			}
			out = append(out, f)
		}
	}
	return out
}

// alive tells whether the process of a pid file is there: one that died leaves the file behind.
func alive(pid string) bool {
	n, err := strconv.Atoi(strings.TrimSpace(pid))
	if err != nil || n <= 0 {
		return false
	}
	_, err = os.Stat("/proc/" + strconv.Itoa(n))
	return err == nil
}
