package torture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// patience is how long anything may take on a slow machine with much to do: whatever takes longer blocks.
const patience = 2 * time.Minute

// trial is a host of its own with a configuration, and all that is known of it before.
type trial struct {
	*testing.T
	root, run, config string // files of the host, what vmnet keeps, and the file
	host              *providers.Host
	before            *schema.State
	looked            prints
	measured          int // how long the head of a journal is, once known
}

// try makes a scene real and runs fn in it, on the thread of the new host.
func try(t *testing.T, s scene, fn func(*trial)) {
	t.Helper()
	world.InNewHost(t, func() {
		dir := t.TempDir()
		x := &trial{T: t, root: filepath.Join(dir, "root"), run: filepath.Join(dir, "run"), config: filepath.Join(dir, "host.vmnet.hcl")}
		x.must(os.Mkdir(x.root, 0o755))
		x.sh(s.host)
		x.earlier(s.earlier)
		x.must(os.WriteFile(x.config, []byte(s.config), 0o600))
		h, err := providers.Open(providers.Options{FileRoot: x.root})
		x.must(err)
		defer func() { _ = h.Close() }() // the host is gone anyway
		x.host = h
		defer x.reap()
		x.remember()
		fn(x)
	})
}

// earlier is a vmnet that was here before, and whose history is forgotten.
func (x *trial) earlier(config string) {
	x.Helper()
	if config == "" {
		return
	}
	x.must(os.WriteFile(x.config, []byte(config), 0o600))
	if code, out := x.vmnet("apply", x.config, "--auto-approve", "--confirm", "none"); code != 0 && code != 8 && code != 5 { // refused: as good as never
		x.Fatalf("an earlier apply: code %d\n%s\n%s", code, out, config)
	}
	x.quiet()
	x.must(os.RemoveAll(x.run))
}

// remember takes the host as it is for how it was.
func (x *trial) remember() {
	x.Helper()
	x.before, x.looked = x.read(), look(x.T, x.root)
}

func (x *trial) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *trial) read() *schema.State {
	x.Helper()
	s, err := x.host.Read(x.Context())
	x.must(err)
	return s
}

func (x *trial) sh(script string) {
	x.Helper()
	cmd := exec.CommandContext(x.Context(), "sh", "-c", script)
	cmd.Env = append(cmd.Environ(), "ROOT="+x.root)
	if out, err := cmd.CombinedOutput(); err != nil {
		x.Fatalf("%v\n%s\n%s", err, out, script)
	}
}

// changed says in what the host is not as it was: as vmnet reads it, and as everybody's tools show it.
func (x *trial) changed() []string {
	x.Helper()
	return lasting(append(schema.Diff(x.before, x.read()), x.looked.differ(look(x.T, x.root))...))
}

// lasting leaves out what the kernel makes and unmakes by itself as a link gains and loses its carrier, and the copies that
// are kept of rule files before they are changed.
func lasting(diff []string) (out []string) {
	for _, d := range diff {
		if !strings.Contains(d, " fe80:") && !strings.Contains(d, " ff00:") && !strings.Contains(d, ".vmnet-") {
			out = append(out, d)
		}
	}
	return out
}

// vmnet is a vmnet that runs.
type vmnet struct {
	cmd    *exec.Cmd
	out    *bytes.Buffer // both outputs
	doc    *bytes.Buffer // standard output alone
	ended  chan struct{}
	killed bool
}

func (x *trial) start(args ...string) *vmnet {
	x.Helper()
	return x.begin(exec.Command(program(), args...), func(*exec.Cmd) {})
}

func (x *trial) begin(cmd *exec.Cmd, with func(*exec.Cmd)) *vmnet {
	x.Helper()
	v := &vmnet{cmd: cmd, out: &bytes.Buffer{}, doc: &bytes.Buffer{}, ended: make(chan struct{})}
	v.cmd.Env = append(os.Environ(), "VMNET_RUNTIME_DIR="+x.run, "VMNET_FILE_ROOT="+x.root)
	both := &shared{to: v.out}
	v.cmd.Stdout, v.cmd.Stderr = io.MultiWriter(both, v.doc), both
	v.cmd.WaitDelay = time.Second
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	with(cmd)
	x.must(v.cmd.Start())
	go func() {
		defer close(v.ended)
		_ = v.cmd.Wait() // its state is asked
	}()
	return v
}

