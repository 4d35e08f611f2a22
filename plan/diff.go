package plan

import (
	"fmt"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// diff makes a draft for every object that is not as wanted, for every object of ours that is wanted no longer, and for
// what moves.
func (r *resolved) diff() []*draft {
	b := &differ{r: r, byRef: map[schema.Ref]*draft{}}
	moved := map[schema.Ref]bool{}
	for _, m := range r.moves {
		for _, a := range m.addrs {
			moved[a.moved.Ref()] = true
		}
		for _, x := range m.routes {
			moved[x.moved.Ref()] = true
		}
		for _, x := range m.neigh {
			moved[x.moved.Ref()] = true
		}
	}
	for o := range r.want.All() {
		if !r.unseen(o.Ref()) {
			b.wanted(o, moved[o.Ref()])
		}
	}
	for _, m := range r.moves {
		b.move(m)
	}
	for o := range r.live.All() {
		if _, byFlow := o.(*schema.Grant); byFlow {
			continue // whether it stays is decided by the flows that need it: see healer.ruleDrafts
		}
		if schema.Owned(o) && r.want.Get(o.Ref()) == nil {
			b.unwanted(o)
		}
	}
	b.releasePorts()
	return b.drafts
}

// unseen tells whether objects of this kind could not be read for lack of privileges, and says so once: what was not seen is
// not called missing.
func (r *resolved) unseen(ref schema.Ref) bool {
	part := map[schema.Kind]string{
		schema.KindTable: "nftables", schema.KindLink: "links", schema.KindAddress: "links", schema.KindRoute: "links",
		schema.KindSysctl: "sysctls", schema.KindFile: "files", schema.KindService: "services",
	}[ref.Kind]
	if part == "" || !slices.Contains(r.live.Blind, part) {
		return false
	}
	f := Finding{
		Code: "VN404", Severity: "warning", Title: part + " could not be read", Address: r.addresses[ref], Object: ref.String(),
		Origin: r.origin(ref), Detail: "Whether it is as the file says is not known. Run as root, or with CAP_NET_ADMIN.",
	}
	if !slices.ContainsFunc(r.findings, func(x Finding) bool { return x.Code == f.Code && x.Title == f.Title }) {
		r.findings = append(r.findings, f)
	}
	return true
}

type differ struct {
	r      *resolved
	drafts []*draft
	byRef  map[schema.Ref]*draft
}

func (b *differ) add(d *draft) *draft {
	if d.address == "" {
		d.address = b.r.addresses[d.change.Ref]
	}
	b.drafts = append(b.drafts, d)
	b.byRef[d.change.Ref] = d
	return d
}

func (b *differ) wanted(o schema.Object, moved bool) {
	live := b.r.live.Get(o.Ref())
	if s, ok := o.(*schema.Sysctl); ok && live == nil {
		b.newSysctl(s)
		return
	}
	if live == nil {
		d := newDraft(nil, schema.Clone(o))
		if moved {
			d.action = "move"
		}
		b.add(d)
		return
	}
	diffs := managedDifferences(live, o)
	if len(diffs) == 0 {
		b.deaf(live, o)
		return
	}
	after := schema.Merge(live, o)
	keepProto(after, live)
	d := newDraft(live, after)
	if onlyMark(diffs) {
		d.action = "adopt"
	}
	b.add(d)
}

// newSysctl sets a setting whose value could not be read beforehand because its link is still to be created.
func (b *differ) newSysctl(s *schema.Sysctl) {
	_, link, _, perLink := schema.SplitLinkSysctl(s.Key)
	if perLink && b.r.live.Link(link) == nil && b.r.want.Link(link) != nil {
		if before := (&schema.Sysctl{Key: s.Key, Value: b.defaultOf(s.Key)}); before.Value != s.Value {
			b.add(newDraft(before, schema.Clone(s)))
		}
		return
	}
	b.r.findings = append(b.r.findings, Finding{
		Code: "VN308", Severity: "error", Title: fmt.Sprintf("setting %s does not exist on this host", s.Key),
		Address: b.r.addresses[s.Ref()], Object: s.Ref().String(), Origin: b.r.origin(s.Ref()),
		Detail: "The kernel offers no such setting: it is misspelled, its module is not loaded, or this kernel was built without it.",
	})
}

// defaultOf is the value that a link yet to be created takes from conf.default.
func (b *differ) defaultOf(key string) string {
	family, _, name, _ := schema.SplitLinkSysctl(key)
	if v, ok := b.r.live.Sysctl("net." + family + ".conf.default." + name); ok {
		return v
	}
	return "0"
}

// managedDifferences is Compare without what only marks an owner: addresses and routes are equal whoever made them.
func managedDifferences(live, want schema.Object) []schema.Difference {
	diffs := schema.Compare(live, want)
	switch live.(type) {
	case *schema.Address, *schema.Route:
		return slices.DeleteFunc(diffs, func(d schema.Difference) bool {
			return d.Field == "proto" || d.Field == "nodad" || d.Field == "label"
		})
	}
	return diffs
}

func keepProto(after, live schema.Object) {
	switch a := after.(type) {
	case *schema.Address:
		a.Proto, a.NoDAD, a.Label = live.(*schema.Address).Proto, live.(*schema.Address).NoDAD, live.(*schema.Address).Label
	case *schema.Route:
		a.Proto = live.(*schema.Route).Proto
	}
}

func onlyMark(diffs []schema.Difference) bool {
	for _, d := range diffs {
		if d.Field != "alias" && d.Field != "mac_pinned" {
			return false
		}
	}
	return true
}

// move adds what the order of a hitless move needs: new addresses before the port is enslaved, new routes behind it, and
// only then the end of the old ones. So the host always has its address and its default route.
func (b *differ) move(m move) {
	attach := b.byRef[schema.LinkRef(m.from)] // the NIC becomes a port
	if m.back {
		attach = b.release(m)
	}
	var made []*draft
	for _, a := range m.addrs {
		d := b.byRef[a.moved.Ref()]
		if d == nil {
			continue
		}
		d.because = fmt.Sprintf("%s moves from %s to %s: %s", a.old.Prefix, m.from, m.to, m.reason())
		d.codes, d.risk = []string{"VN207"}, RiskBlip
		d.address = m.address
		made = append(made, d)
		if attach != nil && !m.back {
			attach.after = append(attach.after, d)
		}
	}
	for _, x := range m.routes {
		if d := b.byRef[x.moved.Ref()]; d != nil {
			d.because = fmt.Sprintf("the route moves with its address from %s to %s", m.from, m.to)
			d.codes, d.risk, d.address = []string{"VN207"}, RiskBlip, m.address
			if attach != nil {
				d.after = append(d.after, attach)
			}
			made = append(made, d)
		}
	}
	for _, x := range m.neigh {
		if d := b.byRef[x.moved.Ref()]; d != nil {
			d.because = fmt.Sprintf("the permanent neighbour moves from %s to %s", m.from, m.to)
			d.codes, d.address = []string{"VN207"}, m.address
			if attach != nil {
				d.after = append(d.after, attach)
			}
			made = append(made, d)
		}
	}
	b.endOld(m, made, attach)
	if attach != nil && !m.back {
		b.r.namedElsewhere(m, attach)
	}
}

func (m move) reason() string {
	if m.back {
		return "the bridge that held it is no longer in the file"
	}
	return "a bridge's port must not carry the address, its frames reach the host through the bridge"
}

// endOld deletes what moved from its old place, routes before addresses, secondaries before primaries.
func (b *differ) endOld(m move, made []*draft, attach *draft) {
	after := made
	if attach != nil {
		after = append(slices.Clone(made), attach)
	}
	end := func(o schema.Object) {
		d := newDraft(o, nil)
		d.action, d.address, d.codes, d.risk, d.rank = "move", m.address, []string{"VN207"}, RiskBlip, rankRoute
		d.because = fmt.Sprintf("it is on %s now", m.to)
		d.after = after
		b.add(d)
		after = append(slices.Clone(after), d)
	}
	for _, x := range m.neigh {
		end(x.old)
	}
	for _, x := range slices.Backward(m.routes) {
		end(x.old)
	}
	for _, a := range slices.Backward(m.addrs) {
		end(a.old)
	}
}

// release takes the NIC out of a bridge that goes away, and our mark off it.
func (b *differ) release(m move) *draft { return b.releasePort(m.to) }

func (b *differ) releasePort(name string) *draft {
	if d := b.byRef[schema.LinkRef(name)]; d != nil {
		return d
	}
	live := b.r.live.Link(name)
	after := schema.Clone(live).(*schema.Link)
	after.Master, after.Port = new(""), nil
	if schema.Owned(live) {
		after.Alias = new("")
	}
	d := newDraft(live, after)
	d.because = fmt.Sprintf("its bridge %s is no longer in the file", *live.Master)
	d.codes = []string{"VN309"}
	d.rank = rankAttach
	if live.Alias != nil {
		d.address = blockOf(live)
	}
	return b.add(d)
}

// unwanted removes what bears our mark and is no longer in the file. A link that we only marked is released, not deleted.
func (b *differ) unwanted(o schema.Object) {
	if b.byRef[o.Ref()] != nil {
		return
	}
	l, isLink := o.(*schema.Link)
	if isLink && (l.Type != "bridge" || adopted(l)) {
		b.unmark(l)
		return
	}
	d := newDraft(o, nil)
	d.because, d.codes = "it is ours and no longer in the file", []string{"VN309"}
	if s, ok := o.(*schema.Dnsmasq); ok {
		d.address = s.Address
		d.risk, d.hurts = RiskDrop, fmt.Sprintf("guests on %s get no %s any more, and its leases are forgotten", s.Device, served(s))
	}
	if isLink {
		d.address = blockOf(l)
		d.risk, d.hurts = RiskDrop, fmt.Sprintf("whoever is still attached to %s loses it", l.Name)
		b.emptyBridge(l, d)
	}
	b.add(d)
}

// emptyBridge makes every object that dies with the bridge a step of its own.
func (b *differ) emptyBridge(bridge *schema.Link, del *draft) {
	for a := range schema.Each[*schema.Address](b.r.live) {
		if a.Link == bridge.Name && !kernelMadeAddress(a) && b.byRef[a.Ref()] == nil {
			d := newDraft(a, nil)
			d.because, d.codes, d.address = "its bridge is no longer in the file", []string{"VN309"}, del.address
			b.add(d)
		}
	}
	for _, rt := range routesVia(b.r.live, bridge.Name) {
		if b.byRef[rt.Ref()] == nil {
			d := newDraft(rt, nil)
			d.because, d.codes, d.address = "its bridge is no longer in the file", []string{"VN309"}, del.address
			b.add(d)
		}
	}
	for n := range schema.Each[*schema.Neighbour](b.r.live) {
		if n.Link == bridge.Name && n.Permanent != nil && *n.Permanent {
			d := newDraft(n, nil)
			d.because, d.codes, d.address = "its bridge is no longer in the file", []string{"VN309"}, del.address
			b.add(d)
		}
	}
}

// releasePorts frees the ports of bridges that go away, before they do: a port would else lose its master as a side
// effect that no step says.
func (b *differ) releasePorts() {
	for l := range schema.Each[*schema.Link](b.r.live) {
		if l.Master == nil || *l.Master == "" {
			continue
		}
		gone := b.byRef[schema.LinkRef(*l.Master)]
		if gone == nil || gone.change.After != nil {
			continue
		}
		d := b.byRef[l.Ref()]
		if d == nil {
			d = b.releasePort(l.Name)
		}
		gone.after = append(gone.after, d)
	}
}

// unmark takes our mark off a link that we configured and did not make, and releases it from a bridge of ours.
func (b *differ) unmark(l *schema.Link) {
	after := schema.Clone(l).(*schema.Link)
	after.Alias = new("")
	if l.Master != nil && *l.Master != "" {
		if m := b.r.live.Link(*l.Master); m != nil && schema.Owned(m) {
			after.Master, after.Port = new(""), nil
		}
	}
	d := newDraft(l, after)
	d.because, d.codes = "it is no longer in the file", []string{"VN309"}
	d.address = blockOf(l)
	b.add(d)
}
