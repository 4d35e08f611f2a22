package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/config"
)

// sources are the flags that say what is wanted and what is there.
type sources struct {
	vars, varFiles []string
	live           string
}

func (s *sources) register(f *pflag.FlagSet) {
	f.StringArrayVar(&s.vars, "var", nil, "set a variable: name=value")
	f.StringArrayVar(&s.varFiles, "var-file", nil, "read variables from a file")
}

func (s *sources) registerLive(f *pflag.FlagSet) {
	s.register(f)
	f.StringVar(&s.live, "live", "", "plan against this snapshot instead of the kernel")
}

// load reads a configuration. Warnings go to standard error; errors end the command with all diagnostics told, as JSON on
// standard output where that was asked for.
func (a *app) load(path string, s *sources, asJSON bool) (*config.Result, error) {
	r, diags := config.Load(path, config.Options{Vars: s.vars, VarFiles: s.varFiles, Environ: a.environ, Stdin: a.in, Version: version})
	return r, a.diagnose(diags, r.Files, asJSON)
}

func (a *app) diagnose(diags hcl.Diagnostics, files map[string]*hcl.File, asJSON bool) error {
	if len(diags) == 0 {
		return nil
	}
	if !diags.HasErrors() || !asJSON {
		a.errText(view.Diagnostics(diags, files, a.view(a.err)))
	}
	if !diags.HasErrors() {
		return nil
	}
	if asJSON {
		if err := a.outJSON(view.DiagnosticsJSON(diags, files)); err != nil {
			return err
		}
	}
	return ended(exitConfig)
}

// observation is what was seen, of whom, and how long it took.
type observation struct {
	state *schema.State
	host  plan.HostInfo
	took  time.Duration
	real  *providers.Host // nil for a snapshot
	// sessions are the connections over which people are logged in; none for a snapshot.
	sessions []schema.Session
	// unknown is why sessions could not be found out, "" where they could.
	unknown string
}

func (o *observation) Close() {
	if o.real != nil {
		_ = o.real.Close() // nothing was left to write
	}
}

// observe reads the host, or the snapshot given by --live. desired may be nil.
func (a *app) observe(ctx context.Context, live string, desired *schema.Desired) (*observation, error) {
	if live != "" {
		s, err := a.readSnapshot(live)
		if err != nil {
			return nil, err
		}
		return &observation{state: s, host: plan.HostInfo{Name: "snapshot " + live}}, nil
	}
	a.notice()
	h, err := a.openHost(desired)
	if err != nil {
		return nil, err
	}
	o := &observation{host: hostInfo(), real: h}
	start := time.Now()
	if o.state, err = h.Read(ctx); err != nil {
		o.Close()
		return nil, fmt.Errorf("read host: %w", err)
	}
	o.took = time.Since(start)
	o.sessions, o.unknown = a.here(ctx).Sessions, a.unknown
	return o, nil
}

// notice tells whoever looks at the host of a change that is under way, or was left half done. Who may not look there has made none.
func (a *app) notice() {
	if e, err := a.dirs().Pending(); err == nil {
		a.errText(view.Notice(e, a.view(a.err)))
	}
}

// openHost opens the host, told which settings the file speaks of.
func (a *app) openHost(desired *schema.Desired) (*providers.Host, error) {
	var o providers.Options
	if desired != nil {
		for _, r := range desired.State.Refs(schema.KindSysctl) {
			o.Sysctls = append(o.Sysctls, r.Name)
		}
	}
	// Whose sockets are in the way of a server is worth a look at every process.
	serves := desired != nil && len(desired.State.Refs(schema.KindService)) > 0
	o.FileRoot, o.Processes = a.env("VMNET_FILE_ROOT"), a.processes || serves
	h, err := providers.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open host: %w", err)
	}
	return h, nil
}

func (a *app) readSnapshot(path string) (*schema.State, error) {
	b, err := a.readFile(path)
	if err != nil {
		return nil, usage(fmt.Errorf("read snapshot: %w", err))
	}
	if apply.IsPlan(b) {
		return nil, usage(fmt.Errorf("read snapshot %s: that is a plan, not a snapshot; vmnet show renders it", path))
	}
	s := schema.NewState()
	if err := json.Unmarshal(b, s); err != nil {
		return nil, usage(fmt.Errorf("read snapshot %s: %w", path, err))
	}
	return s, nil
}

// readFile reads a file, or standard input for "-".
func (a *app) readFile(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(a.in)
	}
	return os.ReadFile(path)
}

// hostInfo says which host this is, and which boot of it. Machine ids are not for show: only their hash leaves the host
// (machine-id(5)).
func hostInfo() plan.HostInfo {
	h := plan.HostInfo{BootID: readLine("/proc/sys/kernel/random/boot_id"), Kernel: readLine("/proc/sys/kernel/osrelease")}
	h.Name, _ = os.Hostname()
	id := readLine("/etc/machine-id")
	if id == "" {
		id = "no machine-id, named " + h.Name // a container; the boot id still tells it from most others
	}
	sum := sha256.Sum256([]byte(id))
	h.MachineID = hex.EncodeToString(sum[:])
	return h
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// makePlan plans, and stamps on the plan what only the command knows.
func makePlan(o *observation, desired *schema.Desired, path string, resets []string) (*plan.Plan, error) {
	p, err := plan.New(o.state, desired, plan.Options{Resets: resets, Sessions: o.sessions, SessionsUnknown: o.unknown, Now: time.Now().UTC(), ID: newID(), Version: version})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.Host = o.host
	p.Configuration.Path = path
	p.Observation.Millis = o.took.Milliseconds()
	return p, nil
}

// isTerminal tells whether a person sits at the other end.
func isTerminal(r any) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// isDir is true for a directory that is there.
func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
