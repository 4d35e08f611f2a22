package sessions

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// attempts is how often Find looks again when the socket of a server is not among those of the network: the kernel hands out
// /proc/net/tcp in pieces, and what moves between two of them can be missed.
const attempts = 3

// Find finds out who runs this process and who is logged in over this network namespace. It takes milliseconds. An error
// means that /proc could not be read at all; what may not be seen makes sessions that are not Certain.
func (h *Host) Find(ctx context.Context) (Who, error) {
	for i := range attempts {
		w, err := h.look(ctx)
		if err != nil {
			return Who{}, fmt.Errorf("find sessions: %w", err)
		}
		if !w.missed || i == attempts-1 {
			return w.who(), nil
		}
	}
	return Who{}, nil // not reached
}

func (h *Host) look(ctx context.Context) (*walk, error) {
	self, err := h.self()
	if err != nil {
		return nil, err
	}
	w := &walk{Host: h, self: self, seen: map[int]bool{}}
	if w.all, err = h.all(); err != nil {
		return nil, err
	}
	if w.all[self].PID == 0 {
		return nil, fmt.Errorf("process %d is not in %s", self, h.proc)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if w.table, err = h.table(); err != nil {
		return nil, err
	}
	if w.net, err = h.ownNetwork(); err != nil {
		return nil, err
	}
	w.visit(self, branch{primary: true})
	if len(w.servers) == 0 {
		w.byAudit()
	}
	if len(w.servers) == 0 {
		w.byEnvironment()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.others()
	return w, nil
}

// walk is the search for the connections that this process is run over.
type walk struct {
	*Host
	self  int
	net   string // our network namespace
	all   map[int]stat
	table *table

	seen     map[int]bool
	leaders  []stat // on the way up from this process
	session  int    // of the highest process on that way, the first of the host apart
	first    Process
	ttys     []string
	servers  []Process
	sessions []schema.Session
	missed   bool
	holders  map[uint64][]int // all processes by socket, once it was needed
}

// branch is what is known on one way up.
type branch struct {
	from    int     // the process below
	via     string  // schema.Session.Via
	tty     string  // nearest to the server
	leader  Process // nearest to the server
	primary bool    // parents of this process only
}

// visit goes up from a process: to its parent, and to the processes of its terminals. It ends at servers.
func (w *walk) visit(pid int, b branch) {
	s, ok := w.all[pid]
	if !ok || w.seen[pid] {
		return
	}
	w.seen[pid] = true
	held, terminals, denied := w.files(pid)
	if pid != w.self && w.server(s, held, denied, b) {
		return
	}
	if s.tty != 0 {
		terminals = []string{terminal(s.tty)}
		b.tty = terminals[0]
	}
	w.ttys = append(w.ttys, terminals...)
	if b.primary && pid != 1 && s.session > 1 {
		w.session = s.session
	}
	b.from, b.via = pid, through(s.comm, b.via)
	if s.leads() && pid != 1 {
		b.leader = s.Process
		if b.primary {
			w.leaders = append(w.leaders, s)
		}
	}
	w.visit(s.parent, b)
	b.primary = false
	for _, l := range w.leadersOf(terminals, s) {
		w.visit(l, b)
	}
}

// leadersOf finds the processes that came first at terminals. Those of a multiplexer's clients are its last way up: what
// tmux knows of a client that draws nothing (tmux -C) is no terminal, so all clients of its user count then.
func (w *walk) leadersOf(terminals []string, s stat) []int {
	var found []int
	for pid, other := range w.all {
		switch {
		case other.leads() && other.tty != 0 && slices.Contains(terminals, terminal(other.tty)) && w.ours(pid),
			s.comm == "tmux: server" && other.comm == "tmux: client" && len(terminals) == 0 && w.owner(pid) == w.owner(s.PID):
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found
}

// ours tells whether a process is in our network namespace, or may be: containers number their terminals as the host does.
func (w *walk) ours(pid int) bool {
	n := w.network(pid)
	return n == "" || n == w.net
}

// owner is the user whose process it is, -1 when it is gone.
func (h *Host) owner(pid int) int {
	return ownerOf(h.path(pid, ""))
}

// through says what stands between: the multiplexer nearest to the server, or else sudo.
func through(comm, via string) string {
	switch comm {
	case "tmux: server":
		return "tmux"
	case "screen", "SCREEN":
		return "screen"
	case "sudo", "su", "doas", "runuser":
		return cmp.Or(via, "sudo")
	}
	return via
}

// who sums up.
func (w *walk) who() Who {
	l := Login{
		Kind:    w.kind(),
		UID:     os.Getuid(),
		TTY:     w.terminal(),
		Servers: w.servers,
		Leader:  w.leader(),
	}
	l.Audit, _ = w.number(w.self, "sessionid")
	l.User = userName(l.UID)
	if l.SudoUser = w.environ(w.self)["SUDO_USER"]; l.SudoUser == "" {
		if uid, ok := w.number(w.self, "loginuid"); ok && int(uid) != l.UID {
			l.SudoUser = userName(int(uid))
		}
	}
	slices.SortStableFunc(w.sessions, func(a, b schema.Session) int {
		if a.Own != b.Own {
			if a.Own {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Local.Compare(b.Local), a.Peer.Compare(b.Peer))
	})
	inner := false // From is this host's own address, as with "ssh localhost"
	for _, s := range w.sessions {
		if s.Own {
			l.Sessions = append(l.Sessions, s)
			if s.Peer.IsValid() && (l.From == "" || inner) {
				l.From, inner = s.Peer.Addr().String(), s.Peer.Addr().IsLoopback()
			}
		}
	}
	return Who{Login: l, Sessions: w.sessions}
}

func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.Username
}

func (w *walk) kind() string {
	switch {
	case len(w.servers) > 0 || slices.ContainsFunc(w.sessions, func(s schema.Session) bool { return s.Own }):
		return SSH
	case slices.ContainsFunc(w.ttys, func(tty string) bool { return !strings.HasPrefix(tty, "pts/") }):
		return Console
	case len(w.ttys) > 0:
		return Terminal
	}
	return None
}

func (w *walk) terminal() string {
	if len(w.ttys) == 0 {
		return ""
	}
	return w.ttys[0]
}

// leader is the first process of the login. Without a server it is the highest that has a terminal; without one of these the
// highest that the first process of the host has not started itself: cron's child, not cron.
func (w *walk) leader() Process {
	if w.first.PID != 0 {
		return w.first
	}
	for _, fits := range []func(stat) bool{
		func(s stat) bool { return s.tty != 0 },
		func(s stat) bool { return s.parent > 1 },
		func(stat) bool { return true },
	} {
		for _, s := range slices.Backward(w.leaders) {
			if fits(s) {
				return s.Process
			}
		}
	}
	return Process{PID: w.session} // it has ended; its number is not used again while its session lives (setsid(2))
}

// holder finds the processes that hold a socket, among all.
func (w *walk) holder(inode uint64) []int {
	if w.holders == nil {
		w.holders = map[uint64][]int{}
		for _, pid := range slices.Sorted(maps.Keys(w.all)) {
			held, _, _ := w.files(pid)
			for _, h := range held {
				w.holders[h] = append(w.holders[h], pid)
			}
		}
	}
	return w.holders[inode]
}
