package sessions

import (
	"slices"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// Who says who is at this host.
type Who struct {
	// Login is the one that runs this process.
	Login Login `json:"login"`
	// Sessions are all logins over this network namespace, own ones first. Without the right to look at other users'
	// processes, those of others are what goes to the same ports.
	Sessions []schema.Session `json:"sessions"`
}

// The kinds of logins.
const (
	SSH      = "ssh"      // over the network, by whatever server
	Console  = "console"  // at a virtual terminal or a serial line
	Terminal = "terminal" // at another terminal: of a desktop, of a container
	None     = "none"     // nobody's: cron, a unit of systemd, CI
)

// Login is who runs a process. One process stores it, as JSON, and another compares it later in the same boot: see Same.
type Login struct {
	// Kind is SSH, Console, Terminal or None.
	Kind string `json:"kind"`
	// User is the name of UID, or "" where it has none.
	User string `json:"user,omitempty"`
	UID  int    `json:"uid"`
	// SudoUser is who became User: by sudo (SUDO_USER), or by su where the kernel knows who had logged in (loginuid).
	SudoUser string `json:"sudo_user,omitempty"`
	// TTY is the terminal: "pts/3", "tty1".
	TTY string `json:"tty,omitempty"`
	// From is the address that the login comes from, or "".
	From string `json:"from,omitempty"`
	// Sessions are the connections, in this network namespace, that the login comes over.
	Sessions []schema.Session `json:"sessions,omitempty"`
	// Servers are the processes that serve the login, in whatever network namespace.
	Servers []Process `json:"servers,omitempty"`
	// Leader is the first process of the login: its shell, above any sudo, script or setsid.
	Leader Process `json:"leader"`
	// Audit is the number of the login session that the kernel keeps (/proc/PID/sessionid), 0 without one.
	Audit uint32 `json:"audit,omitempty"`
}

// Same tells whether two logins of one boot are the same one: they come over the same connection. Where one of them comes
// over none that is known, the audit session, the leader or the terminal decides; where nothing is known that could differ, they
// are taken for one.
func (l Login) Same(other Login) bool {
	switch {
	case shares(l.Servers, other.Servers), slices.ContainsFunc(l.Sessions, other.comesOver):
		return true
	case len(l.Servers)+len(l.Sessions) > 0 && len(other.Servers)+len(other.Sessions) > 0:
		return false
	case l.Audit != 0 && l.Audit == other.Audit:
		return true
	case l.Leader.PID == 0 || other.Leader.PID == 0:
		return l.TTY == "" || other.TTY == "" || l.TTY == other.TTY
	}
	return l.Leader == other.Leader
}

// Before tells a login over the network that was there at a time since boot (SinceBoot): the youngest of the processes that serve it
// was. Where none is known, as with a server that is one process for all, its leader decides. A login that is not dated, or that
// comes over no network, is not said to be older.
func (l Login) Before(at time.Duration) bool {
	if l.Kind != SSH {
		return false
	}
	start := l.Leader.Start
	for i, p := range l.Servers {
		if i == 0 || p.Start > start {
			start = p.Start
		}
	}
	return start != 0 && time.Duration(start)*tick < at
}

// tick is the unit of Process.Start: USER_HZ is 100 wherever this runs (proc_pid_stat(5), sysconf(3)).
const tick = 10 * time.Millisecond

// comesOver tells whether one of the login's connections is that one. A server over UDP waits for anybody: there the server's
// own port is what tells two apart.
func (l Login) comesOver(s schema.Session) bool {
	return slices.ContainsFunc(l.Sessions, func(own schema.Session) bool {
		return own.Proto == s.Proto && own.Local == s.Local && own.Peer == s.Peer
	})
}

func shares(a, b []Process) bool {
	return slices.ContainsFunc(a, func(p Process) bool { return slices.Contains(b, p) })
}
