package sessions

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Two clients of one sshd, and a brute-forcer that has not logged in; a database beside.
const (
	twoLogins = `
1 0 1 - systemd
50 1 50 - sshd | 500 501 | cmdline=sshd:[listener]
60 50 60 - sshd | 601 | cmdline=sshd:,alice,[priv]
61 60 60 - sshd | 601 | cmdline=sshd:,alice@pts/0
62 61 62 pts/0 bash | /dev/pts/0 | SSH_CONNECTION=198.51.100.7,50001,192.0.2.10,22
70 50 70 - sshd-session | 701
72 70 72 pts/1 zsh | /dev/pts/1 | SSH_CONNECTION=2001:db8::7,50002,2001:db8::10,22
80 50 80 - sshd | 801 | cmdline=sshd:,[accepted]
81 80 80 - sshd | 801 | cmdline=sshd:,[net]
40 1 40 - postgres | 900 901
`
	twoSockets = `
500 tcp 0.0.0.0:22 *
501 tcp [::]:22 *
601 tcp [::ffff:192.0.2.10]:22 [::ffff:198.51.100.7]:50001
701 tcp [2001:db8::10]:22 [2001:db8::7]:50002
801 tcp 192.0.2.10:22 203.0.113.66:40000
900 tcp 192.0.2.10:5432 *
901 tcp 192.0.2.10:5432 198.51.100.7:50009
`
	alice = "tcp 198.51.100.7:50001 -> 192.0.2.10:22 (sshd[61])"
	bob   = "tcp [2001:db8::7]:50002 -> [2001:db8::10]:22 (sshd-session[70])"
)

