package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// Diagnosis is what is wrong with a host's virtual networks, found without a file that says what they should be.
type Diagnosis struct {
	FormatVersion string      `json:"format_version"`
	Tool          Tool        `json:"tool"`
	Host          HostInfo    `json:"host"`
	Observation   Observation `json:"observation"`
	// Fitness says what the host has of what virtual networks need, and who manages its network.
	Fitness []Fitness `json:"fitness"`
	// Networks are the virtual networks that were found, by device.
	Networks []*checks.Network `json:"networks"`
	// Examined are the checks that were made, in their order.
	Examined []Examined `json:"checks"`
	// Questions are what was asked about guests' packets.
	Questions []Asked `json:"questions"`
	// Findings are in the order of the layers, and within one the worst first.
	Findings []Finding `json:"findings"`
	// Repair is the configuration whose plan repairs what can be; "" where it was not asked for or there is nothing to write.
	Repair string `json:"repair,omitempty"`
	// Repaired are the codes of findings that are gone after the plan of Repair.
	Repaired []string `json:"repaired,omitempty"`

	concerned map[string]bool // the devices of networks that have a finding
}

// Fitness is one fact of the host itself.
type Fitness struct {
	Name  string `json:"name"` // "kernel", "capabilities", "firewall managers" …
	Value string `json:"value"`
	OK    bool   `json:"ok"`
}

// Examined is a check that was made.
type Examined struct {
	Code  string       `json:"code"`
	Name  string       `json:"name"`
	Layer checks.Layer `json:"layer"`
	Title string       `json:"title"`
	Found int          `json:"found"`
}

// Asked is a question about guests' packets, with its answer.
type Asked struct {
	Network string `json:"network"` // the device
	Text    string `json:"text"`    // "guests of virbr0 reach the outside (tcp/443)"
	// Status is "ok", "fail", "depends", or "unknown".
	Status string `json:"status"`
	Why    string `json:"why,omitempty"`
}

// Wrong counts the errors and warnings.
func (d *Diagnosis) Wrong() int {
	n := 0
	for _, f := range d.Findings {
		if f.Severity != checks.Info {
			n++
		}
	}
	return n
}

// Diagnose makes checks on a host, all or one of them, and asks what becomes of guests' packets. It reads nothing but its
// arguments and changes none.
func Diagnose(live *schema.State, which []checks.Check) *Diagnosis {
	h := checks.Look(live, nil)
	d := &Diagnosis{
		FormatVersion: "1.0", Tool: Tool{Name: "vmnet"}, Observation: observation(live), Fitness: fitness(h),
		Networks: h.Networks, Examined: []Examined{}, Questions: []Asked{}, Findings: []Finding{}, concerned: map[string]bool{},
	}
	if d.Networks == nil {
		d.Networks = []*checks.Network{}
	}
	for _, c := range which {
		found := checks.Run(h, []checks.Check{c})
		d.Examined = append(d.Examined, Examined{c.Code, c.Name, c.Layer, c.Title, len(found)})
		for _, f := range found {
			d.Findings = append(d.Findings, FindingOf(f))
			d.concern(f.Links)
		}
	}
	if len(which) == len(checks.All()) {
		d.ask(live, h)
	}
	sortByLayer(d.Findings)
	return d
}

// sortByLayer puts findings in the order in which an engineer looks: by the hundreds of their codes, which follow the layers.
func sortByLayer(all []Finding) {
	weight := map[string]int{checks.Error: 0, checks.Warning: 1, checks.Info: 2}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code[:3], b.Code[:3]), cmp.Compare(weight[a.Severity], weight[b.Severity]), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Title, b.Title))
	})
}

// question is what a healthy network's guests can do.
type question struct {
	goal schema.Goal
	text string
	nat  bool // the packets must leave with another source
}

// ask puts the questions that need no file: what each network is there for. Where no guest's port is up nobody is there to ask
// for.
func (d *Diagnosis) ask(live *schema.State, h *checks.Host) {
	want := &schema.Desired{State: schema.NewState()}
	for _, n := range h.Networks {
		want.Networks = append(want.Networks, networkOf(n))
	}
	for _, n := range h.Networks {
		if !h.Populated(n) {
			continue
		}
		for _, q := range questions(h, n) {
			d.answer(live, want, n, q)
		}
	}
}

func (d *Diagnosis) answer(live *schema.State, want *schema.Desired, n *checks.Network, q question) {
	t := Ask(settled(live), want, Question{Goal: q.goal})
	a := Asked{Network: n.Device, Text: q.text, Status: "unknown"}
	for _, p := range t.Parts {
		switch {
		case p.Verdict == "block" && p.Witness.Decider != nil && intended(p.Witness.Decider.Code):
			a.Status, a.Why = "ok", "kept apart on purpose: "+why(p.Witness)
		case p.Verdict == "block" && inside(n, p):
		case p.Verdict == "block":
			a.Status, a.Why = "fail", why(p.Witness)
			d.found(n, q, p)
		case p.Verdict == "depends" && a.Status != "fail":
			a.Status, a.Why = "depends", why(p.Witness)
		case p.Verdict == "pass" && q.nat && !translated(p.Witness):
			a.Status, a.Why = "fail", "the packet leaves with the guest's own address: nothing masquerades it"
			d.bare(n, q, p)
		case p.Verdict == "pass" && a.Status == "unknown":
			a.Status = "ok"
		}
	}
	d.Questions = append(d.Questions, a)
}

