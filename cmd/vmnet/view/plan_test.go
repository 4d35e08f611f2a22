package view_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/cmd/vmnet/view"
	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// broken is the plan of a host with a foreign drop, forwarding off, a bridge to make and an address to move.
func broken() *plan.Plan {
	origin := func(line int) schema.Origin { return schema.Origin{File: "host.vmnet.hcl", Line: line} }
	drop := &schema.ForeignRule{Family: "ip", Table: "filter", Chain: "FORWARD", Rule: schema.Rule{Text: "-d 10.20.0.11/32 -p tcp -m tcp --dport 22 -j DROP"}}
	check := func(address, name, before, after, why string) plan.Check {
		return plan.Check{Goal: schema.Goal{Address: address, Name: name, Allow: true}, Before: plan.CheckResult{Status: before, Why: why}, After: plan.CheckResult{Status: after, Why: why}}
	}
	return &plan.Plan{
		FormatVersion: "1.0", Tool: plan.Tool{Name: "vmnet", Version: "0.1.0"}, ID: "7f3a",
		Created: time.Date(2026, 11, 22, 13, 2, 11, 0, time.UTC), Expires: time.Date(2026, 11, 23, 13, 2, 11, 0, time.UTC),
		Host:          plan.HostInfo{Name: "kvm-07", MachineID: "9a", BootID: "b1", Kernel: "6.1.0-28-amd64"},
		Configuration: plan.ConfigRef{Path: "host.vmnet.hcl", Digest: "sha256:4be1"},
		Observation: plan.Observation{Complete: true, Objects: 214, Millis: 1100, Counts: map[schema.Kind]int{
			schema.KindLink: 7, schema.KindAddress: 1, schema.KindTable: 3, schema.KindFDB: 12,
		}},
		Findings: []plan.Finding{
			{
				Code: "VN410", Severity: "error", Title: "a foreign rule blocks a flow of the file", Address: "forward.ssh_db1",
				Object: drop.String(), Detail: "It drops every SSH connection to db1, and nothing else. A drop is final: no accept elsewhere can undo it.",
				Origin: origin(31), Owner: &plan.Owner{Name: "unknown", Confidence: "low", Evidence: []string{"no manager of this host writes to FORWARD"}},
				Evidence: []string{"192.0.2.50:40000 > 10.20.0.11:22 tcp new dies there", "the same line is in /etc/iptables/rules.v4:9"},
				Breaks:   []string{"forward.ssh_db1", "expect.admin_ssh"},
				Fixes: []plan.Fix{
					{Title: "delete the rule, live and in /etc/iptables/rules.v4", Chosen: true, Steps: []int{3, 4}},
					{Title: "an accept in a table of our own", WhyNot: "an accept ends only its own base chain: it cannot undo a drop in another"},
				},
			},
			{Code: "VN207", Severity: "error", Title: "192.0.2.10/24 is on eno1, belongs on br0", Address: "bridge.lan", Origin: origin(12)},
			{Code: "VN103", Severity: "warning", Title: "eno2 has no carrier", Address: "bridge.lan", Origin: origin(12)},
		},
		Steps: []plan.Step{
			{
				ID: 1, Action: "create", Address: "bridge.lan", Origin: origin(12), Change: schema.Change{Ref: schema.LinkRef("br0")},
				Lines: []string{"+ br0 type bridge mtu 1500 stp off up"}, Because: "bridge br0 of bridge.lan is missing", Codes: []string{"VN201"},
				Undo: "delete br0", Commands: []string{"ip link add br0 type bridge", "ip link set br0 up"},
			},
			{
				ID: 2, Action: "move", Address: "bridge.lan", Origin: origin(12), Change: schema.Change{Ref: schema.AddressRef("br0", netip.MustParsePrefix("192.0.2.10/24"))},
				Lines: []string{"> address 192.0.2.10/24  eno1 -> br0"}, Because: "VN207", Codes: []string{"VN207"}, Risk: plan.RiskBlip,
				Hurts: "traffic of this host pauses for at most 50 ms; no flow dies", Undo: "delete address br0 192.0.2.10/24",
			},
			{
				ID: 3, Action: "delete", Address: "forward.ssh_db1", Origin: origin(31), Change: schema.Change{Ref: drop.Ref()},
				Lines: []string{"- " + drop.Rule.Text}, Because: "the rule drops what forward.ssh_db1 asks for", Codes: []string{"VN410"},
				Undo: "insert it again at its place", Commands: []string{"iptables -D FORWARD " + drop.Rule.Text},
			},
			{
				ID: 4, Action: "update", Address: "forward.ssh_db1", Change: schema.Change{Ref: schema.FileRef("/etc/iptables/rules.v4")},
				Lines: []string{"- -A FORWARD " + drop.Rule.Text}, Because: "it would come back at the next boot", Codes: []string{"VN410"}, Undo: "write the former content back",
			},
			{
				ID: 5, Action: "reset", Address: "adapter.eno3", Origin: origin(47), Change: schema.Change{Ref: schema.LinkRef("eno3")},
				Because: "VN105", Codes: []string{"VN105"}, Risk: plan.RiskDrop, Hurts: "web3, web4 are offline for 3 to 6 s", Undo: "not needed",
			},
		},
		Checks: []plan.Check{
			check("expect.db1_updates", "guest.db1 -> 203.0.113.10 tcp/443", "fail", "ok", "the request dies at ip filter FORWARD: policy drop"),
			check("nat.lab", "nat.lab: guests reach the outside", "ok", "ok", ""),
			check("nat.lab", "nat.lab: guests reach each other", "ok", "ok", ""),
			check("expect.backup", "guest.db1 -> 198.51.100.5 tcp/873", "fail", "fail", "the request dies at the route: no route to 198.51.100.5"),
			check("expect.web", "guest.web -> outside udp/53", "depends", "depends", "the request depends on ip filter FORWARD: -m limit --limit 5/min -j DROP"),
		},
		Unrequested: []string{},
		Foreign: []plan.Foreign{
			{Object: "table ip filter (6 chains, 12 rules)", Owner: "docker", Policy: "left alone"},
			{Object: "table inet firewalld (9 chains, 30 rules)", Owner: "firewalld", Policy: "left alone"},
		},
		Summary: plan.Summary{Create: 1, Update: 1, Move: 1, Reset: 1, Delete: 1, WorstRisk: plan.RiskDrop, ChecksOKBefore: 2, ChecksOKAfter: 3, Checks: 5},
		Basis:   make([]plan.Fact, 37),
		Desired: &schema.Desired{State: schema.NewState()},
	}
}

