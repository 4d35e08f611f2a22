package torture_test

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// journald is the socket of the host's journal, and what was written to it.
type journald struct {
	mutex   sync.Mutex
	entries []map[string]string
}

// listen stands in for systemd-journald, whose protocol is one datagram an entry, "FIELD=value" a line (Native Journal
// Protocol, systemd.io).
func listen(x *trial) *journald {
	x.Helper()
	const dir = "/run/systemd/journal" // the host's own
	x.must(os.MkdirAll(dir, 0o755))
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/socket", Net: "unixgram"})
	x.must(err)
	x.Cleanup(func() { _ = c.Close() }) // it goes with the host
	j := &journald{}
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			j.take(string(b[:n]))
		}
	}()
	return j
}

func (j *journald) take(datagram string) {
	e := map[string]string{}
	for line := range strings.Lines(datagram) {
		if field, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			e[field] = value
		}
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.entries = append(j.entries, e)
}

// of lists what was written about a change.
func (j *journald) of(id string) (out []map[string]string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for _, e := range j.entries {
		if e["VMNET_PLAN_ID"] == id {
			out = append(out, e)
		}
	}
	return out
}

// TestJournald: the host's journal says what was done, by whom and how it ended, also where only the watchdog was left to
// say it.
func TestJournald(t *testing.T) {
	t.Parallel()
	try(t, plain(), func(x *trial) {
		j := listen(x)
		code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "1s", "--detach")
		if code != 0 || len(x.open()) != 1 {
			x.Fatalf("apply: code %d\n%s", code, out)
		}
		x.quiet()
		_, out, _ = strings.Cut(out, "vmnet confirm ")
		id := strings.Fields(out)[0]
		for _, want := range []map[string]string{
			{"VMNET_ACTION": "apply", "VMNET_RESULT": "unconfirmed", "VMNET_WHO": "root", "PRIORITY": "5"},
			{"VMNET_ACTION": "watchdog", "VMNET_RESULT": "rolled back"},
		} {
			j.wants(x, id, want)
		}
	})
}

// wants waits for an entry: the reader may be a moment behind.
func (j *journald) wants(x *trial, id string, want map[string]string) {
	x.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, e := range j.of(id) {
			fits := e["MESSAGE"] != ""
			for field, value := range want {
				fits = fits && e[field] == value
			}
			if fits {
				return
			}
		}
	}
	x.Errorf("no entry %v of change %s in %v", want, id, j.of(id))
}