// code waits for the end; -1 for one that was killed.
func (x *trial) code(v *vmnet) int {
	x.Helper()
	select {
	case <-v.ended:
	case <-time.After(patience):
		x.Fatalf("%s blocks", strings.Join(v.cmd.Args[1:], " "))
	}
	return v.cmd.ProcessState.ExitCode()
}

// shared is written to by two goroutines.
type shared struct {
	mutex sync.Mutex
	to    io.Writer
}

// Write writes one at a time.
func (s *shared) Write(b []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.to.Write(b)
}

// json runs a command to its end; out is standard output alone.
func (x *trial) json(args ...string) (code int, out string) {
	x.Helper()
	v := x.start(args...)
	code = x.code(v)
	return code, v.doc.String()
}

// vmnet runs a command to its end.
func (x *trial) vmnet(args ...string) (code int, out string) {
	x.Helper()
	v := x.start(args...)
	code = x.code(v)
	return code, v.out.String()
}

// ours are the processes that have to do with this trial: their command lines name its folder.
func (x *trial) ours() (pids []int) {
	x.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	x.must(err)
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(filepath.Dir(x.run)+"/")) || !bytes.Contains(b, []byte("vmnet")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// quiet waits until none of them is left.
func (x *trial) quiet() {
	x.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids := x.ours()
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			x.Fatalf("still there: %v\n%s", pids, x.journals())
		}
	}
}

// reap ends what a failed trial left.
func (x *trial) reap() {
	for _, pid := range x.ours() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
}

// line is a record of a journal, as it is documented by its text: this judge shares no code with what it judges.
type line struct {
	Type   string             `json:"type"`
	Step   int                `json:"step"`
	By     *struct{ PID int } `json:"by"`
	Result string             `json:"result"`
	Error  string             `json:"error"`
}

// follower reads the journal of the change under way.
type follower struct {
	dir  string
	file *os.File
	rest []byte
	seen []line
}

func (x *trial) follow() *follower { return &follower{dir: filepath.Join(x.run, "state", "changes")} }

// next is the records that came since it was asked last.
func (f *follower) next() (fresh []line) {
	if f.file == nil {
		list, _ := filepath.Glob(f.dir + "/*.jsonl")
		if len(list) == 0 {
			return nil
		}
		f.file, _ = os.Open(list[0])
		if f.file == nil {
			return nil
		}
	}
	b, _ := io.ReadAll(f.file)
	f.rest = append(f.rest, b...)
	for {
		text, rest, ok := bytes.Cut(f.rest, []byte("\n"))
		if !ok {
			break
		}
		f.rest = rest
		var l line
		if json.Unmarshal(text, &l) == nil {
			fresh = append(fresh, l)
		}
	}
	f.seen = append(f.seen, fresh...)
	return fresh
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close() // nothing was written
	}
}

// dog is the watchdog that was armed last; 0 for none.
func (f *follower) dog() int {
	pid := 0
	for _, l := range f.seen {
		if l.Type == "armed" && l.By != nil {
			pid = l.By.PID
		}
	}
	return pid
}

// open are the journals of changes that have not ended.
func (x *trial) open() []string {
	list, _ := filepath.Glob(filepath.Join(x.run, "state", "changes", "*.jsonl"))
	return list
}

// journals is what all journals say but the plan, for a failure.
func (x *trial) journals() string {
	var b strings.Builder
	for _, dir := range []string{"changes", "history"} {
		list, _ := filepath.Glob(filepath.Join(x.run, "state", dir, "*.jsonl"))
		for _, path := range list {
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&b, "%s:\n", path)
			for l := range strings.Lines(string(text)) {
				fmt.Fprintf(&b, "  %.700s\n", strings.TrimSpace(l))
			}
		}
	}
	return b.String()
}

// history is the result of each change, the newest first.
func (x *trial) history() (results []string) {
	x.Helper()
	var doc struct {
		Changes []struct{ Phase, Result string }
	}
	code, out := x.json("history", "--json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 {
		x.Fatalf("history --json: code %d, %v\n%s", code, err, out)
	}
	for _, c := range doc.Changes {
		results = append(results, c.Result)
	}
	return results
}

// steps is how many steps a new plan has.
func (x *trial) steps() int {
	x.Helper()
	code, out := x.json("plan", x.config, "--json")
	var doc struct {
		Steps []json.RawMessage `json:"resource_changes"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		x.Fatalf("plan: code %d, %v\n%s", code, err, out)
	}
	return len(doc.Steps)
}

// errMissed says that the change was over before its moment came.
var errMissed = errors.New("missed")
