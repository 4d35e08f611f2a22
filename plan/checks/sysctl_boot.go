package checks

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func sysctlBoot() Check {
	return Check{
		Code: "VN329", Name: "sysctl-boot", Layer: LayerIP, Title: "a kernel setting will be another one after the next boot", Run: runSysctlBoot,
		Doc: Doc{
			Means: "A file that is read at boot sets a value that the kernel does not have now and virtual networks need: after the next boot, a reload of ufw or sysctl --system, the present value is gone. " +
				"Of several files the last counts.",
			Example: "sysctl -w net.ipv4.ip_forward=1, and /etc/sysctl.d/60-hardening.conf says 0; or net.bridge.bridge-nf-call-iptables = 0 in sysctl.d, which was read before br_netfilter was loaded.",
			Why: "Files of sysctl.d are read in the order of their names, whatever folder they are in; /etc/sysctl.conf comes last (as 99-sysctl.conf), and ufw reads /etc/ufw/sysctl.conf after all. " +
				"Settings below net.bridge exist only once br_netfilter is loaded, which Docker and ufw do later.",
			Repair:  "It does not: files of sysctl.d are others'.",
			ByHand:  "Change the line in the file that is named, or put a file behind it: /etc/sysctl.d/99-vm.conf.",
			Lasting: "The file is what lasts. For net.bridge: br_netfilter in /etc/modules-load.d/, so that it is there before systemd-sysctl runs.",
		},
	}
}

// line is a setting in a file.
type line struct {
	path   string
	number int
	value  string
}

func runSysctlBoot(h *Host) []Finding {
	boot := h.bootSettings()
	var out []Finding
	for _, key := range h.needed() {
		l, ok := boot[key]
		live, known := h.Sysctl(key)
		wanted, declared := h.declared(key)
		if declared {
			live, known = wanted, true
		}
		if !ok || !known || l.value == live || !declared && !h.loses(key, live, l.value) {
			continue
		}
		f := Finding{
			Severity: Warning, Title: fmt.Sprintf("%s is %s, and %s at the next boot", key, live, l.value), Object: schema.SysctlRef(key),
			Detail:   "The file is read at boot, and by sysctl --system.",
			Evidence: []string{fmt.Sprintf("%s:%d says %s = %s", l.path, l.number, key, l.value)},
			Cure:     []string{fmt.Sprintf("write %s = %s in %s, or in a file that is read later", key, live, l.path)},
		}
		if strings.HasPrefix(l.path, "/etc/ufw/") {
			f.Owner, f.Proof = "ufw", []string{"/etc/ufw/ufw.conf says ENABLED=yes"}
		}
		if _, link, _, perLink := schema.SplitLinkSysctl(key); perLink {
			f.Links = []string{link}
		}
		out = append(out, f)
	}
	return out
}

// needed are the settings to compare: those that a file declares, and those that decide whether guests are reached.
func (h *Host) needed() []string {
	keys := []string{
		"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding",
		"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-arptables",
	}
	if h.Desired != nil {
		for _, r := range h.Desired.State.Refs(schema.KindSysctl) {
			keys = appendNew(keys, r.Name)
		}
	}
	return keys
}

func (h *Host) declared(key string) (string, bool) {
	if h.Desired == nil {
		return "", false
	}
	return h.Desired.State.Sysctl(key)
}

// loses tells whether guests of this host lose something by the other value: forwarding where a network needs it and nobody sets
// it by himself, or a bridge that is filtered by rules again.
func (h *Host) loses(key, live, boot string) bool {
	if strings.HasPrefix(key, "net.bridge.") {
		return live == "1" && boot == "0" // somebody thinks that it is off
	}
	if live != "1" || boot != "0" {
		return false
	}
	for _, n := range h.Networks {
		switch {
		case n.Mode != ModeNAT && n.Mode != ModeRouted:
		case n.Manager == "libvirt", n.Manager == "docker", n.Manager == "podman", n.Manager == "incus", n.Manager == "lxd", n.Manager == "vmnet":
			// They set it when they start their networks, and vmnet when it applies.
		default:
			return true
		}
	}
	return false
}

// bootSettings are the settings that files set at boot: those of sysctl.d(5) in the order of their names, where a file in /etc hides
// one of its name in /run and that one in /usr/lib; then /etc/sysctl.conf; then ufw's, where it is enabled and not told to read another.
func (h *Host) bootSettings() map[string]line {
	byName := map[string]*schema.File{}
	for _, dir := range []string{"/lib", "/usr/lib", "/usr/local/lib", "/run", "/etc"} {
		for _, f := range h.files(dir+"/sysctl.d/", ".conf") {
			byName[path.Base(f.Path)] = f
		}
	}
	var files []*schema.File
	for _, f := range byName {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *schema.File) int { return cmp.Compare(path.Base(a.Path), path.Base(b.Path)) })
	last := []string{"/etc/sysctl.conf"}
	if strings.Contains("\n"+h.file("/etc/ufw/ufw.conf"), "\nENABLED=yes") {
		last = append(last, "/etc/ufw/sysctl.conf")
	}
	for _, name := range last {
		if f, ok := h.Get(schema.FileRef(name)).(*schema.File); ok {
			files = append(files, f)
		}
	}
	out := map[string]line{}
	for _, f := range files {
		n := 0
		for text := range strings.Lines(f.Content) {
			n++
			if key, value, ok := setting(text); ok {
				out[key] = line{f.Path, n, value}
			}
		}
	}
	return out
}

// setting reads "net.ipv4.ip_forward = 1", also with slashes between the parts, and with "-" in front.
func setting(text string) (key, value string, ok bool) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' || text[0] == ';' {
		return "", "", false
	}
	key, value, ok = strings.Cut(strings.TrimPrefix(text, "-"), "=")
	key = strings.TrimSpace(key)
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		key = strings.NewReplacer("/", ".", ".", "/").Replace(key)
	}
	return key, strings.Join(strings.Fields(value), " "), ok && key != ""
}
