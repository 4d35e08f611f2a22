package plan

import (
	"slices"

	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema"
)

// looked is a finding of a check, and the objects that its repair wants.
type looked struct {
	Finding
	repair []schema.Ref
	title  string // of the repair
}

// look lets the checks go over the live host, as far as the file's networks are concerned. What they want is laid under the
// file's own wishes: where the file says otherwise, the file is right.
func (r *resolved) look() {
	h := checks.Look(r.live, r.Desired)
	mine := r.concerned(h)
	for _, f := range checks.RunAll(h, inPlans()) {
		address, ok := mine.of(f)
		if !ok || r.covered(f) {
			continue
		}
		l := looked{Finding: FindingOf(f)}
		l.Address, l.Origin = address, r.Blocks[address]
		if len(f.Want) > 0 && !r.contradicts(f.Want) {
			l.title = "set it as the kernel or its owner would have it"
			for _, o := range f.Want {
				r.repairs[o.Ref()] = r.repairWith(f, o)
				r.wantMore(o, address)
				l.repair = append(l.repair, o.Ref())
			}
		}
		if !f.Standing {
			r.looked = append(r.looked, l)
		}
	}
}

// repair is why a check wants an object.
type repair struct {
	code, because string
	alone         bool // the file itself wants nothing else of the object than it is
	fields        map[string]bool
}

// repairWith notes why an object is wanted, and which of its fields by nobody but the check.
func (r *resolved) repairWith(f checks.Finding, o schema.Object) repair {
	live := r.live.Get(o.Ref())
	out := repair{f.Code, f.Title, len(managedDifferences(live, r.want.Get(o.Ref()))) == 0, map[string]bool{}}
	for _, d := range schema.Compare(live, o) {
		out.fields[d.Field] = true
	}
	return out
}

// inPlans are the checks whose findings belong into a plan: what the host as such is fit for is not a file's business.
func inPlans() []checks.Check {
	return slices.DeleteFunc(checks.All(), func(c checks.Check) bool { return c.Layer == checks.LayerHost })
}

// FindingOf is a check's finding in the words of a plan.
func FindingOf(f checks.Finding) Finding {
	out := Finding{
		Code: f.Code, Severity: f.Severity, Title: f.Title, Detail: f.Detail, Evidence: f.Evidence, Cure: f.Cure,
	}
	if f.Object != (schema.Ref{}) {
		out.Object = f.Object.String()
	}
	if f.Owner != "" {
		out.Owner = &Owner{Name: f.Owner, Confidence: medium, Evidence: f.Proof}
	}
	return out
}

// links are those that a file is about, each with its block.
type links map[string]string

// concerned are the links that the file speaks of, by name or because they belong to its networks.
func (r *resolved) concerned(h *checks.Host) links {
	mine := links{}
	add := func(link, address string) {
		if _, ok := mine[link]; !ok && link != "" {
			mine[link] = address
		}
	}
	for _, n := range r.Networks {
		add(n.Device, n.Address)
		for _, p := range n.Ports {
			add(p, n.Address)
		}
		if found := h.Network(n.Device); found != nil {
			for _, p := range slices.Concat(found.Uplinks, found.Ports) {
				add(p, n.Address)
			}
		}
		add(n.Uplink, n.Address)
	}
	for _, g := range r.Guests {
		add(g.Device, g.Address)
	}
	for _, a := range r.Adapters {
		add(a.Device, a.Address)
	}
	for _, n := range r.Networks {
		if n.Mode == "nat" && n.Uplink == "" {
			for _, link := range h.Outside() {
				add(link, n.Address)
			}
		}
	}
	return mine
}

// of is the block that a finding concerns; false for none. One that names no link concerns every file with a network.
func (m links) of(f checks.Finding) (string, bool) {
	if len(f.Links) == 0 {
		return "", len(m) > 0
	}
	for _, l := range f.Links {
		if address, ok := m[l]; ok {
			return address, true
		}
	}
	return "", false
}

// covered tells whether the file itself asks for what a finding is about, so that the plan names and repairs it already.
func (r *resolved) covered(f checks.Finding) bool {
	if slices.ContainsFunc(r.moves, func(m move) bool {
		return slices.ContainsFunc(m.addrs, func(a addrMove) bool { return a.old.Ref() == f.Object })
	}) {
		return true
	}
	return len(f.Want) > 0 && !slices.ContainsFunc(f.Want, func(o schema.Object) bool {
		have := r.want.Get(o.Ref())
		return have == nil || slices.ContainsFunc(schema.Compare(have, o), func(d schema.Difference) bool { return d.Field != "type" }) // of a link, which the file does not say
	})
}

// contradicts tells whether the file wants something else.
func (r *resolved) contradicts(wants []schema.Object) bool {
	return slices.ContainsFunc(wants, func(o schema.Object) bool {
		have := r.want.Get(o.Ref())
		return have != nil && slices.ContainsFunc(schema.Compare(have, o), func(d schema.Difference) bool { return d.Live != "" })
	})
}

func (r *resolved) wantMore(o schema.Object, address string) {
	if have := r.want.Get(o.Ref()); have != nil {
		o = schema.Merge(have, o)
	}
	r.put(schema.Clone(o), address)
}

// repaired gives the steps of repairs their reasons: before explain those that are for nothing else, after it the others.
func (r *resolved) repaired(drafts []*draft, after bool) {
	for _, d := range drafts {
		why, ok := r.repairs[d.change.Ref]
		if !ok || why.alone == after {
			continue
		}
		d.codes = appendNew(d.codes, why.code)
		if d.because == "" {
			d.because = why.because
		}
	}
}

// routersFirst lets links take router advertisements in spite of forwarding before it is switched on: the kernel drops the routes
// of those that do not at that very moment (net/ipv6/addrconf.c, addrconf_fixup_forwarding).
func routersFirst(drafts []*draft) {
	i := slices.IndexFunc(drafts, func(d *draft) bool { return d.change.Ref == schema.SysctlRef("net.ipv6.conf.all.forwarding") })
	if i < 0 {
		return
	}
	for _, d := range drafts {
		if _, _, name, ok := schema.SplitLinkSysctl(d.change.Ref.Name); ok && name == "accept_ra" && d.change.Ref.Kind == schema.KindSysctl {
			drafts[i].after = append(drafts[i].after, d)
		}
	}
}

// lookedAt are the checks' findings, each with the steps that repair it.
func (r *resolved) lookedAt(steps []Step) []Finding {
	var out []Finding
	for _, l := range r.looked {
		f := l.Finding
		var ids []int
		for _, s := range steps {
			if slices.Contains(l.repair, s.Change.Ref) {
				ids = append(ids, s.ID)
			}
		}
		if len(ids) > 0 {
			f.Fixes = append(f.Fixes, Fix{Title: l.title, Chosen: true, Steps: ids})
			f.Cure = nil
		}
		out = append(out, f)
	}
	return out
}
