// Package sockets lists the sockets of the host that wait for packets: listening TCP and unconnected UDP sockets, from
// /proc/net (proc(5)).
//
// It changes nothing. It reads the network namespace of the calling thread.
package sockets

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Provider lists listening sockets.
type Provider struct {
	proc      string
	processes bool
}

// New returns a Provider.
func New() *Provider { return &Provider{proc: "/proc"} }

// WithProcesses returns a Provider that also says whose sockets they are. That looks at every open file of every process:
// milliseconds on a busy host, and complete only for root.
func (p *Provider) WithProcesses() *Provider {
	c := *p
	c.processes = true
	return &c
}

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindListener} }

// Read returns the sockets. Several of one address and port (SO_REUSEPORT) are one Listener.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	var found []Entry
	for _, proto := range []string{"tcp", "udp"} {
		for _, version := range []string{"", "6"} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := p.table(proto, version)
			if err != nil {
				return nil, fmt.Errorf("read %s sockets: %w", proto+version, err)
			}
			found = append(found, s...)
		}
	}
	owners := map[uint64]string{}
	if p.processes {
		owners = p.owners(ctx)
	}
	return listeners(found, owners, p.links(found)), nil
}

func listeners(found []Entry, owners, links map[uint64]string) []schema.Object {
	byRef := map[schema.Ref]*schema.Listener{}
	var all []schema.Object
	for _, s := range found {
		l := &schema.Listener{Proto: s.Proto, Addr: s.Local.Addr(), Port: s.Local.Port(), Process: owners[s.Inode], Device: links[s.Inode]}
		if old := byRef[l.Ref()]; old != nil {
			if old.Process == "" {
				old.Process = l.Process
			}
			continue
		}
		byRef[l.Ref()] = l
		all = append(all, l)
	}
	return all
}

func (p *Provider) table(proto, version string) ([]Entry, error) {
	f, err := os.Open(filepath.Join(p.proc, "thread-self/net", proto+version))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(f, proto)
}

// State is that of a socket, as in the fourth column of /proc/net/tcp (enum in include/net/tcp_states.h).
type State string

// The states that matter here. Unconnected is that of a UDP socket (TCP_CLOSE).
const (
	Established State = "01"
	Unconnected State = "07"
	Listening   State = "0A"
)

// Entry is a line of /proc/net/tcp, tcp6, udp or udp6. Addresses of IPv4 in IPv6 are IPv4.
type Entry struct {
	Proto       string // "tcp" or "udp"
	Local, Peer netip.AddrPort
	State       State
	Inode       uint64
}

// Entries reads /proc/net/tcp, tcp6, udp or udp6: a heading, then lines "sl local_address rem_address st … uid timeout
// inode …" (Documentation/networking/proc_net_tcp.rst). Sockets in other states than those asked for are left out.
func Entries(r io.Reader, proto string, states ...State) ([]Entry, error) {
	var found []Entry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[0] == "sl" || !slices.Contains(states, State(f[3])) {
			continue
		}
		local, err := endpoint(f[1])
		if err != nil {
			return nil, err
		}
		peer, err := endpoint(f[2])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode %q: %w", f[9], err)
		}
		found = append(found, Entry{Proto: proto, Local: local, Peer: peer, State: State(f[3]), Inode: inode})
	}
	return found, lines.Err()
}

// parse reads the sockets of a table that wait for packets.
func parse(r io.Reader, proto string) ([]Entry, error) {
	want := Listening
	if proto == "udp" {
		want = Unconnected
	}
	found, err := Entries(r, proto, want)
	return slices.DeleteFunc(found, func(e Entry) bool { return e.Local.Port() == 0 }), err
}

// endpoint reads "0100007F:1F90": the address in words of 32 bits in the machine's byte order, the port in hexadecimal.
func endpoint(s string) (netip.AddrPort, error) {
	a, p, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(a)
	if err != nil || !ok || (len(b) != 4 && len(b) != 16) {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", s)
	}
	port, err := strconv.ParseUint(p, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", p, err)
	}
	for word := range slices.Chunk(b, 4) {
		binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

// owners maps the inodes of sockets to "name[pid]".
func (p *Provider) owners(ctx context.Context) map[uint64]string {
	owners := map[uint64]string{}
	dirs, _ := filepath.Glob(filepath.Join(p.proc, "[0-9]*"))
	slices.Sort(dirs)
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return owners
		}
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // gone meanwhile, or not ours to look at
		}
		name := ""
		for _, fd := range fds {
			target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			if err != nil || !strings.HasPrefix(target, "socket:[") {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]"), 10, 64)
			if err != nil || owners[inode] != "" {
				continue
			}
			if name == "" {
				name = processName(dir)
			}
			owners[inode] = name
		}
	}
	return owners
}

func processName(dir string) string {
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return "[" + filepath.Base(dir) + "]"
	}
	return fmt.Sprintf("%s[%s]", strings.TrimSpace(string(comm)), filepath.Base(dir))
}
