package plan

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// real is a host that a real program has set up: see testdata/real/README.md.
type real struct {
	name  string
	dir   string
	state *schema.State
}

func realHosts(t *testing.T) []real {
	t.Helper()
	dirs, err := filepath.Glob("testdata/real/*/host.json")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no recorded hosts: %v", err)
	}
	var out []real
	for _, path := range dirs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := schema.NewState()
		if err := json.Unmarshal(b, s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		dir := filepath.Dir(path)
		out = append(out, real{filepath.Base(dir), dir, s})
	}
	return out
}

// undecided are the rules that are not walked yet, by host: the frames' ports in br_netfilter's detour, and ebtables' matches
// of libvirt's nwfilter. There an answer may be "depends", and never a wrong one.
var undecided = map[string][]string{"nwfilter": {"-m physdev ", "match -m ip ", "match -m arp "}}

// TestRealFlows: what gets through on hosts that real programs have set up is what their kernel did.
func TestRealFlows(t *testing.T) {
	for _, r := range realHosts(t) {
		t.Run(r.name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(r.dir, "flows"))
			if err != nil {
				t.Fatal(err)
			}
			w := trace.New(r.state)
			for line := range strings.Lines(string(b)) {
				f := strings.Fields(line)
				if len(f) != 6 || f[0] == "#" {
					continue
				}
				flow, err := flowOf(f)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				res := w.Walk(flow)
				if string(res.Verdict) != f[5] && !mayDepend(r.name, res) {
					t.Errorf("%sbut vmnet says %s: %+v", line, res.Verdict, res.Decider)
				}
				if res.Verdict != trace.Pass && res.Decider == nil {
					t.Errorf("%snobody decides", line)
				}
			}
		})
	}
}

func mayDepend(host string, res trace.Result) bool {
	return res.Verdict == trace.Depends && slices.ContainsFunc(undecided[host], func(s string) bool { return strings.Contains(res.Decider.Text, s) })
}

// flowOf reads "FROM-LINK SOURCE DESTINATION PROTOCOL PORT".
func flowOf(f []string) (trace.Flow, error) {
	flow := trace.Flow{From: f[0], Proto: f[3]}
	if f[0] == "-" {
		flow.From = ""
	}
	var err error
	if flow.Src, err = netip.ParseAddr(f[1]); err != nil {
		return flow, err
	}
	if flow.Dst, err = netip.ParseAddr(f[2]); err != nil {
		return flow, err
	}
	port, err := strconv.ParseUint(f[4], 10, 16)
	if flow.Proto != "icmp" {
		flow.SrcPort, flow.DstPort = 40000, uint16(port)
	}
	return flow, err
}
