package guests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// held are the taps that a process holds open. The kernel names the link of an open /dev/net/tun in its fdinfo, as
// "iff:\tvnet3" (drivers/net/tun.c, tun_chr_show_fdinfo).
func held(dir string) []schema.Object {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return nil // gone meanwhile, or not ours to look at
	}
	var out []schema.Object
	seen := map[string]bool{}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil || !strings.HasSuffix(target, "/net/tun") {
			continue
		}
		link := tapOf(trimmed(filepath.Join(dir, "fdinfo", fd.Name())))
		if link == "" || seen[link] { // several queues of one tap
			continue
		}
		seen[link] = true
		out = append(out, holder(dir, link))
	}
	return out
}

func tapOf(fdinfo string) string {
	for line := range strings.Lines(fdinfo) {
		if name, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func holder(dir, link string) *schema.Holder {
	h := &schema.Holder{Link: link, Process: trimmed(filepath.Join(dir, "comm"))}
	h.PID, _ = strconv.Atoi(filepath.Base(dir)) // the pattern it was found by has digits only
	h.Guest, h.MACs = describe(strings.Split(trimmed(filepath.Join(dir, "cmdline")), "\x00"))
	return h
}

var (
	macArgument = regexp.MustCompile(`(?i)\bmac(?:addr)?["']?[=:]["']?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})`)
	macAlone    = regexp.MustCompile(`(?i)^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$`)
)

// describe reads a hypervisor's command line: "-name guest=db1,debug-threads=on" and "-device virtio-net-pci,…,mac=52:54:…", also as
// JSON, of QEMU; "--net tap=vnet3,mac=…" of Cloud Hypervisor; "--mac …" of others.
func describe(args []string) (name string, macs []string) {
	for i, arg := range args {
		if (arg == "-name" || arg == "--name") && i+1 < len(args) {
			name, _, _ = strings.Cut(strings.TrimPrefix(args[i+1], "guest="), ",")
		}
		for _, m := range macArgument.FindAllStringSubmatch(arg, -1) {
			macs = appendNew(macs, strings.ToLower(m[1]))
		}
		if macAlone.MatchString(arg) {
			macs = appendNew(macs, strings.ToLower(arg))
		}
	}
	return name, macs
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
