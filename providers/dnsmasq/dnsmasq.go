package dnsmasq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Where the servers of a host are kept.
const (
	runDir   = "/run/vmnet/dnsmasq"
	stateDir = "/var/lib/vmnet/dnsmasq"
)

// Provider reads and runs the servers of the network namespace of the calling thread.
type Provider struct {
	root string
}

// New returns a Provider with root in front of every path; "" for none.
func New(root string) *Provider { return &Provider{root: root} }

// Kinds lists what this provider speaks for.
func (*Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindService} }

// place is where one server is kept.
type place struct {
	device string
	dir    string // of its configuration
	leases string
	// namespace is the network namespace that it is for: the directory is the same for all.
	namespace string
}

func (p *Provider) place(device string) place {
	namespace, _ := os.Readlink("/proc/thread-self/ns/net") // "" says nothing, and fits every server
	return place{
		device: device, dir: filepath.Join(p.root, runDir, device), leases: filepath.Join(p.root, stateDir, device+".leases"),
		namespace: namespace,
	}
}

func (l place) conf() string         { return filepath.Join(l.dir, "dnsmasq.conf") }
func (l place) reservations() string { return filepath.Join(l.dir, "reservations") }
func (l place) names() string        { return filepath.Join(l.dir, "names") }
func (l place) pid(sum string) string {
	return filepath.Join(l.dir, sum+".pid")
}

// formerLeases are kept from before a server was made, for the case that it is taken back.
func (l place) formerLeases() string { return l.leases + ".before" }

// Read returns the servers, in whichever state they are.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	entries, err := os.ReadDir(filepath.Join(p.root, runDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read servers: %w", err)
	}
	var all []schema.Object
	look := &look{}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := p.read(p.place(e.Name()), look)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", schema.DnsmasqRef(e.Name()), err)
		}
		if d != nil {
			all = append(all, d)
		}
	}
	return all, nil
}

// read is one server; nil for none.
func (p *Provider) read(l place, look *look) (*schema.Dnsmasq, error) {
	t, err := l.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if l.elsewhere(t) {
		return nil, nil
	}
	d := parse(l, t)
	if d.DHCP != nil && d.DHCP.Checksums {
		left, err := leavesChecksums(l.device)
		d.DHCP.Checksums = err == nil && !left
	}
	d.State, d.Facts = schema.ServiceStopped, &schema.DnsmasqFacts{Config: l.conf()}
	proc, last := look.process(l)
	d.Facts.LastPID = last
	if proc != nil {
		d.State = schema.ServiceRunning
		if proc.sum != t.sum() {
			d.State = schema.ServiceStale
		}
		d.Facts.PID, d.Facts.Start = proc.pid, proc.start
		d.Facts.Deaf = d.DHCP != nil && look.deaf(proc, l.device)
	}
	if d.Facts.Leases, err = readLeases(l.leases, l.device); err != nil {
		return nil, err
	}
	return d, nil
}

// texts are the files of a server.
type texts struct{ conf, reservations, names string }

func (l place) read() (texts, error) {
	var t texts
	for _, f := range []struct {
		path string
		to   *string
		must bool
	}{{l.conf(), &t.conf, true}, {l.reservations(), &t.reservations, false}, {l.names(), &t.names, false}} {
		b, err := os.ReadFile(f.path)
		if err != nil && (f.must || !errors.Is(err, fs.ErrNotExist)) {
			return t, err
		}
		*f.to = string(b)
	}
	return t, nil
}