func quiet() *plan.Plan {
	p := broken()
	p.Findings, p.Steps, p.Foreign = nil, nil, nil
	p.Checks = p.Checks[1:3]
	p.Summary = plan.Summary{ChecksOKBefore: 2, ChecksOKAfter: 2, Checks: 2}
	return p
}

func TestPlan(t *testing.T) {
	t.Parallel()
	golden(t, "plan.txt", view.Plan(broken(), view.Options{Path: "host.vmnet.hcl"}))
	golden(t, "plan_full.txt", view.Plan(broken(), view.Options{Full: true, Saved: "fix.vmplan"}))
	golden(t, "plan_narrow.txt", view.Plan(broken(), view.Options{Width: 60}))
	golden(t, "plan.md", view.Markdown(broken(), view.Options{}))
}

func TestPlanWithNothingToDo(t *testing.T) {
	t.Parallel()
	want := "No changes. The host is as host.vmnet.hcl says; 2 of 2 expectations hold.\n"
	if got := view.Plan(quiet(), view.Options{}); got != want {
		t.Errorf("Plan = %q, want %q", got, want)
	}
}

// Other networks of the host that "outside" takes in are said, in both forms.
func TestReached(t *testing.T) {
	t.Parallel()
	p := broken()
	p.Reached = []string{"nat.lab reaches also docker0 (172.17.0.0/16), which is outside by definition"}
	for name, got := range map[string]string{"text": view.Plan(p, view.Options{Width: 200}), "markdown": view.Markdown(p, view.Options{})} {
		if !strings.Contains(got, "reaches also docker0 (172.17.0.0/16)") {
			t.Errorf("%s does not say it:\n%s", name, got)
		}
	}
}

