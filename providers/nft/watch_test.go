package nft

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

func TestWatch(t *testing.T) {
	newNamespace(t)
	p := open(t)
	if w, complete := p.Writers(0); len(w) > 0 || complete {
		t.Errorf("before the watch: %v, complete %t", w, complete)
	}
	if err := p.Watch(); err != nil {
		t.Fatal(err)
	}
	read(t, p)
	start := p.Generation()
	run(t, "add table ip a\nadd chain ip a c\nadd table ip6 b\n", "nft", "-f", "-")
	do(t, p, nil, &schema.Table{Family: "inet", Name: "vmnet"})
	run(t, "", "nft", "add", "rule", "ip", "a", "c", "tcp dport 22 drop")

	w, complete := p.Writers(start)
	if len(w) != 3 || !complete {
		t.Fatalf("%d writers, complete %t: %v", len(w), complete, w)
	}
	for i, want := range []struct {
		name   string
		own    bool
		tables []schema.Ref
	}{
		{"nft", false, []schema.Ref{schema.TableRef("ip", "a"), schema.TableRef("ip6", "b")}},
		{"", true, []schema.Ref{schema.TableRef("inet", "vmnet")}},
		{"nft", false, []schema.Ref{schema.TableRef("ip", "a")}},
	} {
		if want.name != "" && w[i].Name != want.name || w[i].Own != want.own || !slices.Equal(w[i].Tables, want.tables) || w[i].PID == 0 || w[i].Gen != start+uint32(i)+1 {
			t.Errorf("%d: %+v, want %+v", i, w[i], want)
		}
	}
	if late, complete := p.Writers(start + 2); len(late) != 1 || !complete {
		t.Errorf("since the second: %v, %t", late, complete)
	}
	if last, ok := schema.LastWriter(w, schema.TableRef("ip6", "b")); !ok || last.Gen != start+1 {
		t.Errorf("last writer of ip6 b: %+v, %t", last, ok)
	}
	if _, ok := schema.LastWriter(w, schema.TableRef("inet", "vmnet")); ok {
		t.Error("our own transaction counts as another's")
	}
}

// A batch of many messages is not listened to, and still accounted for.
func TestWatchOfOwnLargeBatch(t *testing.T) {
	newNamespace(t)
	p := open(t)
	if err := p.Watch(); err != nil {
		t.Fatal(err)
	}
	read(t, p)
	start := p.Generation()
	do(t, p, nil, largeTable(2000, 10))
	run(t, "", "nft", "add", "table", "ip", "a")
	w, complete := p.Writers(start)
	if len(w) != 2 || !complete || !w[0].Own || w[1].Own || w[1].Name != "nft" {
		t.Errorf("complete %t: %v", complete, w)
	}
}

// More than the watch remembers, and more than its socket holds, is said to be incomplete.
func TestWatchLosesMessages(t *testing.T) {
	newNamespace(t)
	p := open(t)
	if err := p.Watch(); err != nil {
		t.Fatal(err)
	}
	read(t, p)
	start := p.Generation()
	if err := p.watch.sock.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rules, "add table ip t%d\n", i)
	}
	p.watch.mu.Lock() // nobody reads meanwhile
	run(t, rules.String(), "nft", "-f", "-")
	p.watch.mu.Unlock()
	run(t, "", "nft", "add", "table", "ip", "late")
	w, complete := p.Writers(start)
	if complete {
		t.Errorf("complete, though messages were lost: %v", w)
	}
	if len(read(t, p).Refs(schema.KindTable)) != 201 {
		t.Error("a read suffers from what the watch lost")
	}
}

// restless starts a process that runs an nft command a hundred times a second or so.
func restless(t *testing.T, commands ...string) (pid int) {
	t.Helper()
	loop := "while :; do " + strings.Join(commands, "; ") + "; sleep 0.005; done"
	cmd := exec.Command("/bin/sh", "-c", loop)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// awaitWriter waits until the other process has begun.
func awaitWriter(t *testing.T, p *Provider) {
	t.Helper()
	for began := time.Now(); p.byAnyone() == ""; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the other process writes nothing")
		}
	}
}

// steps makes fifty changes of a large table, the smallest being hundreds of rules, and returns the first error.
func steps(t *testing.T, p *Provider) error {
	t.Helper()
	for i := range 50 {
		want := largeTable(300+i, 10)
		before := read(t, p).Get(want.Ref())
		if err := p.Do(t.Context(), schema.Change{Ref: want.Ref(), Before: before, After: want}); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// Somebody who rewrites another table a hundred times a second is in nobody's way.
func TestAgainstRestlessWriterOfAnotherTable(t *testing.T) {
	newNamespace(t)
	p := open(t)
	run(t, "add table ip busy\nadd chain ip busy c\n", "nft", "-f", "-")
	if err := p.Watch(); err != nil {
		t.Fatal(err)
	}
	restless(t, "nft 'flush chain ip busy c; add rule ip busy c tcp dport 1 drop'")
	awaitWriter(t, p)
	const enough = 20
	wrote, changes := 0, 0
	for began := time.Now(); wrote < enough; changes += 50 {
		read(t, p)
		start := p.Generation()
		if err := steps(t, p); err != nil {
			t.Fatal(err)
		}
		writers, _ := p.Writers(start)
		for _, w := range writers {
			if !w.Own {
				wrote++
			}
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("the other process wrote only %d times in a minute: this proves nothing", wrote)
		}
	}
	t.Logf("%d steps, while the other process wrote %d times", changes, wrote)
}

// Somebody who rewrites the very table is named.
func TestAgainstRestlessWriterOfTheTable(t *testing.T) {
	newNamespace(t)
	p := open(t)
	if err := p.Watch(); err != nil {
		t.Fatal(err)
	}
	run(t, "add table inet vmnet\nadd chain inet vmnet foreign\n", "nft", "-f", "-")
	restless(t, "nft 'flush chain inet vmnet foreign; add rule inet vmnet foreign tcp dport 1 drop' 2>/dev/null", "nft add chain inet vmnet foreign 2>/dev/null")
	awaitWriter(t, p)
	err := steps(t, p)
	if err == nil || !strings.Contains(err.Error(), ", last changed by nft (pid ") {
		t.Errorf("steps against a writer of the table: %v", err)
	}
	if !errors.Is(err, errStale) && !changedByOthers(err) && !strings.Contains(err.Error(), "tried 5 times") {
		t.Errorf("the reason is lost: %v", err)
	}
}