// Do makes, changes or ends one server, compare-and-set. Where the new one does not come up, the old one runs again.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	if err := p.change(ctx, c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) change(ctx context.Context, c schema.Change) error {
	device, ok := strings.CutPrefix(c.Ref.Name, "dnsmasq ")
	if !ok || device == "" || device[0] == '.' || strings.ContainsAny(device, "/*,#\" \t\n") {
		return fmt.Errorf("%q is no device that dnsmasq can be bound to: %w", device, fs.ErrInvalid)
	}
	before, _ := c.Before.(*schema.Dnsmasq)
	after, _ := c.After.(*schema.Dnsmasq)
	s := &server{place: p.place(device), top: filepath.Join(p.root, "/run/vmnet")}
	live, err := p.read(s.place, &s.look)
	if err != nil {
		return err
	}
	switch {
	case live != nil && before == nil:
		return fmt.Errorf("it is there already: %w", fs.ErrExist)
	case live == nil && before != nil:
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	case before == nil && after == nil:
		return fmt.Errorf("the change is empty: %w", fs.ErrInvalid)
	case live != nil && len(schema.Compare(live, before)) > 0:
		return fmt.Errorf("it changed meanwhile: %v", schema.Compare(live, before))
	case after != nil && after.Device != device:
		return fmt.Errorf("the change is about %s", after.Device)
	case after == nil:
		return errors.Join(s.remove(ctx, before.Facts != nil), s.checksums(live, nil))
	}
	if !linkThere(device) {
		return fmt.Errorf("there is no link %s: %w", device, fs.ErrNotExist)
	}
	if live == nil {
		if t, err := s.read(); err == nil && s.elsewhere(t) {
			return fmt.Errorf("%s is of a server in another network namespace: %w", s.dir, fs.ErrExist)
		}
		err = s.create(ctx, after)
	} else {
		err = s.update(ctx, live, after)
	}
	if err != nil {
		return err
	}
	return s.checksums(live, after)
}

// checksums lets the kernel compute the checksums of answers, or leaves them to the hardware again where vmnet had changed that.
func (s *server) checksums(live, after *schema.Dnsmasq) error {
	had := live != nil && live.DHCP != nil && live.DHCP.Checksums
	want := after != nil && after.DHCP != nil && after.DHCP.Checksums
	if had == want || !want && !linkThere(s.device) {
		return nil
	}
	return leaveChecksums(s.device, !want)
}

// server is a server under change.
type server struct {
	place
	look look
	top  string // the directory of vmnet's that all of them are in
}

// create makes a server with its files, and leaves nothing behind when it does not come up.
func (s *server) create(ctx context.Context, d *schema.Dnsmasq) error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if err := s.keepLeases(d); err != nil {
		return err
	}
	t := write(s.place, d)
	err := s.write(t)
	if err == nil && d.State == schema.ServiceRunning {
		err = s.start(ctx, t)
	}
	if err != nil {
		return errors.Join(err, s.remove(ctx, false))
	}
	return nil
}

// remove ends a server and takes its files away. Its leases go with one that had some to its name; those from before it was made
// come back when it is taken back.
func (s *server) remove(ctx context.Context, lived bool) error {
	if err := s.stop(ctx); err != nil {
		return err
	}
	errs := []error{os.RemoveAll(s.dir), s.dropLeases(lived)}
	return errors.Join(errs...)
}

// update changes a server: by SIGHUP where that is enough, else by starting it anew.
func (s *server) update(ctx context.Context, live, after *schema.Dnsmasq) error {
	old, err := s.read()
	if err != nil {
		return err
	}
	t := write(s.place, after)
	running := live.State == schema.ServiceRunning && !live.Facts.Deaf
	switch {
	case after.State == schema.ServiceStale: // what a change took back found: a file that is not what runs
		return s.write(t)
	case after.State == schema.ServiceRunning && running && t.conf == old.conf:
		if t == old {
			return nil
		}
		return errors.Join(s.write(t), s.reload())
	case after.State == schema.ServiceStopped:
		return errors.Join(s.stop(ctx), s.write(t))
	}
	if err := s.stop(ctx); err != nil {
		return err
	}
	err = s.write(t)
	if err == nil {
		err = s.start(ctx, t)
	}
	if err == nil {
		return nil
	}
	back := s.write(old)
	if live.State != schema.ServiceStopped {
		back = errors.Join(back, s.start(ctx, old))
	}
	return errors.Join(err, back)
}
