package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/schema"
)

// ErrStale is the error of a plan that no longer fits the host: *StaleError and *MisfitError are.
var ErrStale = errors.New("plan is stale")

// StaleError names the facts that a plan relied on and that have changed since.
type StaleError struct {
	Changed []ChangedFact
	Facts   int // of the plan
}

// ChangedFact is one of them, in words.
type ChangedFact struct {
	Ref schema.Ref `json:"ref"`
	Old string     `json:"old"` // what the plan was made against
	New string     `json:"new"`
	// By is who changed it, "nft (pid 4711)", where the kernel told.
	By string `json:"by,omitempty"`

	table schema.Ref // the nftables table concerned; zero for none
}

// String prints "link/br0: was mtu 1500, now mtu 1400", and by whom.
func (c ChangedFact) String() string {
	s := fmt.Sprintf("%s: was %s, now %s", c.Ref, c.Old, c.New)
	if c.By != "" {
		s += ", by " + c.By
	}
	return s
}

// Error lists the changed facts in one line.
func (e *StaleError) Error() string {
	parts := make([]string, len(e.Changed))
	for i, c := range e.Changed {
		parts[i] = c.String()
	}
	return fmt.Sprintf("%v: %d of %d facts it relies on changed: %s", ErrStale, len(e.Changed), e.Facts, strings.Join(parts, "; "))
}

// Is makes a StaleError an ErrStale.
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// Stale compares the facts of p with the live state; nil when all of them still hold.
func Stale(live *schema.State, p *plan.Plan) *StaleError {
	var changed []ChangedFact
	for _, f := range p.Basis {
		if have := live.Get(f.Ref); !schema.Equal(f.Value, have) {
			c := describe(f.Ref, f.Value, have)
			c.table = nftTable(f.Value, have)
			changed = append(changed, c)
		}
	}
	if changed == nil {
		return nil
	}
	return &StaleError{changed, len(p.Basis)}
}

// describe says how an object changed: by the attributes that differ, or as a whole where it came or went.
func describe(ref schema.Ref, old, now schema.Object) ChangedFact {
	c := ChangedFact{Ref: ref, Old: "not there", New: "not there"}
	if old == nil || now == nil {
		if old != nil {
			c.Old = old.String()
		}
		if now != nil {
			c.New = now.String()
		}
		return c
	}
	var was, is []string
	add := func(field, o, n string) {
		was = append(was, field+" "+orNone(o))
		is = append(is, field+" "+orNone(n))
	}
	diffs := schema.Compare(now, old)
	for _, d := range diffs {
		add(d.Field, d.Want, d.Live)
	}
	for _, d := range schema.Compare(old, now) { // what the old object did not have
		if !slices.ContainsFunc(diffs, func(e schema.Difference) bool { return e.Field == d.Field }) {
			add(d.Field, d.Live, d.Want)
		}
	}
	c.Old, c.New = strings.Join(was, ", "), strings.Join(is, ", ")
	return c
}

// A Watcher is a host that knows who changes its nftables ruleset: *providers.Host is one.
type Watcher interface {
	// Watch begins to listen. A host that does not allow it is read all the same.
	Watch() error
	// Writers are those that changed the ruleset after a generation, the oldest first.
	Writers(since uint32) (writers []schema.Writer, complete bool)
}

// Name says by whom the tables and nftables rules among the changed facts were changed, as far as a watch that began before has seen it.
func (e *StaleError) Name(writers []schema.Writer) {
	for i := range e.Changed {
		c := &e.Changed[i]
		if w, ok := schema.LastWriter(writers, c.table); ok {
			c.By = w.String()
		}
	}
}

// nftTable is the nftables table that an object is, or is a rule of; the zero Ref for any other.
func nftTable(objects ...schema.Object) schema.Ref {
	for _, o := range objects {
		switch o := o.(type) {
		case *schema.Table:
			return o.Ref()
		case *schema.ForeignRule:
			return o.TableRef()
		}
	}
	return schema.Ref{}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
