package sessions

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vmnet/vmnet/providers/sockets"
	"github.com/vmnet/vmnet/schema"
)

// Names of servers, as hints where a socket does not tell: comm of /proc/PID/stat, which is cut at 15 characters.
var (
	names     = []string{"sshd", "sshd-session", "sshd-auth", "dropbear", "dropbearmulti", "tailscaled", "telnetd", "in.telnetd", "in.rlogind"}
	overUDP   = []string{"mosh-server"}
	userspace = []string{"tailscaled"} // ends connections itself, without a socket of the kernel's
)

// server records a process that serves this login, and tells whether it does.
func (w *walk) server(s stat, held []uint64, denied bool, b branch) bool {
	named := slices.Contains(names, s.comm)
	switch in, own := w.table.logins(held); {
	case slices.Contains(overUDP, s.comm):
		return w.datagrams(s, held, denied, b)
	case named && denied:
		return w.unseen(s, b)
	case named && len(in) > 0:
		w.record(s, in, b)
	case named:
		return w.odd(s, held, own, b)
	case s.PID > 1 && b.tty != "" && len(in)+len(own) > 0: // ttyd, cockpit, an editor's server: whoever serves a terminal
		w.record(s, slices.Concat(in, own), b)
	default:
		return false
	}
	return true
}

func (w *walk) serve(s stat, b branch) {
	w.servers = append(w.servers, s.Process)
	if w.first.PID == 0 {
		w.first = cmp.Or(b.leader, w.all[b.from].Process) // dropbear starts commands in its own session
	}
}

// record notes the connections of a server. Where the client is a process of this host, as with "ssh localhost" or an editor
// that comes through a forwarded port, the way goes on from there.
func (w *walk) record(s stat, in []sockets.Entry, b branch) {
	w.serve(s, b)
	for _, e := range in {
		w.add(schema.Session{Proto: "tcp", Local: e.Local, Peer: e.Peer, Server: s.comm, PID: s.PID, Start: s.Start, Via: b.via, TTY: b.tty, Certain: true})
		back, ok := w.table.byEnds[ends{e.Peer, e.Local}]
		if !ok {
			continue
		}
		for _, pid := range w.holder(back.Inode) {
			w.visit(pid, branch{via: b.via, tty: b.tty})
		}
	}
}

func (w *walk) add(s schema.Session) {
	s.Own = true
	w.sessions = append(w.sessions, s)
}

// odd is a server by name that has no connection to a port that others listen on.
func (w *walk) odd(s stat, held []uint64, own []sockets.Entry, b branch) bool {
	if n := w.network(s.PID); n != "" && n != w.net {
		w.serve(s, b) // over another network: ip netns exec
		return true
	}
	if slices.Contains(userspace, s.comm) {
		return w.unseen(s, b)
	}
	open := slices.DeleteFunc(w.table.established(held), func(e sockets.Entry) bool { return slices.Contains(own, e) })
	if len(open) > 0 { // nobody listens any more; what it has forwarded leaves from high ports
		lowest := slices.MinFunc(open, func(a, c sockets.Entry) int { return cmp.Compare(a.Local.Port(), c.Local.Port()) })
		w.record(s, []sockets.Entry{lowest}, b)
		return true
	}
	if w.listener(s) {
		return false
	}
	w.missed = true
	w.serve(s, b) // its connection is being closed
	return true
}

// unseen is a server whose socket cannot be seen: what it has told its child (SSH_CONNECTION) counts where the network has
// such a connection, and without that where the server has no socket.
func (w *walk) unseen(s stat, b branch) bool {
	if w.listener(s) {
		return false
	}
	for _, pid := range []int{b.from, w.self} {
		e, ok := connection(w.environ(pid))
		if !ok {
			continue
		}
		_, open := w.table.byEnds[e]
		if open || slices.Contains(userspace, s.comm) {
			w.add(schema.Session{Proto: "tcp", Local: e.local, Peer: e.peer, Server: s.comm, PID: s.PID, Start: s.Start, Via: b.via, TTY: b.tty})
			break
		}
	}
	if slices.Contains(userspace, s.comm) {
		return len(w.sessions) > 0 // one process serves all: it does not tell two logins apart
	}
	w.serve(s, b)
	return true
}

// listener tells whether a server only waits for connections, which it leaves to others: orphans can become its children
// where it is the first process of a container. OpenSSH says so itself (setproctitle), or has its own command line.
func (w *walk) listener(s stat) bool {
	line, err := os.ReadFile(w.path(s.PID, "cmdline"))
	if err != nil {
		return s.parent <= 1
	}
	title := string(line)
	return strings.Contains(title, "[listener]") || (s.parent <= 1 && !strings.HasPrefix(title, s.comm+": "))
}

// datagrams records a server over UDP: its peer is known to itself alone and changes as it roams. The address that had asked
// for it is the best guess.
func (w *walk) datagrams(s stat, held []uint64, denied bool, b branch) bool {
	w.serve(s, b)
	var peer netip.AddrPort
	if e, ok := connection(w.environ(s.PID)); ok {
		peer = netip.AddrPortFrom(e.peer.Addr(), 0)
	}
	for _, inode := range held {
		if e, ok := w.table.byInode[inode]; ok && e.Proto == "udp" {
			w.add(schema.Session{Proto: "udp", Local: e.Local, Peer: peer, Server: s.comm, PID: s.PID, Start: s.Start, Via: b.via, TTY: b.tty, Certain: !denied})
		}
	}
	return true
}