// What could not be seen never gives "No changes".
func TestBlindPlan(t *testing.T) {
	t.Parallel()
	p := quiet()
	p.Observation = plan.Observation{Blind: []string{"nftables", "iptables"}}
	got := view.Plan(p, view.Options{})
	if strings.Contains(got, "No changes") || !strings.Contains(got, "Not seen for lack of privileges: nftables, iptables.") {
		t.Errorf("Plan = %q, want what was not seen, and no promise", got)
	}
	p.Observation = plan.Observation{Blind: []string{schema.MovingRules}}
	if got := view.Plan(p, view.Options{}); strings.Contains(got, "No changes") || strings.Contains(got, "privileges") || !strings.Contains(got, "kept changing") {
		t.Errorf("Plan = %q, want that the rules did not come to rest, and no word of privileges", got)
	}
	p = broken()
	p.Observation = plan.Observation{Blind: []string{"nftables"}}
	if got := view.Plan(p, view.Options{}); !strings.Contains(got, "not the whole truth") {
		t.Errorf("Plan does not warn:\n%s", got)
	}
}

// A plan that apply refuses does not propose apply, and says why: it breaks what holds, or was made half blind.
func TestPlanThatIsRefused(t *testing.T) {
	t.Parallel()
	breaks, blind := broken(), broken()
	breaks.Observation.Complete = true
	breaks.Checks[1].After.Status = "fail"
	blind.Observation = plan.Observation{Blind: []string{"nftables"}}
	blind.Findings = append(blind.Findings, plan.Finding{Code: "VN603", Severity: "warning", Detail: "rules that could not be read", Title: "one"},
		plan.Finding{Code: "VN603", Severity: "warning", Detail: "rules that could not be read", Title: "two"})
	for name, c := range map[string]struct {
		p    *plan.Plan
		want []string
		not  []string
	}{
		"breaks what holds": {breaks, []string{"apply will refuse this plan: the plan would break what holds now: nat.lab: guests reach the outside"}, nil},
		"blind":             {blind, []string{"apply will refuse this plan", "not asked for: not known", "VN603 warning  2 expectations cannot be decided"}, []string{"not asked for: none", "  one\n"}},
	} {
		for _, o := range []view.Options{{Path: "host.vmnet.hcl"}, {Saved: "fix.vmplan"}} {
			text := view.Plan(c.p, o)
			for _, w := range c.want {
				if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(w), " ")) {
					t.Errorf("%s: no %q:\n%s", name, w, text)
				}
			}
			for _, w := range append(c.not, "vmnet apply") {
				if strings.Contains(text[strings.LastIndex(text, "\nPlan:")+1:], w) || (w != "vmnet apply" && strings.Contains(text, w)) {
					t.Errorf("%s: has %q:\n%s", name, w, text)
				}
			}
		}
	}
	if md := view.Markdown(blind, view.Options{}); !strings.Contains(md, "Newly reachable and not asked for: not known") || strings.Contains(md, "not asked for: none") {
		t.Errorf("Markdown promises:\n%s", md)
	}
}

// Where a remedy is known and the file forbids it, the text does not say that there is none.
func TestReportedOnly(t *testing.T) {
	t.Parallel()
	p := broken()
	p.Steps = nil
	p.Desired.Settings.Foreign = "report"
	for i := range p.Findings {
		p.Findings[i].Fixes = nil
	}
	got := view.Plan(p, view.Options{})
	if !strings.Contains(got, `none: foreign = "report" forbids`) || strings.Contains(got, "no remedy") {
		t.Errorf("Plan:\n%s", got)
	}
}

