package sessions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vmnet/vmnet/providers/sockets"
)

// Host is where sessions are looked for.
type Host struct {
	proc string
}

// Options say where to look. The zero Options are this host.
type Options struct {
	// Proc is where proc(5) is mounted; "" is /proc.
	Proc string
}

// New returns a Host.
func New(o Options) *Host {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	return &Host{proc: o.Proc}
}

// table has the sockets of this network namespace.
type table struct {
	byInode   map[uint64]sockets.Entry // established TCP, bound UDP
	byEnds    map[ends]sockets.Entry   // established TCP
	listeners map[uint16][]uint64      // inodes of sockets that listen on a TCP port
}

type ends struct{ local, peer netip.AddrPort }

func (h *Host) table() (*table, error) {
	t := &table{byInode: map[uint64]sockets.Entry{}, byEnds: map[ends]sockets.Entry{}, listeners: map[uint16][]uint64{}}
	for _, f := range []struct {
		name, proto string
		states      []sockets.State
	}{
		{"tcp", "tcp", []sockets.State{sockets.Established, sockets.Listening}},
		{"tcp6", "tcp", []sockets.State{sockets.Established, sockets.Listening}},
		{"udp", "udp", []sockets.State{sockets.Unconnected, sockets.Established}},
		{"udp6", "udp", []sockets.State{sockets.Unconnected, sockets.Established}},
	} {
		entries, err := h.entries(f.name, f.proto, f.states)
		if err != nil {
			return nil, fmt.Errorf("read %s sockets: %w", f.name, err)
		}
		for _, e := range entries {
			t.add(e)
		}
	}
	return t, nil
}

func (h *Host) entries(name, proto string, states []sockets.State) ([]sockets.Entry, error) {
	f, err := os.Open(filepath.Join(h.proc, "thread-self/net", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sockets.Entries(f, proto, states...)
}

func (t *table) add(e sockets.Entry) {
	switch {
	case e.State == sockets.Listening:
		t.listeners[e.Local.Port()] = append(t.listeners[e.Local.Port()], e.Inode)
	case e.Inode == 0: // closed by its process, the kernel still sends
	default:
		t.byInode[e.Inode] = e
		if e.Proto == "tcp" {
			t.byEnds[ends{e.Local, e.Peer}] = e
		}
	}
}

// logins picks, of the sockets that a process holds, the established ones that came in: to ports that others listen on, and to
// ports that only the process itself listens on. To sshd the latter are forwardings of its client's (ssh -R).
func (t *table) logins(held []uint64) (in, own []sockets.Entry) {
	for _, e := range t.established(held) {
		listening := t.listeners[e.Local.Port()]
		switch {
		case slices.ContainsFunc(listening, func(l uint64) bool { return !slices.Contains(held, l) }):
			in = append(in, e)
		case len(listening) > 0:
			own = append(own, e)
		}
	}
	return in, own
}

// established are the TCP connections that a process holds, whoever listens.
func (t *table) established(held []uint64) []sockets.Entry {
	var all []sockets.Entry
	for _, inode := range held {
		if e, ok := t.byInode[inode]; ok && e.Proto == "tcp" && e.State == sockets.Established {
			all = append(all, e)
		}
	}
	return all
}

// Find finds out who runs this process and who is logged in over this network namespace.
func Find(ctx context.Context) (Who, error) { return New(Options{}).Find(ctx) }
