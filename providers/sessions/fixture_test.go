package sessions

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// host is a /proc made up: lines "pid ppid session tty comm | fd fd … | key=value …", where a number among the fds is a
// socket's inode, "denied" a folder that may not be read, keys in capitals are environment, and others files of the process.
// Sockets are lines "inode proto local peer", where the peer "*" is nobody: it listens, or is a bound UDP socket.
type host struct {
	processes string
	sockets   string
	self      int
}

const ownNet, otherNet = "net:[4026531840]", "net:[4026539999]"

func (h host) make(t *testing.T) *Host {
	t.Helper()
	proc := t.TempDir()
	for line := range strings.Lines(h.processes) {
		if strings.TrimSpace(line) != "" {
			makeProcess(t, proc, line)
		}
	}
	must(t, os.Symlink(strconv.Itoa(h.self), filepath.Join(proc, "self")))
	must(t, os.MkdirAll(filepath.Join(proc, "thread-self/ns"), 0o755))
	must(t, os.Symlink(ownNet, filepath.Join(proc, "thread-self/ns/net")))
	tables := map[string]string{"tcp": "  sl heading\n", "tcp6": "  sl heading\n", "udp": "  sl heading\n", "udp6": "  sl heading\n"}
	for line := range strings.Lines(h.sockets) {
		if f := strings.Fields(line); len(f) == 4 {
			name, text := socketLine(t, f)
			tables[name] += text
		}
	}
	must(t, os.MkdirAll(filepath.Join(proc, "thread-self/net"), 0o755))
	for name, text := range tables {
		must(t, os.WriteFile(filepath.Join(proc, "thread-self/net", name), []byte(text), 0o644))
	}
	return New(Options{Proc: proc})
}

func makeProcess(t *testing.T, proc, line string) {
	t.Helper()
	parts := append(strings.Split(line, "|"), "", "")
	f := strings.Fields(parts[0])
	pid, comm := f[0], strings.Join(f[4:], " ")
	dir := filepath.Join(proc, pid)
	must(t, os.MkdirAll(filepath.Join(dir, "fd"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
	n, err := strconv.Atoi(pid)
	must(t, err)
	content := map[string]string{
		"stat":      fmt.Sprintf("%s (%s) S %s %s %s %d -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, comm, f[1], f[2], f[2], packed(t, f[3]), n*10),
		"cmdline":   comm + ": session\x00",
		"sessionid": "4294967295", "loginuid": "4294967295",
	}
	network := ownNet
	for _, entry := range strings.Fields(parts[2]) {
		key, value, _ := strings.Cut(entry, "=")
		value = strings.ReplaceAll(value, ",", " ")
		switch {
		case key == "net":
			network = otherNet
		case strings.ToUpper(key) == key:
			content["environ"] += key + "=" + value + "\x00"
		default:
			content[key] = value
		}
	}
	for name, text := range content {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	must(t, os.Symlink(network, filepath.Join(dir, "ns/net")))
	for i, fd := range strings.Fields(parts[1]) {
		if fd == "denied" { // a file where a folder should be: root may read every folder
			must(t, os.RemoveAll(filepath.Join(dir, "fd")))
			must(t, os.WriteFile(filepath.Join(dir, "fd"), nil, 0o644))
			return
		}
		if _, err := strconv.Atoi(fd); err == nil {
			fd = "socket:[" + fd + "]"
		}
		must(t, os.Symlink(fd, filepath.Join(dir, "fd", strconv.Itoa(i))))
	}
}

// packed is tty_nr of a terminal's name.
func packed(t *testing.T, name string) int {
	t.Helper()
	kind := strings.TrimRight(name, "0123456789")
	n, _ := strconv.Atoi(strings.TrimPrefix(name, kind))
	switch kind {
	case "-":
		return 0
	case "pts/":
		return 136<<8 | n&0xff | (n>>8)<<20
	case "tty":
		return 4<<8 | n
	case "ttyS":
		return 4<<8 | (64 + n)
	}
	t.Fatalf("terminal %q", name)
	return 0
}

func socketLine(t *testing.T, f []string) (table, line string) {
	t.Helper()
	local, err := netip.ParseAddrPort(f[2])
	must(t, err)
	peer, state := netip.AddrPortFrom(netip.IPv4Unspecified(), 0), "0A"
	if local.Addr().Is6() {
		peer = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	if f[1] == "udp" {
		state = "07"
	}
	if f[3] != "*" {
		peer, err = netip.ParseAddrPort(f[3])
		must(t, err)
		state = "01"
	}
	table = f[1]
	if local.Addr().Is6() {
		table += "6"
	}
	return table, fmt.Sprintf("   0: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0\n", hexEnd(local), hexEnd(peer), state, f[0])
}

// hexEnd writes an address as the kernel does, in words of 32 bits of the machine: little endian, where this is tested.
func hexEnd(a netip.AddrPort) string {
	b := a.Addr().AsSlice()
	text := ""
	for i := 0; i < len(b); i += 4 {
		text += fmt.Sprintf("%02X%02X%02X%02X", b[i+3], b[i+2], b[i+1], b[i])
	}
	return fmt.Sprintf("%s:%04X", text, a.Port())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	s, err := parseStat("42 (a) b (c)) S 7 42 42 34816 43 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n")
	must(t, err)
	if s.PID != 42 || s.comm != "a) b (c)" || s.parent != 7 || s.session != 42 || terminal(s.tty) != "pts/0" || s.foreground != 43 || s.Start != 987654 || !s.leads() {
		t.Errorf("got %+v", s)
	}
	for _, line := range []string{"", "42", "42 (x", ") 42 (", "42 (x) S 1 2", "x (y) S 7 42 42 34816 43 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654"} {
		if _, err := parseStat(line); err == nil {
			t.Errorf("parseStat(%q) succeeded", line)
		}
	}
	for dev, want := range map[uint64]string{unix.Mkdev(136, 300): "pts/300", unix.Mkdev(4, 1): "tty1", unix.Mkdev(4, 65): "ttyS1", unix.Mkdev(229, 0): "hvc0", 0: ""} {
		if got := terminal(dev); got != want {
			t.Errorf("terminal(%d) = %q, want %q", dev, got, want)
		}
	}
	if dev := device(uint32(packed(t, "pts/300"))); terminal(dev) != "pts/300" {
		t.Errorf("pts/300 is read as %s", terminal(dev))
	}
}
