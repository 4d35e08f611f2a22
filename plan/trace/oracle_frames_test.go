package trace_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

var (
	frameSets = flag.Int("oracle.frames.rulesets", 320, "how many random rulesets for frames")
	framesPer = flag.Int("oracle.frames.each", 640, "how many frames through each")
	foundDir  = flag.String("oracle.found", "", "folder for the cases of disagreement, made small")
	shrinkFor = flag.Duration("oracle.shrink", 15*time.Second, "how long a disagreement is made smaller")
	noOpen    = flag.Bool("oracle.wrong", false, "look for what is wrong only, not for what is unknown")
	goOn      = flag.Bool("oracle.goon", false, "do not stop at the first disagreement")
	onlySet   = flag.Int("oracle.only", -1, "the number of the one ruleset to be judged; -1 for all")
)

// seedOf is the seed of a run: a new one each time, unless it is given.
func seedOf() uint64 {
	if *oracleSeed != 0 {
		return *oracleSeed
	}
	return uint64(time.Now().UnixNano())
}

// TestOracleFrames lets vmnet and the kernel judge single frames, of which every header bit counts, through random rulesets of
// nft, iptables-nft, iptables-legacy and ebtables-nft. Every ruleset here is knowable: nothing may depend.
func TestOracleFrames(t *testing.T) {
	t.Parallel()
	oracleFrames(t, trial{rulesets: *frameSets, each: *framesPer})
}

// TestOracleDark does the same with matches that nobody can foresee: limits, clocks, dice. There vmnet may say that it depends,
// but where it does not, the kernel agrees. How often it says so is printed.
func TestOracleDark(t *testing.T) {
	t.Parallel()
	oracleFrames(t, trial{rulesets: *frameSets / 8, each: *framesPer / 2, dark: true})
}

// trial is how much is judged, and of which kind.
type trial struct {
	rulesets, each int
	dark           bool
}

func oracleFrames(t *testing.T, kind trial) {
	seed := seedOf()
	t.Logf("go test ./plan/trace -run %s -oracle.seed=%d -oracle.frames.rulesets=%d -oracle.frames.each=%d", t.Name(), seed, *frameSets, *framesPer)
	for part := range 2 { // two cores
		t.Run(strconv.Itoa(part), func(t *testing.T) {
			t.Parallel()
			world.InNewHost(t, func() {
				c := newCourt(t)
				defer func() {
					if err := c.close(); err != nil {
						t.Error(err)
					}
				}()
				c.session(t, kind, seed, part, 2)
			})
		})
	}
}

// session judges every ruleset whose number is part, modulo parts.
func (c *court) session(t *testing.T, kind trial, seed uint64, part, parts int) {
	t.Helper()
	d := &docket{}
	last := time.Now()
	for i := part; i < kind.rulesets; i += parts {
		if *onlySet >= 0 && i != *onlySet {
			continue
		}
		g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i))), dark: kind.dark}
		about := fmt.Sprintf("seed %d, ruleset %d", seed, i)
		if err := c.round(t, g, kind.each, about, d); err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		if t.Failed() && !*goOn {
			break
		}
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			t.Logf("%s", d)
		}
	}
	t.Logf("%s", d)
}

func (c *court) round(t *testing.T, g *generator, each int, about string, d *docket) error {
	t.Helper()
	return c.roundOf(t, g, about, d, func(m *gunsmith) []*shot { return m.shots(each) })
}

// roundOf judges shots through one ruleset.
func (c *court) roundOf(t *testing.T, g *generator, about string, d *docket, shots func(*gunsmith) []*shot) error {
	t.Helper()
	settings := g.settings()
	set, err := c.rules(g.mixed())
	if err != nil && strings.Contains(err.Error(), "signal: aborted") { // a bug of nft's own
		d.crashes++
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, set)
	}
	settings = slices.DeleteFunc(settings, func(s [2]string) bool {
		err := do(s[0])
		if err != nil && !g.routed { // the kernel takes not every route
			t.Error(err)
		}
		return err != nil
	})
	defer func() {
		for _, s := range slices.Backward(settings) {
			if err := do(s[1]); err != nil && !strings.Contains(err.Error(), "No such ") { // it went with another
				t.Error(err)
			}
		}
	}()
	if g.routed {
		for _, dev := range routers { // what was asked for in vain, or was another kind of address
			if err := do("ip neigh flush dev " + dev); err != nil {
				return err
			}
		}
	}
	if err := c.fresh(); err != nil {
		return err
	}
	s, err := c.state(t.Context())
	if err != nil {
		return err
	}
	w := trace.New(s).Acquainted().Indexed()
	m := newGunsmith(g, c, s)
	m.wild = true
	d.rulesets++
	quarrels, open, err := c.judge(w, shots(m), set.picksPorts(), d)
	if err != nil {
		return err
	}
	if !g.dark && !*noOpen && !c.hostOnly && !set.picksPorts() { // a rule may look at a port that the kernel picks
		quarrels = append(quarrels, open...)
	}
	if len(quarrels) > 0 {
		all := slices.Clone(settings)
		small := c.shrink(t.Context(), set, &settings, quarrels[0])
		text := small.file(about)
		t.Errorf("%s\nsettings %v\n%s\n%s\nsmall:\n%s", about, all, set, quarrels[0], text)
		return keep(*foundDir, fmt.Sprintf("s%d.txt", time.Now().UnixNano()), text)
	}
	return nil
}

