package schema

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Sysctl is a kernel setting, sysctl(8). It cannot bear a mark: vmnet sets it and never removes it.
type Sysctl struct {
	// Key has dots between its parts; a dot inside a part, as in the VLAN device eth0.100, is written as a slash:
	// "net.ipv4.conf.eth0/100.rp_filter".
	Key   string `json:"key"`
	Value string `json:"value"` // fields separated by single spaces
}

// SysctlRef names a setting.
func SysctlRef(key string) Ref { return Ref{KindSysctl, key} }

// LinkSysctl names a per-link setting: LinkSysctl("ipv4", "br0", "rp_filter").
func LinkSysctl(family, link, name string) string {
	return "net." + family + ".conf." + strings.ReplaceAll(link, ".", "/") + "." + name
}

// SplitLinkSysctl takes a per-link key apart. ok is false for other keys and for conf.all and conf.default.
func SplitLinkSysctl(key string) (family, link, name string, ok bool) {
	p := strings.Split(key, ".")
	if len(p) != 5 || p[0] != "net" || (p[1] != "ipv4" && p[1] != "ipv6") || p[2] != "conf" || p[3] == "all" || p[3] == "default" {
		return "", "", "", false
	}
	return p[1], strings.ReplaceAll(p[3], "/", "."), p[4], true
}

// Ref implements Object.
func (s *Sysctl) Ref() Ref { return SysctlRef(s.Key) }

// Requires implements Object: the link of a per-link setting.
func (s *Sysctl) Requires() []Ref {
	if _, link, _, ok := SplitLinkSysctl(s.Key); ok {
		return []Ref{LinkRef(link)}
	}
	return nil
}

// String prints "net.ipv4.ip_forward = 1".
func (s *Sysctl) String() string { return s.Key + " = " + s.Value }

func (*Sysctl) object() {}

// File is a file on disk that holds rules of the host, such as /etc/iptables/rules.v4, or that tells which manager of
// rules is at work, such as /etc/ufw/ufw.conf. It is always replaced whole and atomically; the replaced content is kept
// beside it (see providers/files).
type File struct {
	Path    string `json:"path"`
	Mode    uint32 `json:"mode,omitempty"` // permission bits; a fact, kept when the file is replaced
	Content string `json:"content"`
}

// FileRef names a file by its absolute path.
func FileRef(path string) Ref { return Ref{KindFile, path} }

// Ref implements Object.
func (f *File) Ref() Ref { return FileRef(f.Path) }

// Requires implements Object.
func (f *File) Requires() []Ref { return nil }

// String prints "/etc/iptables/rules.v4 (12 lines)".
func (f *File) String() string {
	return fmt.Sprintf("%s (%d lines)", f.Path, strings.Count(f.Content, "\n"))
}

func (*File) object() {}

// Listener is a listening socket of the host. Read only.
type Listener struct {
	Proto string     `json:"proto"` // "tcp" or "udp"
	Addr  netip.Addr `json:"addr"`  // unspecified (0.0.0.0, ::) for every address
	Port  uint16     `json:"port"`
	// Device is the link that it is bound to (SO_BINDTODEVICE, socket(7)); "" for every one, or not known.
	Device string `json:"device,omitempty"`
	// Process is "name[pid]" where it could be found, else "".
	Process string `json:"process,omitempty"`
}

// Ref implements Object: "listener/udp 0.0.0.0%virbr0:67", as ss(8) prints it.
func (l *Listener) Ref() Ref {
	addr := l.Addr.String()
	if l.Device != "" {
		addr += "%" + l.Device
	}
	return Ref{KindListener, l.Proto + " " + net.JoinHostPort(addr, strconv.Itoa(int(l.Port)))}
}

// Requires implements Object.
func (l *Listener) Requires() []Ref { return nil }

// String prints "tcp 0.0.0.0:22 sshd[812]".
func (l *Listener) String() string {
	return strings.TrimSpace(l.Ref().Name + " " + l.Process)
}

func (*Listener) object() {}
