package plan

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// order sorts drafts so that every object comes after what it requires and goes before it: parents are created first,
// children deleted first, and what replaces something is made before it is broken. Among the rest, rank and the order in
// which they were found decide, so that equal inputs give equal plans. A circle is a bug in vmnet, and an error.
func order(drafts []*draft) ([]*draft, error) {
	g := newGraph(drafts)
	for i, d := range drafts {
		g.requirements(i, d)
		for _, first := range d.after {
			g.edge(g.index[first], i)
		}
	}
	return g.sort()
}

type graph struct {
	drafts  []*draft
	index   map[*draft]int
	byRef   map[schema.Ref][]int
	onLink  map[string][]int // address and route drafts by device
	next    [][]int
	waiting []int
}

func newGraph(drafts []*draft) *graph {
	g := &graph{
		drafts: drafts, index: map[*draft]int{}, byRef: map[schema.Ref][]int{}, onLink: map[string][]int{},
		next: make([][]int, len(drafts)), waiting: make([]int, len(drafts)),
	}
	for i, d := range drafts {
		g.index[d] = i
		g.byRef[d.change.Ref] = append(g.byRef[d.change.Ref], i)
		if a, ok := object(d.change).(*schema.Address); ok {
			g.onLink[a.Link] = append(g.onLink[a.Link], i)
		}
	}
	return g
}

func object(c schema.Change) schema.Object {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

func (g *graph) edge(from, to int) {
	if from != to {
		g.next[from] = append(g.next[from], to)
		g.waiting[to]++
	}
}

// requirements adds the edges that follow from the objects themselves.
func (g *graph) requirements(i int, d *draft) {
	if d.change.After != nil {
		for _, r := range d.change.After.Requires() {
			for _, j := range g.byRef[r] {
				if g.drafts[j].change.After != nil {
					g.edge(j, i)
				}
			}
		}
	}
	if d.change.Before != nil {
		kept := map[schema.Ref]bool{}
		if d.change.After != nil {
			for _, r := range d.change.After.Requires() {
				kept[r] = true
			}
		}
		for _, r := range d.change.Before.Requires() {
			for _, j := range g.byRef[r] {
				if g.drafts[j].change.After == nil && !kept[r] {
					g.edge(i, j)
				}
			}
		}
	}
	switch o := object(d.change).(type) {
	case *schema.Sysctl:
		if _, _, name, _ := schema.SplitLinkSysctl(o.Key); name == "accept_ra" {
			for _, j := range g.byRef[schema.SysctlRef(forwarding6)] {
				g.edge(i, j) // what forwarding would drop is kept before
			}
		}
	case *schema.Route:
		g.behindAddresses(i, d, o.Devices())
	case *schema.Dnsmasq:
		g.behindAddresses(i, d, []string{o.Device})
		g.serviceOrder(i, d, o)
	case *schema.Address:
		if d.change.After != nil && o.Prefix.Addr().Is6() {
			for _, j := range g.byRef[schema.SysctlRef(schema.LinkSysctl("ipv6", o.Link, "disable_ipv6"))] {
				g.edge(j, i)
			}
		}
	}
}

// serviceOrder ends servers before others take over one of their addresses.
func (g *graph) serviceOrder(i int, d *draft, s *schema.Dnsmasq) {
	if d.change.After == nil {
		return
	}
	for j, other := range g.drafts {
		old, ok := other.change.Before.(*schema.Dnsmasq)
		if ok && other.change.After == nil && slices.ContainsFunc(old.Listen, func(a netip.Addr) bool { return slices.Contains(s.Listen, a) }) {
			g.edge(j, i)
		}
	}
}

// behindAddresses puts what is new on devices behind their addresses, and what goes in front of the removal of these.
func (g *graph) behindAddresses(i int, d *draft, devices []string) {
	for _, dev := range devices {
		for _, j := range g.onLink[dev] {
			switch creates := g.drafts[j].change.After != nil; {
			case d.change.After != nil && creates:
				g.edge(j, i)
			case d.change.After == nil && !creates:
				g.edge(i, j)
			}
		}
	}
}

type readyQueue struct {
	g     *graph
	items []int
}

func (q *readyQueue) Len() int { return len(q.items) }
func (q *readyQueue) Less(a, b int) bool {
	x, y := q.items[a], q.items[b]
	if rx, ry := q.g.drafts[x].rank, q.g.drafts[y].rank; rx != ry {
		return rx < ry
	}
	return x < y
}
func (q *readyQueue) Swap(a, b int) { q.items[a], q.items[b] = q.items[b], q.items[a] }
func (q *readyQueue) Push(x any)    { q.items = append(q.items, x.(int)) }
func (q *readyQueue) Pop() any {
	x := q.items[len(q.items)-1]
	q.items = q.items[:len(q.items)-1]
	return x
}

func (g *graph) sort() ([]*draft, error) {
	q := &readyQueue{g: g}
	for i, n := range g.waiting {
		if n == 0 {
			heap.Push(q, i)
		}
	}
	var out []*draft
	for q.Len() > 0 {
		i := heap.Pop(q).(int)
		out = append(out, g.drafts[i])
		for _, j := range g.next[i] {
			if g.waiting[j]--; g.waiting[j] == 0 {
				heap.Push(q, j)
			}
		}
	}
	if len(out) < len(g.drafts) {
		var stuck []string
		for i, n := range g.waiting {
			if n > 0 {
				stuck = append(stuck, g.drafts[i].change.String())
			}
		}
		return nil, fmt.Errorf("order steps: each waits for another: %s (this is a bug in vmnet)", strings.Join(stuck, "; "))
	}
	return out, nil
}
