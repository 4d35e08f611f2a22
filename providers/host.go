package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/vmnet/vmnet/providers/dnsmasq"
	"github.com/vmnet/vmnet/providers/files"
	"github.com/vmnet/vmnet/providers/guests"
	"github.com/vmnet/vmnet/providers/machine"
	"github.com/vmnet/vmnet/providers/managers"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/providers/probe"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/providers/sockets"
	"github.com/vmnet/vmnet/providers/sysctl"
	"github.com/vmnet/vmnet/providers/xtables"
	"github.com/vmnet/vmnet/schema"
)

// Options say how a Host is opened. The zero Options are those of a real host.
type Options struct {
	// Sysctls are settings to read beside those that always are: what a configuration declares.
	Sysctls []string
	// Files are the rule files to look at; none: those of iptables-persistent and nft.
	Files []string
	// FileRoot is put in front of the paths of files; "" for none. Tests use it.
	FileRoot string
	// Processes asks whose the listening sockets and the taps are, which is slow.
	Processes bool
}

// Host is the host vmnet runs on, or rather the network namespace of the thread that opened it: every provider in a
// slice. It must be used by one goroutine at a time, on a thread in that namespace.
type Host struct {
	parts []part
	rules *nft.Provider
}

var (
	_ Writer   = (*rtnl.Provider)(nil)
	_ Writer   = (*nft.Provider)(nil)
	_ Writer   = (*sysctl.Provider)(nil)
	_ Writer   = (*files.Provider)(nil)
	_ Writer   = (*managers.Provider)(nil)
	_ Writer   = (*dnsmasq.Provider)(nil)
	_ Provider = (*sockets.Provider)(nil)
	_ Provider = (*guests.Provider)(nil)
	_ Provider = (*machine.Provider)(nil)
)

// part is a provider, and what a user calls what it reads when that must not be looked at.
type part struct {
	name string
	Provider
	// anywhere says that Read may run on any thread: all it reads was opened before.
	anywhere bool
}