// byAudit looks for the server of the login session that the kernel remembers for this process: pam_loginuid gives one number
// to the server's process of a login and all that it starts.
func (w *walk) byAudit() {
	audit, ok := w.number(w.self, "sessionid")
	if !ok {
		return
	}
	for _, s := range w.named() {
		if n, ok := w.number(s.PID, "sessionid"); ok && n == audit {
			held, _, denied := w.files(s.PID)
			if in, _ := w.table.logins(held); !denied && len(in) > 0 {
				w.record(s, in, branch{via: w.via()})
			}
		}
	}
}

// via is what stood on the way that led nowhere.
func (w *walk) via() string {
	via := ""
	for pid := range w.seen {
		via = through(w.all[pid].comm, via)
	}
	return via
}

// byEnvironment believes SSH_CONNECTION where this network has such a connection.
func (w *walk) byEnvironment() {
	pids := []int{w.self}
	for pid := range w.seen {
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		e, ok := connection(w.environ(pid))
		if !ok {
			continue
		}
		entry, open := w.table.byEnds[e]
		if !open || slices.ContainsFunc(w.sessions, func(s schema.Session) bool { return s.Local == e.local && s.Peer == e.peer }) {
			continue
		}
		if s, ok := w.serverOf(entry.Inode); ok {
			w.record(s, []sockets.Entry{entry}, branch{via: w.via()})
			continue
		}
		w.add(schema.Session{Proto: "tcp", Local: e.local, Peer: e.peer, Via: w.via()})
	}
}

// serverOf is the server that holds a socket; the youngest process of a chain of them.
func (w *walk) serverOf(inode uint64) (stat, bool) {
	var found stat
	for _, s := range w.named() {
		if held, _, _ := w.files(s.PID); slices.Contains(held, inode) && s.Start >= found.Start {
			found = s
		}
	}
	return found, found.PID != 0
}

// named lists the servers by name, the oldest first.
func (w *walk) named() []stat {
	var found []stat
	for _, s := range w.all {
		if slices.Contains(names, s.comm) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b stat) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID)) })
	return found
}

// others adds the connections of other logins.
func (w *walk) others() {
	found := map[ends]schema.Session{}
	waiting := map[ends]bool{} // not logged in yet
	ports := map[uint16]bool{}
	if _, ok := w.table.listeners[22]; ok {
		ports[22] = true
	}
	for _, s := range w.sessions {
		ports[s.Local.Port()] = s.Proto == "tcp"
	}
	hidden := false
	for _, s := range w.named() {
		held, _, denied := w.files(s.PID)
		hidden = hidden || denied
		in, _ := w.table.logins(held)
		for _, e := range in {
			k := ends{e.Local, e.Peer}
			waiting[k] = waiting[k] || w.authenticating(s)
			found[k] = schema.Session{Proto: "tcp", Local: e.Local, Peer: e.Peer, Server: s.comm, PID: s.PID, Start: s.Start, TTY: w.child(s.PID), Certain: true}
		}
	}
	if hidden {
		for k := range w.table.byEnds {
			if ports[k.local.Port()] && len(w.table.listeners[k.local.Port()]) > 0 && found[k].PID == 0 {
				found[k] = schema.Session{Proto: "tcp", Local: k.local, Peer: k.peer}
			}
		}
	}
	for k, s := range found {
		if !waiting[k] && !slices.ContainsFunc(w.sessions, func(own schema.Session) bool { return own.Own && own.Local == k.local && own.Peer == k.peer }) {
			w.sessions = append(w.sessions, s)
		}
	}
}

// authenticating tells whether a process of OpenSSH serves somebody who has not logged in yet: titles of sshd.c, and the
// program of its own that this is since 10.0.
func (w *walk) authenticating(s stat) bool {
	if s.comm == "sshd-auth" {
		return true
	}
	line, err := os.ReadFile(w.path(s.PID, "cmdline"))
	title := strings.TrimRight(string(line), "\x00 ")
	return err == nil && (strings.HasSuffix(title, "[net]") || strings.HasSuffix(title, "[accepted]") || strings.HasSuffix(title, "[preauth]"))
}

// child is the terminal of a process that another has started.
func (w *walk) child(parent int) string {
	for _, s := range w.all {
		if s.parent == parent && s.tty != 0 {
			return terminal(s.tty)
		}
	}
	return ""
}

// connection reads SSH_CONNECTION (ssh(1)): client address, client port, server address, server port.
func connection(env map[string]string) (ends, bool) {
	f := strings.Fields(env["SSH_CONNECTION"])
	if len(f) != 4 {
		return ends{}, false
	}
	peer, err := addrPort(f[0], f[1])
	if err != nil {
		return ends{}, false
	}
	local, err := addrPort(f[2], f[3])
	return ends{local, peer}, err == nil
}

// addrPort has no zone: the tables of the kernel have none.
func addrPort(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var p uint16
	if _, err := fmt.Sscan(port, &p); err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), p), nil
}

// ownNetwork names the network namespace of the calling thread.
func (h *Host) ownNetwork() (string, error) {
	name, err := os.Readlink(filepath.Join(h.proc, "thread-self/ns/net"))
	if err != nil {
		return "", fmt.Errorf("read network namespace: %w", err)
	}
	return name, nil
}

func ownerOf(path string) int {
	s, err := os.Stat(path)
	if err != nil {
		return -1
	}
	if sys, ok := s.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}
