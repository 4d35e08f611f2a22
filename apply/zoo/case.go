package zoo

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// The outcomes of a case.
const (
	Repaired  = "repaired"  // named and healed
	Reported  = "reported"  // named, and nothing is changed
	Healthy   = "healthy"   // looks like a fault and is none: nothing is said or done
	Uncovered = "uncovered" // not run; Case.Reason says why
)

// The beds of a case.
const (
	Namespace    = "namespace" // this kernel
	Neighbour    = "neighbour" // this kernel, beside real firewall managers
	SecondKernel = "guest"     // under QEMU
)

// Case is a fault, or what looks like one. The package's comment has the form of its file.
type Case struct {
	ID string // of the fault
	// Variant tells several cases of one fault apart; "" for the only or the first.
	Variant             string
	Title, Says, Source string
	Outcome, Reason     string
	Bed                 string
	// Beside are the managers of a Neighbour bed that run from the beginning, Starts those that come with the fault.
	Beside, Starts []string
	World          string
	// Alone says why the case is not run together with others; "" for one that is. Touches are names of what it breaks: two
	// that touch the same would hide each other.
	Alone   string
	Touches []string
	// Unlike matches lines of the host's state that a repair may bring although they bear no mark, Leaves those that an owner
	// leaves when it is told to forget, Opens what a repair may open beside what was asked for; nil for none.
	Unlike, Leaves, Opens *regexp.Regexp
	// Config replaces the world's configuration unless it is "", Also is added to it.
	Config, Also string
	// Healthy, Before and Break are run by sh: before vmnet comes, before the programs that break it start, and after them.
	Healthy, Before, Break string
	Flows                  []Flow
	Findings               []Finding
	// Doctor is what must be said of the broken host without a file, beside what is said of the healthy one. Nil: it is not asked.
	Doctor        []Finding
	Files, Broken map[string]string // content by path, of the healthy host and of the fault
	path          string
}

// Finding is what a plan must say. A nil expression matches everything.
type Finding struct {
	Code, Severity              string
	Title, Owner, Evidence, Fix *regexp.Regexp
}

// Guest is a virtual machine of a world: "NAME DEVICE MAC ADDRESSES GATEWAYS", the last two separated by commas.
type Guest struct{ Name, Device, MAC, Addresses, Gateways string }

// World is what cases are run in: a file of worlds/ with a configuration, guests, and what must pass in it.
type World struct {
	Name string
	// Advertise lets the LAN's router send router advertisements.
	Advertise bool
	Config    string
	Healthy   string // shell, run before vmnet comes
	Guests    []Guest
	Flows     []Flow
}

// Load reads all cases of a folder, by ID.
func Load(dir string) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, fmt.Errorf("list cases: %w", err)
	}
	var out []*Case
	var errs []error
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read case: %w", err)
		}
		c, err := Parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		c.path = path
		if !strings.HasPrefix(filepath.Base(path), strings.ToLower(c.ID)+"-") {
			errs = append(errs, fmt.Errorf("%s: the case is %s", path, c.ID))
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *Case) int { return strings.Compare(a.Name(), b.Name()) })
	for i := 1; i < len(out); i++ {
		if out[i].Name() == out[i-1].Name() {
			errs = append(errs, fmt.Errorf("%s and %s are both %s", out[i-1].path, out[i].path, out[i].Name()))
		}
	}
	return out, errors.Join(errs...)
}