// Open opens every provider in the network namespace of the calling thread.
func Open(opts Options) (*Host, error) {
	h := &Host{}
	links, err := rtnl.Open()
	if err != nil {
		return nil, err
	}
	h.parts = append(h.parts, part{"links", links, true})
	if h.rules, err = nft.Open(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.parts = append(h.parts, part{"nftables", h.rules, true})
	listening, behind := sockets.New(), guests.New(opts.FileRoot)
	if opts.Processes {
		listening, behind = listening.WithProcesses(), behind.WithHolders()
	}
	h.parts = append(h.parts,
		part{"sysctls", sysctl.New("").WithKeys(opts.Sysctls...), false},
		part{"files", files.New(opts.Files...).Under(opts.FileRoot), false},
		part{grants, managers.New(opts.FileRoot), false},
		part{"services", dnsmasq.New(opts.FileRoot), false},
		part{"listeners", listening, false},
		part{"guests", behind, false},
		part{"machine", machine.New(opts.FileRoot), false},
		part{"iptables", xtables.Open(xtables.Options{NFTables: h.rules.Read, ByHandle: h.rules.Do}), false},
	)
	return h, nil
}

// Close closes what Open opened.
func (h *Host) Close() error {
	var errs []error
	for _, p := range h.parts {
		if c, ok := p.Provider.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// reading is what a part has read.
type reading struct {
	objects []schema.Object
	err     error
}

func (p part) read(ctx context.Context) reading {
	objects, err := p.Read(ctx)
	return reading{objects, err}
}

// Read returns the state of the host. What it must not look at for lack of privileges is named in State.Blind, and so are rules that kept
// changing while they were read, again and again.
func (h *Host) Read(ctx context.Context) (*schema.State, error) {
	readings := make([]reading, len(h.parts))
	var wait sync.WaitGroup
	for i, p := range h.parts {
		if p.anywhere {
			wait.Go(func() { readings[i] = p.read(ctx) })
		}
	}
	for i, p := range h.parts {
		if !p.anywhere {
			readings[i] = p.read(ctx)
		}
	}
	wait.Wait()
	return h.join(readings)
}

func (h *Host) join(readings []reading) (*schema.State, error) {
	s := schema.NewState()
	var errs []error
	for i, p := range h.parts {
		r := readings[i]
		for _, o := range r.objects {
			s.Put(o)
		}
		if errors.Is(r.err, fs.ErrPermission) {
			s.Blind = append(s.Blind, p.name)
		} else {
			errs = append(errs, r.err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if t := linkPrograms(s); len(t.Chains) > 0 {
		s.Put(t)
	}
	if s.Generation, s.Unstable = h.rules.Generation(), h.rules.Unstable(); s.Unstable {
		s.Blind = append(s.Blind, schema.MovingRules) // what was seen may never have been there together
	}
	h.withoutIdle(s, readings)
	return s, nil
}

// grants is what users call what managers were asked for.
const grants = "grants"

// withoutIdle does not call the files of managers unseen that have no rule in the kernel, where all rules were seen.
func (h *Host) withoutIdle(s *schema.State, readings []reading) {
	for _, part := range []string{"nftables", "iptables", schema.MovingRules} {
		if slices.Contains(s.Blind, part) {
			return
		}
	}
	for i, p := range h.parts {
		if p.name == grants && managers.Idle(s, readings[i].err) {
			s.Blind = slices.DeleteFunc(s.Blind, func(part string) bool { return part == grants })
		}
	}
}

// Do makes one change, by the provider of its kind.
func (h *Host) Do(ctx context.Context, c schema.Change) error {
	for _, p := range h.parts {
		if !slices.Contains(p.Kinds(), c.Ref.Kind) {
			continue
		}
		w, ok := p.Provider.(Writer)
		if !ok {
			return fmt.Errorf("%s %s: vmnet only reads objects of kind %s: %w", c.Verb(), c.Ref, c.Ref.Kind, errors.ErrUnsupported)
		}
		return w.Do(ctx, c)
	}
	return fmt.Errorf("%s %s: nobody knows objects of kind %s: %w", c.Verb(), c.Ref, c.Ref.Kind, errors.ErrUnsupported)
}

// Watch begins to listen to who changes the nftables ruleset, for Writers. It needs CAP_NET_ADMIN; a host that is not watched is read and
// changed all the same.
func (h *Host) Watch() error { return h.rules.Watch() }

// Writers are those that changed the nftables ruleset after a generation (State.Generation), the oldest first, as far as Watch has seen
// them; vmnet's own transactions are marked. complete is false where some may be missing.
func (h *Host) Writers(since uint32) (writers []schema.Writer, complete bool) {
	return h.rules.Writers(since)
}

// Probe sends real packets for goals, from the network namespace of the calling thread; see probe.Probe.
func (*Host) Probe(ctx context.Context, goals []schema.Goal) []schema.ProbeResult {
	return probe.Probe(ctx, goals)
}

// linkPrograms are the programs of links as chains at the hooks they are like. XDP comes before all, and of tc it is not sure whether it
// comes before or behind nftables' own chains there: the first at ingress, the last at egress, stops what either would stop.
func linkPrograms(s *schema.State) *schema.Table {
	t := &schema.Table{Family: "netdev", Name: "programs", Legacy: true}
	for l := range schema.Each[*schema.Link](s) {
		if l.Facts == nil {
			continue
		}
		for _, p := range l.Facts.Programs {
			hook, what, _ := strings.Cut(p, ": ")
			priority := int32(math.MinInt32)
			if hook == "egress" {
				priority = math.MaxInt32
			}
			t.Chains = append(t.Chains, xtables.Unread(l.Name+" "+p, hook, priority, what+" on "+l.Name+", which cannot be read", l.Name))
		}
	}
	return t
}
