package torture_test

import (
	"fmt"
	"syscall"
	"time"
)

// moment is when something happens to a change that is being made, and what.
type moment struct {
	record string        // of the journal after which it happens; "" for a random time after the start
	nth    int           // which of them
	wait   time.Duration // after that
	what   blow
	wait1s bool // the change waits for a confirmation, which never comes
}

func (m moment) String() string {
	return fmt.Sprintf("%s at %s %d + %v (waits: %t)", m.what.name, m.record, m.nth, m.wait, m.wait1s)
}

// blow is what happens.
type blow struct {
	name string
	hit  func(x *trial, v *vmnet, f *follower)
	// foreign are the beginnings of what is different then, by somebody else's hand; none for a blow to ourselves.
	foreign []string
}

func signals(of ...syscall.Signal) func(*trial, *vmnet, *follower) {
	return func(_ *trial, v *vmnet, _ *follower) {
		for i, s := range of {
			if i > 0 {
				time.Sleep(3 * time.Millisecond)
			}
			if s == syscall.SIGKILL {
				v.killed = true
			}
			_ = v.cmd.Process.Signal(s) // it may have ended
		}
		v.killed = v.killed || len(of) > 1 // it leaves the rest to the watchdog, and its code says so
	}
}

func killDog(_ *trial, _ *vmnet, f *follower) {
	if pid := f.dog(); pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

func killBoth(x *trial, v *vmnet, f *follower) {
	killDog(x, v, f)
	signals(syscall.SIGKILL)(x, v, f)
}

// killUndo kills the program, waits for its watchdog to begin to take back, and kills that too.
func killUndo(x *trial, v *vmnet, f *follower) {
	signals(syscall.SIGKILL)(x, v, f)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		for _, l := range f.next() {
			if l.Type == "undo" || l.Type == "undone" || l.Type == "rollback" {
				killDog(x, v, f)
				return
			}
		}
	}
}

func foreign(script string) func(*trial, *vmnet, *follower) {
	return func(x *trial, _ *vmnet, _ *follower) { x.sh(script + " 2>/dev/null || true") }
}

// blows to ourselves: afterwards the host is exactly as before, or exactly as planned.
func blows() []blow {
	return []blow{
		{name: "kill -9 the program", hit: signals(syscall.SIGKILL)},
		{name: "kill -9 the watchdog", hit: killDog},
		{name: "kill -9 both", hit: killBoth},
		{name: "kill -9 both", hit: killBoth},
		{name: "kill -9 the program, then the watchdog that undoes", hit: killUndo},
		{name: "SIGHUP", hit: signals(syscall.SIGHUP)},
		{name: "SIGTERM", hit: signals(syscall.SIGTERM)},
		{name: "SIGINT", hit: signals(syscall.SIGINT)},
		{name: "SIGINT twice", hit: signals(syscall.SIGINT, syscall.SIGINT)},
		{name: "SIGTERM, then kill -9", hit: signals(syscall.SIGTERM, syscall.SIGKILL)},
	}
}

// others are blows to the ground that it stands on.
func others() []blow {
	return []blow{
		{"nft flush ruleset", foreign("nft flush ruleset"), []string{"rules", "table/", "nftrule/", "xtable/", "xrule/", "rule/"}},
		{"a foreign link is deleted", foreign("ip link delete dum9"), []string{"dum9", "far9", "198.51.100."}},
		{"the bridge is deleted", foreign("ip link delete virbr-lab"), []string{"virbr-lab", "10.20.0.", "vnet3"}},
		{"the port of the guest is deleted", foreign("ip link delete vnet3"), []string{"vnet3", "db1"}},
		{"an address is added", foreign("ip address add 198.51.100.77/32 dev eno1"), []string{"198.51.100.77"}},
		{"a setting is changed", foreign("echo 1 >/proc/sys/net/ipv4/ip_forward"), []string{"forward"}},
	}
}

// draw chooses a moment: mostly at a boundary of a step, a little after it, for that is where things are half done.
func draw(r random) moment {
	m := moment{nth: 1, what: pick(r, blows()...), wait1s: r.IntN(4) == 0}
	if r.IntN(4) == 0 {
		m.what = pick(r, others()...)
	}
	switch r.IntN(20) {
	case 0:
		m.wait = time.Duration(r.IntN(1000)) * time.Millisecond
	case 1:
		m.record = "armed"
	case 2:
		m.record = "change"
	case 3, 4:
		m.record, m.nth = "done", 1+r.IntN(12)
		m.wait = time.Duration(r.IntN(250)) * time.Millisecond // while it is verified
	case 5, 6, 7:
		m.record, m.nth = "done", 1+r.IntN(12)
	case 8:
		m.record = "wait"
		m.wait1s = true
	default:
		m.record, m.nth = "begin", 1+r.IntN(12)
		m.wait = time.Duration(r.IntN(400)) * time.Microsecond
	}
	return m
}

// await comes back when the moment has come; errMissed when the program has ended before.
func (m moment) await(v *vmnet, f *follower) error {
	if m.record == "" {
		select {
		case <-v.ended:
			return errMissed
		case <-time.After(m.wait):
		}
		f.next()
		return nil
	}
	for n, spins := 0, 0; ; {
		for _, l := range f.next() {
			spins = 0
			if l.Type == m.record {
				n++
			}
			if n == m.nth {
				return m.spin(f)
			}
		}
		select {
		case <-v.ended:
			return errMissed
		default:
		}
		if f.file == nil {
			time.Sleep(time.Millisecond) // long before the first step
		} else if spins++; spins > 2000 {
			time.Sleep(100 * time.Microsecond) // between the steps and the end
		}
	}
}

// spin waits: nobody wakes up in time from a sleep that short.
func (m moment) spin(f *follower) error {
	for end := time.Now().Add(m.wait); time.Now().Before(end); {
		if m.wait > time.Millisecond {
			time.Sleep(100 * time.Microsecond)
		}
	}
	f.next()
	return nil
}