// TestFind: every shape in which a login reaches a process.
func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		processes string // beside the two logins
		sockets   string
		self      int
		kind      string
		own       []string // "session via tty certain"
		others    []string
		leader    int
	}{
		{
			name: "plain", self: 100, kind: SSH, leader: 62,
			processes: "100 62 62 pts/0 vmnet",
			own:       []string{alice + "  pts/0 true"}, others: []string{bob},
		},
		{
			name: "sudo with a terminal of its own, env stripped", self: 100, kind: SSH, leader: 72,
			processes: "98 72 72 pts/1 sudo\n99 98 99 pts/5 sudo\n100 99 99 pts/5 vmnet",
			own:       []string{bob + " sudo pts/1 true"}, others: []string{alice},
		},
		{
			name: "setsid of a dead shell, by its terminal", self: 100, kind: SSH, leader: 72,
			processes: "100 1 100 - (odd) name) | /dev/null /dev/pts/1",
			own:       []string{bob + "  pts/1 true"}, others: []string{alice},
		},
		{
			name: "nohup of a dead shell, by its controlling terminal", self: 100, kind: SSH, leader: 72,
			processes: "100 1 72 pts/1 vmnet | /dev/null",
			own:       []string{bob + "  pts/1 true"}, others: []string{alice},
		},
		{
			name: "a daemon, by the audit session", self: 100, kind: SSH, leader: 100,
			processes: "100 1 100 - vmnet | /dev/null | sessionid=7\n65 50 65 - sshd | 651 | sessionid=7",
			sockets:   "651 tcp 192.0.2.10:22 198.51.100.9:50005",
			own:       []string{"tcp 198.51.100.9:50005 -> 192.0.2.10:22 (sshd[65])   true"}, others: []string{alice, bob},
		},
		{
			name: "a daemon, by its environment", self: 100, kind: SSH, leader: 100,
			processes: "100 1 100 - vmnet | /dev/null | SSH_CONNECTION=198.51.100.7,50001,192.0.2.10,22",
			own:       []string{alice + "   true"}, others: []string{bob},
		},
		{
			name: "an environment of a connection that is gone", self: 100, kind: None, leader: 100,
			processes: "100 1 100 - vmnet | /dev/null | SSH_CONNECTION=198.51.100.7,50099,192.0.2.10,22 sessionid=4294967295",
			others:    []string{alice, bob},
		},
		{
			name: "a terminal that was closed and given to another", self: 100, kind: None, leader: 100,
			processes: "100 1 100 - vmnet | /dev/pts/1(deleted)",
			others:    []string{alice, bob},
		},
		{
			name: "tmux with two clients, whose server remembers a third", self: 100, kind: SSH, leader: 62,
			processes: `
90 1 90 - tmux: server | /dev/null /dev/pts/0 /dev/pts/1 /dev/ptmx | SSH_CONNECTION=203.0.113.66,40000,192.0.2.10,22
91 90 91 pts/8 bash | /dev/pts/8
63 62 62 pts/0 tmux: client | /dev/pts/0
73 72 72 pts/1 tmux: client | /dev/pts/1
100 91 91 pts/8 vmnet`,
			own: []string{alice + " tmux pts/0 true", bob + " tmux pts/1 true"},
		},
		{
			name: "tmux in control mode, which draws nothing", self: 100, kind: SSH, leader: 72,
			processes: `
90 1 90 - tmux: server | /dev/null /dev/ptmx
91 90 91 pts/8 bash | /dev/pts/8
73 72 72 pts/1 tmux: client | /dev/pts/1
100 91 91 pts/8 vmnet`,
			own: []string{bob + " tmux pts/1 true"}, others: []string{alice},
		},
		{
			name: "screen under sudo", self: 100, kind: SSH, leader: 72,
			processes: `
90 1 90 - screen | /dev/null /dev/pts/1
91 90 91 pts/8 bash | /dev/pts/8
92 91 91 pts/8 sudo
73 72 72 pts/1 screen | /dev/pts/1
100 92 91 pts/8 vmnet`,
			own: []string{bob + " screen pts/1 true"}, others: []string{alice},
		},
		{
			name: "tmux that nobody is attached to", self: 100, kind: Terminal, leader: 91,
			processes: "90 1 90 - tmux: server | /dev/null\n91 90 91 pts/8 bash\n100 91 91 pts/8 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "mosh", self: 100, kind: SSH, leader: 91,
			processes: `
90 1 90 - mosh-server | 902 /dev/ptmx | SSH_CONNECTION=198.51.100.8,50003,192.0.2.10,22
91 90 91 pts/4 bash
100 91 91 pts/4 vmnet`,
			sockets: "902 udp 192.0.2.10:60001 *",
			own:     []string{"udp 198.51.100.8:0 -> 192.0.2.10:60001 (mosh-server[90])  pts/4 true"}, others: []string{alice, bob},
		},
		{
			name: "dropbear, with a forwarded port of the client's", self: 100, kind: SSH, leader: 91,
			processes: "89 1 89 - dropbear | 890\n90 89 89 - dropbear | 902 903 904\n91 90 90 - sh\n100 91 90 - vmnet",
			sockets: `
890 tcp 0.0.0.0:2222 *
902 tcp 192.0.2.10:2222 198.51.100.8:50003
903 tcp 127.0.0.1:8080 *
904 tcp 127.0.0.1:8080 127.0.0.1:45000`,
			own: []string{"tcp 198.51.100.8:50003 -> 192.0.2.10:2222 (dropbear[90])   true"}, others: []string{alice, bob},
		},
		{
			name: "ssh to oneself: both connections", self: 100, kind: SSH, leader: 96,
			processes: "93 62 62 pts/0 ssh | 930\n95 50 95 - sshd | 950\n96 95 96 pts/9 sh\n100 96 96 pts/9 vmnet",
			sockets:   "930 tcp 127.0.0.1:41000 127.0.0.1:22\n950 tcp 127.0.0.1:22 127.0.0.1:41000",
			own:       []string{"tcp 127.0.0.1:41000 -> 127.0.0.1:22 (sshd[95])  pts/9 true", alice + "  pts/0 true"}, others: []string{bob},
		},
		{
			name: "a terminal in the browser", self: 100, kind: SSH, leader: 91,
			processes: "90 1 90 - ttyd | 902 903\n91 90 91 pts/4 bash\n100 91 91 pts/4 vmnet",
			sockets:   "902 tcp 0.0.0.0:7681 *\n903 tcp 192.0.2.10:7681 198.51.100.8:50003",
			own:       []string{"tcp 198.51.100.8:50003 -> 192.0.2.10:7681 (ttyd[90])  pts/4 true"}, others: []string{alice, bob},
		},
		{
			name: "a job of a server with clients, without a terminal", self: 100, kind: None, leader: 91,
			processes: "90 1 90 - java | 902 903\n91 90 91 - sh\n100 91 91 - vmnet",
			sockets:   "902 tcp 0.0.0.0:8080 *\n903 tcp 192.0.2.10:8080 198.51.100.8:50003",
			others:    []string{alice, bob},
		},
		{
			name: "sshd of another network", self: 100, kind: SSH, leader: 96,
			processes: "95 50 95 - sshd | 999 | net=other\n96 95 96 pts/9 sh\n100 96 96 pts/9 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "sshd that nobody listens for any more", self: 100, kind: SSH, leader: 96,
			processes: "95 1 95 - sshd | 952 951\n96 95 96 pts/9 sh\n100 96 96 pts/9 vmnet",
			sockets:   "951 tcp 192.0.2.10:2200 198.51.100.8:50003\n952 tcp 192.0.2.10:45000 198.51.100.8:443",
			own:       []string{"tcp 198.51.100.8:50003 -> 192.0.2.10:2200 (sshd[95])  pts/9 true"}, others: []string{alice, bob},
		},
		{
			name: "an ordinary user, who sees no sockets of sshd", self: 100, kind: SSH, leader: 96,
			processes: "95 50 95 - sshd | denied\n96 95 96 pts/9 sh | | SSH_CONNECTION=198.51.100.8,50003,192.0.2.10,22\n100 96 96 pts/9 vmnet",
			sockets:   "951 tcp 192.0.2.10:22 198.51.100.8:50003",
			own:       []string{"tcp 198.51.100.8:50003 -> 192.0.2.10:22 (sshd[95])  pts/9 false"},
			others:    []string{alice, bob},
		},
		{
			name: "tailscale ends connections itself", self: 100, kind: SSH, leader: 96,
			processes: "95 1 95 - tailscaled | 951\n96 95 96 pts/9 sh | | SSH_CONNECTION=100.64.0.7,50003,100.64.0.1,22\n100 96 96 pts/9 vmnet",
			sockets:   "951 tcp 192.0.2.10:45000 198.51.100.8:443",
			own:       []string{"tcp 100.64.0.7:50003 -> 100.64.0.1:22 (tailscaled[95])  pts/9 false"}, others: []string{alice, bob},
		},
		{
			name: "an orphan below the sshd of a container", self: 100, kind: None, leader: 100,
			processes: "100 50 100 - vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "a connection that is being closed", self: 100, kind: SSH, leader: 96,
			processes: "95 50 95 - sshd | 950\n96 95 96 pts/9 sh\n100 96 96 pts/9 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "console", self: 100, kind: Console, leader: 91,
			processes: "90 1 90 - login\n91 90 91 tty1 bash\n100 91 91 tty1 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "serial console, in tmux", self: 100, kind: Console, leader: 92,
			processes: "91 1 91 ttyS0 bash\n93 91 91 ttyS0 tmux: client\n90 1 90 - tmux: server | /dev/ttyS0\n92 90 92 pts/8 sh\n100 92 92 pts/8 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "container exec", self: 100, kind: Terminal, leader: 91,
			processes: "91 0 91 pts/30 sh\n100 91 91 pts/30 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "a terminal that has the number of one in a container", self: 100, kind: Terminal, leader: 91,
			processes: "95 1 95 pts/30 sh | | net=other\n91 1 91 pts/30 sh\n100 91 91 pts/30 vmnet",
			others:    []string{alice, bob},
		},
		{
			name: "cron", self: 100, kind: None, leader: 91,
			processes: "89 1 89 - cron\n90 89 89 - cron\n91 90 91 - sh\n100 91 91 - vmnet",
			others:    []string{alice, bob},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := host{twoLogins + c.processes, twoSockets + c.sockets, c.self}.make(t)
			who, err := h.Find(t.Context())
			must(t, err)
			var own, others []string
			for _, s := range who.Sessions {
				if s.Own {
					own = append(own, strings.Join([]string{s.String(), s.Via, s.TTY, fmt.Sprint(s.Certain)}, " "))
				} else {
					others = append(others, s.String())
				}
			}
			slices.Sort(others)
			slices.Sort(c.others)
			if !slices.Equal(own, c.own) || !slices.Equal(others, c.others) {
				t.Errorf("own    %q\nwant   %q\nothers %q\nwant   %q", own, c.own, others, c.others)
			}
			l := who.Login
			if strings.HasPrefix(l.From, "127.") {
				t.Errorf("from %s", l.From)
			}
			if l.Kind != c.kind || l.Leader.PID != c.leader || len(l.Sessions) != len(own) {
				t.Errorf("kind %s, leader %d, want %s, %d (%+v)", l.Kind, l.Leader.PID, c.kind, c.leader, l)
			}
			if !l.Same(throughJSON(t, l)) {
				t.Errorf("not the same as itself: %+v", l)
			}
		})
	}
}

