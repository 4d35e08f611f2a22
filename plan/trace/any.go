package trace

import (
	"slices"

	"github.com/vmnet/vmnet/plan/bdd"
	"github.com/vmnet/vmnet/schema"
)

// alternatives compiles an xtmatch that has an equal (schema.Expr.Any).
func (t *table) alternatives(o *op, e *schema.Expr) {
	o.code, o.neg = opAny, e.Op == "neq"
	o.any = make([][]op, len(e.Any))
	for i, alternative := range e.Any {
		for k := range alternative {
			if x, ok := t.compileExpr(&alternative[k]); ok {
				o.any[i] = append(o.any[i], x)
			}
		}
		if slices.ContainsFunc(o.any[i], func(x op) bool { return x.code >= opVerdict }) {
			o.code, o.any = opMaybe, nil // an effect is no match
			return
		}
	}
}

// contains tells whether an op, or an alternative of it, is one of those.
func (o *op) contains(codes ...opcode) bool {
	return slices.Contains(codes, o.code) || slices.ContainsFunc(o.any, func(a []op) bool {
		return slices.ContainsFunc(a, func(x op) bool { return x.contains(codes...) })
	})
}

// oneHolds holds for packets for which one of the alternatives does, each of which may break by itself; or, negated, none.
func (r *sweep) oneHolds(o *op) bdd.Node {
	live, f := r.live, bdd.False
	for _, alternative := range o.any {
		m := bdd.True
		for k := range alternative {
			x := &alternative[k]
			if !x.certain() {
				r.live = r.x.And(live, m)
			}
			if m = r.x.And(m, r.match(x)); m == bdd.False {
				break
			}
		}
		f = r.x.Or(f, m)
	}
	r.live = live
	return r.signed(o, f)
}

// port loads the name of a port of the bridge a packet passes in br_netfilter's pass, or once it came through one: that of
// struct nf_bridge_info, which stays with the packet when it is routed or delivered (net/bridge/br_netfilter_hooks.c).
func (r *sweep) port(o *op, d *device) bdd.Node {
	p := &r.p
	if p.inAny != nil || p.outAny != nil || d != nil && d.unknown {
		return r.foreseen(o, 16)
	}
	if d == nil {
		r.load(o.dreg, make([]byte, 16))
		return bdd.True
	}
	r.nameCells(r.reg(o.dreg, 16), d)
	return bdd.True
}

// physIn is the port that br_netfilter noted for a packet.
func (r *sweep) physIn() *device {
	if r.detours() {
		return r.p.physIn
	}
	return nil
}