// Parse reads a case.
func Parse(text []byte) (*Case, error) {
	a := txtar.Parse(text)
	c := &Case{Bed: Namespace, World: "nat", Files: map[string]string{}, Broken: map[string]string{}}
	if err := eachKey(string(a.Comment), c.set); err != nil {
		return nil, err
	}
	for _, f := range a.Files {
		if err := c.file(f.Name, string(f.Data)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return c, c.check()
}

func (c *Case) set(key, value string) (err error) {
	texts := map[string]*string{
		"id": &c.ID, "variant": &c.Variant, "title": &c.Title, "says": &c.Says, "source": &c.Source, "outcome": &c.Outcome, "reason": &c.Reason,
		"world": &c.World, "alone": &c.Alone,
	}
	switch {
	case texts[key] != nil:
		*texts[key] = value
	case key == "bed":
		words := strings.Fields(value)
		c.Bed, c.Beside = words[0], words[1:]
	case key == "break":
		c.Starts = strings.Fields(value)
	case key == "touches":
		c.Touches = strings.Fields(value)
	case key == "unlike":
		c.Unlike, err = regexp.Compile(value)
	case key == "leaves":
		c.Leaves, err = regexp.Compile(value)
	case key == "opens":
		c.Opens, err = regexp.Compile(value)
	default:
		err = fmt.Errorf("unknown key %q", key)
	}
	return err
}

func (c *Case) file(name, data string) (err error) {
	switch {
	case name == "config.vmnet.hcl":
		c.Config = data
	case name == "also.vmnet.hcl":
		c.Also = data
	case name == "healthy.sh":
		c.Healthy = data
	case name == "before.sh":
		c.Before = data
	case name == "break.sh":
		c.Break = data
	case name == "flows":
		c.Flows, err = parseFlows(data)
	case name == "findings":
		c.Findings, err = parseFindings(data)
	case name == "doctor":
		c.Doctor, err = parseFindings(data)
	case strings.HasPrefix(name, "root/"):
		c.Files[strings.TrimPrefix(name, "root")] = data
	case strings.HasPrefix(name, "broken/"):
		c.Broken[strings.TrimPrefix(name, "broken")] = data
	default:
		err = errors.New("no such section")
	}
	return err
}

// check refuses a case that could not fail.
func (c *Case) check() error {
	shown := slices.ContainsFunc(c.Flows, func(f Flow) bool { return f.When == Broken })
	switch {
	case c.ID == "" || c.Title == "":
		return errors.New("a case has an id and a title")
	case !slices.Contains([]string{Repaired, Reported, Healthy, Uncovered}, c.Outcome):
		return fmt.Errorf("unknown outcome %q", c.Outcome)
	case c.Outcome == Uncovered && c.Reason == "":
		return errors.New("what is uncovered has a reason")
	case !slices.Contains([]string{Namespace, Neighbour, SecondKernel}, c.Bed):
		return fmt.Errorf("unknown bed %q", c.Bed)
	case c.Outcome == Repaired && (len(c.Findings) == 0 || !shown), c.Outcome == Reported && len(c.Findings)+len(c.Doctor) == 0:
		return errors.New("a fault has findings, and one that is repaired a flow that is broken")
	case c.Outcome == Healthy && (len(c.Findings)+len(c.Doctor) > 0 || shown):
		return errors.New("what is healthy has no findings, and nothing is broken")
	}
	return nil
}

// Await makes uncovered what expects findings that vmnet does not know: known are the codes that it has.
func (c *Case) Await(known map[string]bool) {
	for _, code := range c.Codes() {
		if !known[code] && c.Outcome != Uncovered {
			c.Outcome, c.Reason = Uncovered, code+" is not there yet"
		}
	}
}

// Name is the case's own: "FW-01", "FW-01/docker".
func (c *Case) Name() string {
	if c.Variant == "" {
		return c.ID
	}
	return c.ID + "/" + c.Variant
}

// Codes are those of the case's findings, sorted.
func (c *Case) Codes() []string {
	seen := map[string]bool{}
	for _, f := range slices.Concat(c.Findings, c.Doctor) {
		seen[f.Code] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// Together tells whether two cases can be run at once: in the same bed and world, with the same configuration, both repaired.
func Together(a, b *Case) bool {
	return a != b && a.Bed == Namespace && b.Bed == Namespace && a.World == b.World && a.Outcome == Repaired && b.Outcome == Repaired &&
		a.Alone == "" && b.Alone == "" && a.Config == b.Config && a.Healthy == b.Healthy && !collide(a, b)
}

func collide(a, b *Case) bool {
	if slices.ContainsFunc(a.Touches, func(x string) bool { return slices.Contains(b.Touches, x) }) {
		return true
	}
	for path := range a.Broken {
		if _, ok := b.Broken[path]; ok {
			return true
		}
	}
	return len(a.Files) > 0 || len(b.Files) > 0
}

// LoadWorld reads a world of a folder.
func LoadWorld(dir, name string) (*World, error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".txtar"))
	if err != nil {
		return nil, fmt.Errorf("read world: %w", err)
	}
	a := txtar.Parse(text)
	w := &World{Name: name}
	err = eachKey(string(a.Comment), func(key, value string) error {
		if key != "advertise" {
			return fmt.Errorf("unknown key %q", key)
		}
		w.Advertise = value == "true"
		return nil
	})
	for _, f := range a.Files {
		switch f.Name {
		case "config.vmnet.hcl":
			w.Config = string(f.Data)
		case "healthy.sh":
			w.Healthy = string(f.Data)
		case "guests":
			for line := range lines(string(f.Data)) {
				words := append(strings.Fields(line), "-", "-", "-", "-", "-")
				w.Guests = append(w.Guests, Guest{words[0], words[1], words[2], words[3], words[4]})
			}
		case "flows":
			flows, e := parseFlows(string(f.Data))
			w.Flows, err = flows, errors.Join(err, e)
		default:
			err = errors.Join(err, fmt.Errorf("no such section: %s", f.Name))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("world %s: %w", name, err)
	}
	return w, nil
}

func parseFindings(text string) (out []Finding, err error) {
	for line := range lines(text) {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			words := strings.Fields(line)
			if len(words) != 2 {
				return nil, fmt.Errorf("want a code and a severity, have %q", line)
			}
			out = append(out, Finding{Code: words[0], Severity: words[1]})
			continue
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%q stands before every finding", line)
		}
		f := &out[len(out)-1]
		at := map[string]**regexp.Regexp{"title": &f.Title, "owner": &f.Owner, "evidence": &f.Evidence, "fix": &f.Fix}[key]
		if at == nil {
			return nil, fmt.Errorf("unknown key %q", key)
		}
		if *at, err = regexp.Compile(value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// eachKey calls fn for every line "key: value".
func eachKey(text string, fn func(key, value string) error) error {
	for line := range lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%q is not key: value", line)
		}
		if err := fn(key, strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

// lines are those that are neither empty nor comments.
func lines(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for l := range strings.Lines(text) {
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") && !yield(l) {
				return
			}
		}
	}
}