// inside tells of packets that are not for where the question leads: the network itself takes them, whatever its routes say.
func inside(n *checks.Network, p TracedPart) bool {
	d := p.Witness.Decider
	return d != nil && d.Code == trace.CodeNoRoute && d.Ref == schema.LinkRef(n.Device)
}

// intended tells blocks that somebody set up on the port itself, to keep guests apart.
func intended(code string) bool { return code == trace.CodeIsolated || code == trace.CodeLocked }

// found is the finding of a question that fails: the culprit, with its owner.
func (d *Diagnosis) found(n *checks.Network, q question, p TracedPart) {
	hop := p.Witness.Decider
	d.concerned[n.Device] = true
	f := Finding{
		Code: "VN601", Severity: checks.Error, Title: "not so: " + q.text, Owner: p.Owner, Object: n.Device,
		Detail: "It dies there: " + why(p.Witness) + ".",
	}
	if hop != nil {
		f.Code = cmp.Or(hop.Code, map[bool]string{true: "VN411", false: "VN410"}[hop.Rule < 0 && hop.Chain != ""])
		f.Object = hop.Ref.String()
		f.Evidence = append(f.Evidence, "packet "+hop.Packet)
		place := hop.Ref.Name
		if hop.Chain != "" {
			place += " chain " + hop.Chain
		}
		f.Evidence = append(f.Evidence, place+": "+hop.Text)
	}
	if p.Place != "" {
		f.Evidence = append(f.Evidence, "it stands at "+p.Place)
	}
	f.Breaks = []string{q.text}
	if f.Owner != nil {
		if i := slices.IndexFunc(signatures, func(s signature) bool { return s.owner == f.Owner.Name }); i >= 0 {
			if signatures[i].control {
				f.Severity = checks.Info
				f.Detail += " It is a privacy or security control, and blocks on purpose."
			}
			f.Cure = append(f.Cure, f.Owner.Name+": "+signatures[i].hint)
		}
	}
	if i := slices.IndexFunc(d.Findings, func(o Finding) bool {
		return o.Code == f.Code && o.Object == f.Object && len(o.Breaks) > 0 && slices.Equal(o.Evidence[1:], f.Evidence[1:])
	}); i >= 0 {
		d.Findings[i].Breaks = appendNew(d.Findings[i].Breaks, q.text)
		return
	}
	d.Findings = append(d.Findings, f)
}

func (d *Diagnosis) bare(n *checks.Network, q question, p TracedPart) {
	d.concerned[n.Device] = true
	f := Finding{
		Code: "VN601", Severity: checks.Error, Title: "nothing masquerades guests of " + n.Label(), Object: n.Device, Breaks: []string{q.text},
		Detail:   "Their packets leave with addresses that nobody outside knows the way back to.",
		Evidence: []string{"mode nat: " + n.Why, "no rule gives the packet another source"},
	}
	if len(p.Witness.Hops) > 0 {
		f.Evidence = append(f.Evidence, "packet "+p.Witness.Hops[0].Packet)
	}
	if n.Manager == "libvirt" {
		f.Owner = &Owner{Name: "libvirt", Confidence: medium, Evidence: []string{n.Why}}
		f.Cure = []string{"systemctl restart virtnetworkd (or libvirtd), which writes its rules anew and leaves guests attached"}
	}
	d.Findings = append(d.Findings, f)
}

// questions are what the guests of a network need: the outside where the network leads there, the host's servers, each other.
func questions(h *checks.Host, n *checks.Network) []question {
	guests := endpointOf(n)
	var out []question
	add := func(text string, to schema.Endpoint, service schema.Service, nat bool) {
		out = append(out, question{schema.Goal{Name: text, From: guests, To: to, Service: service, Allow: true}, text + " (" + service.String() + ")", nat})
	}
	on := func(proto string, port uint16) schema.Service {
		return schema.Service{Proto: proto, Ports: []schema.PortRange{{First: port, Last: port}}}
	}
	if len(guests.Prefixes) == 0 {
		return nil
	}
	if n.Mode == checks.ModeNAT || n.Mode == checks.ModeRouted {
		add("guests of "+n.Label()+" reach the outside", schema.Endpoint{Kind: "outside"}, on("tcp", 443), n.Mode == checks.ModeNAT)
	}
	if n.Mode != checks.ModeBridge {
		for _, s := range h.Servers(n) {
			add("guests of "+n.Label()+" reach the host's "+s.Name, schema.Endpoint{Kind: "host"}, on(s.Proto, s.Port), false)
		}
		if len(n.Ports) > 1 {
			add("guests of "+n.Label()+" reach each other", guests, on("tcp", 22), false)
		}
	}
	return out
}

// networkOf is a network that was found in the words of a file.
func networkOf(n *checks.Network) schema.Network {
	mode := map[string]string{checks.ModeBridge: "bridge", checks.ModeIsolated: "host_only"}[n.Mode]
	out := schema.Network{Address: cmp.Or(mode, "nat") + "." + n.Device, Mode: cmp.Or(mode, "nat"), Device: n.Device}
	for _, p := range n.Hosts {
		out.Subnets, out.Gateways = append(out.Subnets, p.Masked()), append(out.Gateways, p.Addr())
	}
	if mode == "bridge" {
		out.Ports = n.Uplinks
	}
	return out
}

func endpointOf(n *checks.Network) schema.Endpoint {
	var prefixes []netip.Prefix
	for _, p := range n.Hosts {
		if !p.IsSingleIP() {
			prefixes = append(prefixes, p.Masked())
		}
	}
	return schema.Endpoint{Kind: "network", Address: networkOf(n).Address, Device: n.Device, Prefixes: prefixes}
}
