package trace

import (
	"github.com/vmnet/vmnet/plan/bdd"
)

// nat runs nat, masq, redir and netmap.
func (r *sweep) nat(o *op, pc, live bdd.Node) (rest, on bdd.Node) {
	r.giveUp(r.at, live, "")
	return r.x.Diff(pc, live), bdd.False
}
