package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

// Host is what the suite needs: a host that can be read and changed. *Fake, *Namespace and *providers.Host are hosts.
type Host interface {
	// Read returns the whole state. The caller may change the State, not its objects.
	Read(ctx context.Context) (*schema.State, error)
	// Do makes one change, compare-and-set; see providers.Writer.
	Do(ctx context.Context, c schema.Change) error
}

// ErrInjected is the fault that Fake was asked for.
var ErrInjected = errors.New("injected fault")

// Fake is a host in memory that behaves as Linux would (plan/sim), and fails when told to. Set its fields before the first
// call. Its methods may be called at the same time.
type Fake struct {
	// State is what the host holds. Nil is an empty host; Fresh gives one as it is after boot.
	State *schema.State
	// FailAt makes the FailAt-th Do fail with ErrInjected, counting from 1; 0 never.
	FailAt int
	// FailAfter makes the failing Do act first: the change is made, and its caller does not know.
	FailAfter bool
	// FailFrom makes every Do from the FailFrom-th on fail with ErrInjected; 0 never. An undo then fails, too.
	FailFrom int
	// Delay is how long each Read and Do takes, unless the context ends sooner.
	Delay time.Duration
	// ReadErr, when set, is what Read returns.
	ReadErr error
	// Before, when set, is called before each Do acts, with its number and the change: somebody else's hand on the host.
	Before func(n int, c schema.Change, s *schema.State)

	mu   sync.Mutex
	done []schema.Change
	n    int
}

// Read returns a copy of the state.
func (f *Fake) Read(ctx context.Context) (*schema.State, error) {
	if err := f.wait(ctx); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ReadErr != nil {
		return nil, f.ReadErr
	}
	return f.state().Clone(), nil
}

// Do makes one change, or fails as asked.
func (f *Fake) Do(ctx context.Context, c schema.Change) error {
	if err := f.wait(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	s := f.state()
	if f.Before != nil {
		f.Before(f.n, c, s)
	}
	fails := f.n == f.FailAt || f.FailFrom > 0 && f.n >= f.FailFrom
	if fails && !f.FailAfter {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, ErrInjected)
	}
	if err := sim.Do(s, c); err != nil {
		return err
	}
	f.done = append(f.done, c)
	if fails {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, ErrInjected)
	}
	return nil
}

// Done lists the changes that were made, in order.
func (f *Fake) Done() []schema.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]schema.Change(nil), f.done...)
}

// ChangeBehindOurBack lets somebody else change the host. Objects in a State are frozen: Put changed clones.
func (f *Fake) ChangeBehindOurBack(change func(*schema.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.state())
}

func (f *Fake) state() *schema.State {
	if f.State == nil {
		f.State = &schema.State{}
	}
	return f.State
}

func (f *Fake) wait(ctx context.Context) error {
	if f.Delay == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Fresh is the state of a new network namespace: a loopback that is up, the rules that lead to the tables, and the settings
// with the kernel's defaults. Duplicate address detection is off for new links, as in Namespace.
func Fresh() *schema.State {
	s := schema.NewState(
		&schema.Link{
			Name: "lo", Type: "loopback", Alias: new(""), MTU: new(uint32(65536)), MAC: new("00:00:00:00:00:00"), Master: new(""),
			Up: new(false), Facts: &schema.LinkFacts{
				Index: 1, OperState: "down", AddrGenMode: "eui64", IPv4: &schema.LinkConf4{},
				IPv6: &schema.LinkConf6{AcceptRA: 1, Autoconf: 1, AcceptDAD: 1},
			},
		},
		policyRule("ip", 0, 255), policyRule("ip", 32766, 254), policyRule("ip", 32767, 253),
		policyRule("ip6", 0, 255), policyRule("ip6", 32766, 254),
		&schema.File{Path: rulesFile, Mode: 0o644, Content: rulesContent},
	)
	for key, value := range map[string]string{
		"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.forwarding": "0", "net.ipv4.conf.default.forwarding": "0",
		"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0",
		"net.ipv4.conf.all.route_localnet": "0", "net.ipv4.conf.default.route_localnet": "0",
		"net.ipv4.conf.all.promote_secondaries": "0", "net.ipv4.icmp_echo_ignore_all": "0",
		"net.ipv6.conf.all.forwarding": "0", "net.ipv6.conf.default.forwarding": "0",
		"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.default.disable_ipv6": "0",
		"net.ipv6.conf.all.accept_dad": "0", "net.ipv6.conf.default.accept_dad": "0",
	} {
		s.Put(&schema.Sysctl{Key: key, Value: value})
	}
	lo := s.Link("lo")
	up := schema.Change{Ref: lo.Ref(), Before: lo, After: schema.Merge(lo, &schema.Link{Name: "lo", Up: new(true)})}
	if err := sim.Do(s, up); err != nil {
		panic(fmt.Sprintf("set lo up: %v (this is a bug in vmnet)", err))
	}
	return s
}

// policyRule is a rule that the kernel makes, for all packets (fib_default_rules_init).
func policyRule(family string, priority, table uint32) *schema.PolicyRule {
	return &schema.PolicyRule{Family: family, Priority: priority, Table: table, Proto: new(uint8(schema.ProtoKernel))}
}

// prefix and ip read addresses in the rows of the suite.
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
