package apply_test

import (
	"slices"
	"testing"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/schema"
)

func TestProbesBroken(t *testing.T) {
	result := func(name, status, why string) schema.ProbeResult {
		return schema.ProbeResult{Goal: schema.Goal{Address: "expect." + name, Name: "packets of " + name, Probe: true}, Status: status, Why: why}
	}
	before := []schema.ProbeResult{
		result("stays", "ok", ""), result("breaks", "ok", ""), result("open", "unknown", "refused"), result("was_broken", "fail", "no answer"),
		result("doubtful", "ok", ""), result("forgotten", "ok", ""),
	}
	now := []schema.ProbeResult{
		result("doubtful", "unknown", "refused"), result("was_broken", "fail", "no answer"), result("open", "fail", "no answer"),
		result("breaks", "fail", "no answer"), result("stays", "ok", ""), result("new", "fail", "no answer"),
	}
	want := []string{
		"expect.breaks (packets of breaks), by packets: no answer",
		"expect.doubtful (packets of doubtful), by packets: refused",
	}
	if got := apply.ProbesBroken(before, now); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