func throughJSON(t *testing.T, l Login) Login {
	t.Helper()
	b, err := json.Marshal(l)
	must(t, err)
	var back Login
	must(t, json.Unmarshal(b, &back))
	return back
}

// TestSame: two views of one login are the same, those of two are not.
func TestSame(t *testing.T) {
	t.Parallel()
	view := func(self int, more string) Login {
		who, err := host{twoLogins + more, twoSockets, self}.make(t).Find(t.Context())
		must(t, err)
		return throughJSON(t, who.Login)
	}
	multiplexer := `
90 1 90 - tmux: server | /dev/null /dev/pts/1
91 90 91 pts/8 bash | /dev/pts/8
73 72 72 pts/1 tmux: client | /dev/pts/1
100 91 91 pts/8 vmnet`
	ofAlice, ofBob := view(100, "100 62 62 pts/0 vmnet"), view(100, "100 72 72 pts/1 vmnet")
	console := view(100, "90 1 90 tty1 bash\n100 90 90 tty1 vmnet")
	for _, c := range []struct {
		name string
		a, b Login
		same bool
	}{
		{"two commands of one", ofAlice, view(101, "101 62 62 pts/0 vmnet"), true},
		{"under sudo, with another terminal", ofBob, view(100, "98 72 72 pts/1 sudo\n99 98 99 pts/5 sudo\n100 99 99 pts/5 vmnet"), true},
		{"another login", ofAlice, ofBob, false},
		{"in a tmux attached from here", ofBob, view(100, multiplexer), true},
		{"in a tmux attached from elsewhere", ofAlice, view(100, multiplexer), false},
		{"by the environment alone", ofAlice, view(100, "100 1 100 - vmnet | | SSH_CONNECTION=198.51.100.7,50001,192.0.2.10,22"), true},
		{"console and ssh", console, ofAlice, false},
		{"one console", console, view(101, "90 1 90 tty1 bash\n92 90 90 tty1 sudo\n93 92 93 pts/7 sudo\n101 93 93 pts/7 vmnet"), true},
		{"two consoles", console, view(100, "91 1 91 tty2 bash\n100 91 91 tty2 vmnet"), false},
		{"two jobs of cron", view(100, "89 1 89 - cron\n91 89 91 - sh\n100 91 91 - vmnet"), view(100, "89 1 89 - cron\n92 89 92 - sh\n100 92 92 - vmnet"), false},
		{"one audit session", view(100, "100 1 100 - vmnet | | sessionid=9"), view(101, "101 1 101 - vmnet | | sessionid=9"), true},
		{"one session whose leader has ended", view(100, "98 1 70 - sh\n100 98 70 - vmnet"), view(101, "98 1 70 - sh\n101 98 70 - vmnet"), true},
		{"two sessions whose leaders have ended", view(100, "98 1 70 - sh\n100 98 70 - vmnet"), view(101, "98 1 71 - sh\n101 98 71 - vmnet"), false},
		{"nothing is known of either", Login{}, Login{Kind: None}, true},
	} {
		if got := c.a.Same(c.b); got != c.same || c.b.Same(c.a) != c.same {
			t.Errorf("%s: same %v, want %v\n%+v\n%+v", c.name, got, c.same, c.a, c.b)
		}
	}
}
