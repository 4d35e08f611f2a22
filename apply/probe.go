package apply

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

// ProbesBroken names the goals whose packets got what the file wants before, and do not now. What proved nothing before, or could not be
// sent, proves nothing afterwards either.
func ProbesBroken(before, now []schema.ProbeResult) []string {
	status := map[string]schema.ProbeResult{}
	for _, r := range now {
		status[goalKey(r.Goal)] = r
	}
	var out []string
	for _, old := range before {
		if r, ok := status[goalKey(old.Goal)]; ok && old.Status == "ok" && r.Status != "ok" {
			out = append(out, fmt.Sprintf("%s (%s), by packets: %s", old.Goal.Address, old.Goal.Name, r.Why))
		}
	}
	return out
}
