package checks

import (
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// Layer is where an engineer would look: the layers are in the order of Layers.
type Layer string

// The layers.
const (
	LayerHost     Layer = "host"     // the kernel, its modules and limits, who manages the host's network
	LayerAdapters Layer = "adapters" // network cards, taps, tunnels
	LayerBridges  Layer = "bridges"  // bridges, and how guests are attached to them
	LayerIP       Layer = "ip"       // addresses, routes, neighbours, kernel settings
	LayerFirewall Layer = "firewall" // rules and NAT, and the files they come from
	LayerServices Layer = "services" // DHCP, DNS, the managers of virtual networks
)

// Layers lists them in the order in which they are looked at.
func Layers() []Layer {
	return []Layer{LayerHost, LayerAdapters, LayerBridges, LayerIP, LayerFirewall, LayerServices}
}

// Check is one thing that can be wrong.
type Check struct {
	Code  string // "VN221"; it never changes its meaning
	Name  string // "bridge-mtu", as the file bridge_mtu.go
	Layer Layer
	Title string // what a finding means, in a line
	Doc   Doc
	// Run lists what is wrong. It changes nothing, and fills neither Code nor Check of what it returns.
	Run func(*Host) []Finding
}

// Doc is what explain prints of a code: plain text, each part of at least one sentence.
type Doc struct {
	Means   string `json:"means"`   // what it means
	Example string `json:"example"` // a host on which it is found, in commands or in the words of their output
	Why     string `json:"why"`     // how it comes about, and who brings it about
	Repair  string `json:"repair"`  // what vmnet does about it
	ByHand  string `json:"by_hand"` // what a person does about it
	Lasting string `json:"lasting"` // how it stays repaired
}

// Parts are the parts with their headings, in the order of printing.
func (d Doc) Parts() [][2]string {
	return [][2]string{
		{"What it means", d.Means},
		{"Example", d.Example},
		{"Why it happens", d.Why},
		{"How vmnet repairs it", d.Repair},
		{"By hand", d.ByHand},
		{"To make it last", d.Lasting},
	}
}

// Severities of findings. An Error cuts somebody off, or will; a Warning hurts in circumstances that it names; an Info is worth
// knowing, and nothing is wrong.
const (
	Error   = "error"
	Warning = "warning"
	Info    = "info"
)

// Finding is one thing that is wrong.
type Finding struct {
	Code  string // of the check
	Check string // its name

	Severity string
	Title    string
	// Detail explains in full sentences: what follows, and what decides.
	Detail string
	// Object is what is to blame.
	Object schema.Ref
	// Links are whom it concerns: a plan tells it to those whose file speaks of one of them. None: everybody on the host.
	Links []string
	// Owner is who brings it about, "" for nobody in particular; Proof is how that is known.
	Owner string
	Proof []string
	// Evidence are the facts it rests on, one line each.
	Evidence []string
	// Cure is what to do about this very case, one command or sentence each, the smallest first.
	Cure []string
	// Want are desired objects that repair it: nil fields are left as they are. None: a person decides.
	Want []schema.Object
	// Standing says that all of Want is there already, by an earlier repair: nothing is wrong as long as it stays.
	Standing bool
}

// Run runs checks in their order, and gives every finding the code and name of its check.
func Run(h *Host, checks []Check) []Finding {
	return slices.DeleteFunc(RunAll(h, checks), func(f Finding) bool { return f.Standing })
}

// RunAll is Run with the findings whose repair stands already.
func RunAll(h *Host, checks []Check) []Finding {
	var out []Finding
	for _, c := range checks {
		for _, f := range c.Run(h) {
			f.Code, f.Check, f.Standing = c.Code, c.Name, repaired(h, f)
			out = append(out, f)
		}
	}
	return out
}

// repaired tells whether all that a finding wants is there: a check that looks past what vmnet did finds its cause for ever.
func repaired(h *Host, f Finding) bool {
	return len(f.Want) > 0 && !slices.ContainsFunc(f.Want, func(o schema.Object) bool {
		live := h.Get(o.Ref())
		return live == nil || len(schema.Compare(live, o)) > 0
	})
}

// Named returns the check of a name or code; false for none.
func Named(name string) (Check, bool) {
	all := All()
	if i := slices.IndexFunc(all, func(c Check) bool { return c.Name == name || c.Code == name }); i >= 0 {
		return all[i], true
	}
	return Check{}, false
}