// --full shows every rule that is loaded, and the elements of sets up to a bound.
func TestFullShowsRules(t *testing.T) {
	t.Parallel()
	accept := func(comment string) *schema.Rule {
		return &schema.Rule{Comment: comment, Exprs: []schema.Expr{{Name: "counter"}, {Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}}}}
	}
	table := func(comments ...string) *schema.Table {
		c := &schema.Chain{Name: "filter_forward", Type: "filter", Hook: "forward"}
		for _, comment := range comments {
			c.Rules = append(c.Rules, accept(comment))
		}
		set := &schema.Set{Name: "nat4", KeyType: 7, KeyLen: 4}
		for i := range 25 {
			set.Elements = append(set.Elements, schema.Element{Key: []byte{10, 0, byte(i), 0}, KeyEnd: []byte{10, 0, byte(i), 255}})
		}
		links := &schema.Set{Name: "links", KeyType: 41<<6 | 13, Fields: []uint32{16, 2}, Elements: []schema.Element{
			{Key: append(append([]byte("vnet0"), make([]byte, 11)...), 0, 22, 0, 0), Verdict: &schema.Verdict{Kind: "jump", Chain: "x"}},
		}}
		return &schema.Table{Family: "inet", Name: "vmnet", Chains: []*schema.Chain{c}, Sets: []*schema.Set{links, set}}
	}
	p := broken()
	p.Steps = []plan.Step{{ID: 1, Action: "update", Change: schema.Change{Ref: schema.TableRef("inet", "vmnet"), Before: table("stays", "goes"), After: table("stays", "comes")}}}
	p.Steps[0].Change.After.(*schema.Table).Sets[1].Elements[0].Key = []byte{10, 0, 0, 9}
	got := view.Plan(p, view.Options{Full: true})
	for _, want := range []string{
		"        chain filter_forward: counter accept comment \"stays\"\n",
		"      + chain filter_forward: counter accept comment \"comes\"\n",
		"      - chain filter_forward: counter accept comment \"goes\"\n",
		"        set links: { \"vnet0\" . 22 : jump x }\n",
		"      + set nat4: { 10.0.0.9-10.0.0.255, ", "10.0.19.0-10.0.19.255, … 5 more }\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if got := view.Plan(p, view.Options{}); strings.Contains(got, "filter_forward") {
		t.Errorf("rules without --full:\n%s", got)
	}
}

// Findings without steps are told, not hidden behind "No changes".
func TestFindingsWithoutRemedy(t *testing.T) {
	t.Parallel()
	p := broken()
	p.Steps = nil
	got := view.Plan(p, view.Options{})
	if strings.Contains(got, "No changes") || !strings.Contains(got, "none: vmnet has no remedy") {
		t.Errorf("Plan:\n%s", got)
	}
}

// Colours carry no meaning alone: without them the text is the same.
func TestColourAddsNothing(t *testing.T) {
	t.Parallel()
	colour := view.Plan(broken(), view.Options{Color: true})
	if !strings.Contains(colour, "\x1b[31mFAIL\x1b[0m") {
		t.Error("FAIL is not red")
	}
	var b strings.Builder
	for rest := colour; rest != ""; {
		text, after, found := strings.Cut(rest, "\x1b[")
		b.WriteString(text)
		if rest = after; found {
			_, rest, _ = strings.Cut(rest, "m")
		}
	}
	if b.String() != view.Plan(broken(), view.Options{}) {
		t.Error("without its colours the text differs from the plain one")
	}
}