// exhibit is a disagreement made small, as it is kept.
type exhibit struct {
	set      ruleset
	settings [][2]string
	q        quarrel
}

// shrink takes away what the disagreement does not need. Settings that it does not need are as they were then.
func (c *court) shrink(ctx context.Context, set ruleset, settings *[][2]string, q quarrel) exhibit {
	e := exhibit{set.clone(), nil, q}
	for i := len(*settings) - 1; i >= 0; i-- {
		s := (*settings)[i]
		if do(s[1]) != nil {
			continue
		}
		if _, ok := c.still(ctx, e.set, e.q); ok || do(s[0]) != nil {
			*settings = slices.Delete(*settings, i, i+1)
		}
	}
	e.settings = *settings
	undone := time.Now().Add(*shrinkFor)
	for again := true; again && time.Now().Before(undone); {
		again = false
		for k := range e.set {
			lines := strings.Split(e.set[k].text, "\n")
			for n := len(lines) / 2; n >= 1; n /= 2 {
				for i := 0; i+n <= len(lines) && time.Now().Before(undone); {
					try := e.set.clone()
					rest := append(append([]string(nil), lines[:i]...), lines[i+n:]...)
					try[k].text = strings.Join(rest, "\n")
					if got, ok := c.still(ctx, try, e.q); ok {
						e.set, e.q, lines, again = try, got, rest, true
						continue
					}
					i += min(n, max(1, n/2))
				}
			}
		}
	}
	return e
}

// still tells whether a smaller ruleset still makes the disagreement.
func (c *court) still(ctx context.Context, set ruleset, q quarrel) (quarrel, bool) {
	if err := c.exactly(set); err != nil {
		return q, false
	}
	if err := c.fresh(); err != nil {
		return q, false
	}
	s, err := c.state(ctx)
	if err != nil {
		return q, false
	}
	sy := sayingOf(trace.New(s).Acquainted().Indexed().Frame(c.device(q.shot), q.shot.frame))
	if q.say.verdict == trace.Depends {
		seen, err := c.fire([]*shot{q.shot}, 8)
		return quarrel{q.shot, sy, seen[q.shot.tag], q.why}, err == nil && sy.verdict == trace.Depends
	}
	seen, err := c.fire([]*shot{q.shot}, 8)
	if err != nil {
		return q, false
	}
	why := c.agrees(sy, seen[q.shot.tag], set.picksPorts())
	return quarrel{q.shot, sy, seen[q.shot.tag], why}, why != ""
}

// exactly loads a ruleset or fails.
func (c *court) exactly(set ruleset) error {
	if err := c.clear(); err != nil {
		return err
	}
	for _, p := range set {
		if strings.TrimSpace(p.text) == "" {
			continue
		}
		if err := p.load(); err != nil {
			return err
		}
	}
	return nil
}

func (p *rulesOf) load() error {
	if p.tool == "nft" {
		return runInput(p.text, "nft", "-f", "-")
	}
	if strings.HasSuffix(p.tool, "-restore") {
		return runInput(p.text, p.tool, "-n")
	}
	for line := range strings.SplitSeq(p.text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := run(p.tool + " " + line); err != nil {
			return err
		}
	}
	return nil
}

