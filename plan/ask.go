package plan

import (
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Ask walks the packets of a goal through a live state and gives every result, those that pass too; none when no address
// or device is known for one of its ends. It reads nothing but its arguments and changes neither.
func Ask(live *schema.State, desired *schema.Desired, g schema.Goal) []trace.Result {
	d := *desired
	d.Goals = []schema.Goal{g}
	r := resolve(live, &d)
	h := &healer{r: r, state: live}
	w := trace.New(live)
	var out []trace.Result
	for _, q := range h.queries(live, &r.Goals[0]) {
		for _, f := range w.Flows(q, maxFlows) {
			out = append(out, w.Walk(f))
		}
	}
	return out
}