// A rule's comment is written by anybody: it must not move the cursor of whoever reads a plan as root.
func TestForeignTextIsHarmless(t *testing.T) {
	t.Parallel()
	p := broken()
	evil := "-m comment --comment \"\x1b[2J\x1b]0;owned\x07\u202e\" -j DROP"
	p.Findings[0].Object, p.Steps[0].Lines, p.Steps[0].Because = evil, []string{evil}, evil
	for name, got := range map[string]string{"Plan": view.Plan(p, view.Options{Full: true}), "Markdown": view.Markdown(p, view.Options{})} {
		if strings.ContainsAny(got, "\x1b\x07\u202e") {
			t.Errorf("%s lets control characters through: %q", name, got)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	flow := trace.Flow{From: "vnet3", Src: netip.MustParseAddr("10.20.0.11"), Dst: netip.MustParseAddr("203.0.113.10"), Proto: "tcp", SrcPort: 40000, DstPort: 443}
	packet := "10.20.0.11:40000 > 203.0.113.10:443 tcp new in virbr-lab out eno1"
	drop := trace.Hop{
		Half: "request", Stage: "forward", Ref: schema.TableRef("ip", "filter"), Chain: "FORWARD", Base: "FORWARD", Rule: 2,
		Text: "-s 10.20.0.0/24 -m comment --comment \"written by somebody at 3 o'clock in the morning\" -j DROP", Action: "drop", Packet: packet,
	}
	hops := []trace.Hop{
		{Half: "request", Stage: "bridge", Ref: schema.LinkRef("virbr-lab"), Rule: -1, Text: "virbr-lab", Action: "up to the host", Packet: "10.20.0.11:40000 > 203.0.113.10:443 tcp new in vnet3"},
		{Half: "request", Stage: "route", Ref: schema.Ref{Kind: schema.KindRoute, Name: "main 0.0.0.0/0 via 192.0.2.1 dev eno1"}, Rule: -1, Text: "default via 192.0.2.1 dev eno1", Action: "forward", Packet: packet},
		{Half: "request", Stage: "forward", Ref: schema.TableRef("inet", "vmnet"), Chain: "forward", Base: "forward", Rule: 0, Text: "iifname virbr-lab accept", Action: "accept", Packet: packet},
		drop,
	}
	udp := flow
	udp.Proto = "udp"
	blocked := plan.TracedPart{
		Part: trace.Part{
			Verdict: trace.Block, Packets: "from 10.20.0.11 to 203.0.113.10 tcp", Share: 0.5,
			Witness: trace.Result{Flow: flow, Verdict: trace.Block, Half: "request", Decider: &drop, Hops: hops},
		},
		Owner: &plan.Owner{Name: "iptables-persistent", Confidence: "medium", Evidence: []string{"/etc/iptables/rules.v4 line 7 has the same rule"}},
		Place: "/etc/iptables/rules.v4:7",
	}
	passing := plan.TracedPart{Part: trace.Part{
		Verdict: trace.Pass, Packets: "from 10.20.0.11 to 203.0.113.10 udp", Share: 0.5,
		Witness: trace.Result{Flow: udp, Verdict: trace.Pass, Hops: hops[:2]},
	}}
	traced := view.NewTraced("guest.db1", "203.0.113.10", "any", plan.Traced{Verdict: trace.Partly, Parts: []plan.TracedPart{blocked, passing}})
	golden(t, "trace.txt", view.Trace(traced, view.Options{}))
	golden(t, "trace_full.txt", view.Trace(traced, view.Options{Full: true}))
	b, err := view.TraceJSON(traced)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "trace.json", string(b))
	before := traced.Traced
	traced.Before, traced.Plan, traced.Traced = &before, "7f3a", plan.Traced{Verdict: trace.Pass, Parts: []plan.TracedPart{passing}}
	golden(t, "trace_plan.txt", view.Trace(traced, view.Options{}))
}

func TestPlanJSONHasTheAgreedKeys(t *testing.T) {
	t.Parallel()
	b, err := view.PlanJSON(broken())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		`"format_version":"1.0"`, `"plan_id":"7f3a"`, `"resource_changes":[`, `"checks":[`, `"findings":[`,
		`"unrequested_reachability":[]`, `"worst_risk":"drop"`, `"basis":[`,
	} {
		if !strings.Contains(string(b), key) {
			t.Errorf("the plan's JSON lacks %s", key)
		}
	}
}