// file is the exhibit as a case of testdata/regress.
func (e exhibit) file(about string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# %s\n", about, e.q.why)
	for _, s := range e.settings {
		fmt.Fprintf(&b, "set %s ## %s\n", s[0], s[1])
	}
	for _, p := range e.set {
		if strings.TrimSpace(p.text) == "" {
			continue
		}
		fmt.Fprintf(&b, "%s:\n%s\n", p.tool, strings.TrimSpace(p.text))
	}
	fmt.Fprintf(&b, "frame %s %x\n", e.q.shot.from, e.q.shot.frame)
	fmt.Fprintf(&b, "want %s\n", fateOf(e.q.saw))
	return b.String()
}

var badRestore = regexp.MustCompile(`line:? (\d+)`)

// loadWhatRestores leaves out the lines that a tool of iptables, or the kernel behind it, refuses.
func loadWhatRestores(tool, text string) (string, error) {
	lines := strings.Split(text, "\n")
	if !strings.HasSuffix(tool, "-restore") { // one command a line
		for i, l := range lines {
			if l != "" && (&rulesOf{tool, l}).load() != nil {
				lines[i] = ""
			}
		}
		return strings.Join(lines, "\n"), nil
	}
	for range 40 {
		err := (&rulesOf{tool, strings.Join(lines, "\n")}).load()
		if err == nil {
			return strings.Join(lines, "\n"), nil
		}
		message, _, _ := strings.Cut(err.Error(), "\n*")
		found := badRestore.FindAllStringSubmatch(message, -1)
		if len(found) == 0 {
			return text, err
		}
		n, convErr := strconv.Atoi(found[len(found)-1][1])
		if convErr != nil || n < 1 || n > len(lines) {
			return text, err
		}
		n--
		if lines[n] == "COMMIT" { // the kernel does not say which
			n = culprit(tool, lines, n)
		}
		for n > 0 && !strings.HasPrefix(lines[n], "-A") {
			n--
		}
		lines[n] = "#"
	}
	return text, errors.New(tool + " refuses too much of:\n" + text)
}

// culprit finds the rule in front of a COMMIT that fails alone.
func culprit(tool string, lines []string, commit int) int {
	top := commit
	for top > 0 && !strings.HasPrefix(lines[top], "*") {
		top--
	}
	for n := commit - 1; n > top; n-- {
		if !strings.HasPrefix(lines[n], "-A") {
			continue
		}
		var alone []string
		for i := top; i <= commit; i++ {
			if i == n || !strings.HasPrefix(lines[i], "-A") {
				alone = append(alone, lines[i])
			}
		}
		try := &rulesOf{tool, strings.Join(alone, "\n")}
		if try.load() != nil {
			return n
		}
		// It stays loaded, alone; what is loaded in the end is loaded anew.
		undo := &rulesOf{tool, strings.Join(slices.DeleteFunc(alone, func(l string) bool { return strings.HasPrefix(l, "-A") }), "\n")}
		if err := runInput(undo.text, undo.tool); err != nil {
			return n
		}
	}
	return commit - 1
}

// mixed is a ruleset of one tool, or of several at once. Never do two of them stand at one priority and both rewrite: which
// comes first no snapshot tells.
func (g *generator) mixed() ruleset {
	legacy := func(v6, nat bool) *rulesOf {
		return &rulesOf{map[bool]string{false: "iptables-legacy-restore", true: "ip6tables-legacy-restore"}[v6], g.restore(v6, nat)}
	}
	native := func(v6, nat bool) *rulesOf {
		return &rulesOf{map[bool]string{false: "iptables-nft-restore", true: "ip6tables-nft-restore"}[v6], g.restore(v6, nat)}
	}
	nft := &rulesOf{"nft", ""}
	if g.routed {
		nft.text = g.markRules()
		return ruleset{nft}
	}
	switch g.r.IntN(14) {
	case 0:
		return ruleset{legacy(false, true), legacy(true, true)}
	case 1:
		return ruleset{native(false, true), native(true, true)}
	case 2:
		return ruleset{legacy(false, true), native(true, true)}
	case 3:
		return ruleset{native(false, true), legacy(true, true)}
	case 4:
		nft.text = g.richRuleset()
		return ruleset{nft, legacy(false, false), legacy(true, false)}
	case 5:
		nft.text = g.richRuleset()
		return ruleset{nft, native(false, false), native(true, false)}
	case 12:
		return ruleset{{"ebtables-nft", g.ebtables()}, native(false, true), legacy(true, true)}
	case 13:
		nft.text = g.richRuleset()
		return ruleset{nft, {"ebtables-nft", g.ebtables()}}
	}
	nft.text = g.richRuleset()
	return ruleset{nft}
}
