package trace_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestRegress asks vmnet and the kernel about each frame on which they once disagreed. A case says what is set, what the tools
// load, one frame, and what the kernel made of it:
//
//	# why it is here
//	set sysctl net.ipv4.ip_forward=0 ## sysctl net.ipv4.ip_forward=1
//	nft:
//	table ip x { … }
//	iptables-nft-restore:
//	*filter …
//	frame a 0200…          an end of the bed, or h for the host
//	want lost              or: at w 192.0.2.10:40000 > 203.0.113.1:80; "depends, " before it where vmnet cannot know
func TestRegress(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/regress/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	world.InNewHost(t, func() {
		c := newCourt(t)
		defer func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		}()
		for _, f := range files {
			if err := c.regress(t, f); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	})
}

// kase is a case as it is written.
type kase struct {
	settings [][2]string
	set      ruleset
	shot     shot
	want     string
	depends  bool
}

func (c *court) regress(t *testing.T, file string) error {
	t.Helper()
	k, err := readCase(file)
	if err != nil {
		return err
	}
	if err := c.exactly(k.set); err != nil {
		return err
	}
	defer func() {
		for _, s := range k.settings {
			if err := do(s[1]); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, s := range k.settings {
		if err := do(s[0]); err != nil {
			return err
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
	sy := sayingOf(w.Frame(c.device(&k.shot), k.shot.frame))
	for _, patience := range []int{4, 40, 200} {
		seen, err := c.fire([]*shot{&k.shot}, patience)
		if err != nil {
			return err
		}
		got := fateOf(seen[k.shot.tag])
		if k.set.picksPorts() { // the source port is the kernel's choice
			if i := strings.LastIndex(k.want, " > "); i > 0 && strings.HasSuffix(got, k.want[i:]) && strings.HasPrefix(got, k.want[:i]) {
				got = k.want
			}
		}
		why := c.agrees(sy, seen[k.shot.tag], k.set.picksPorts())
		if got == k.want && why == "" && (sy.verdict == trace.Depends) == k.depends {
			return nil
		}
		if patience == 200 {
			t.Errorf("%s: want %q, the kernel says %q, vmnet %s: %s\n%s", file, k.want, got, sy.verdict, why, show(sy.res))
		}
		if err := c.forget(); err != nil {
			return err
		}
	}
	return nil
}

// fateOf is what was seen, in the words of a case.
func fateOf(g *sight) string {
	if g == nil || g.at == "" {
		return "lost"
	}
	return "at " + g.at + " " + pointsOf(g.pkt).String()
}

func readCase(file string) (k kase, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	var part *rulesOf
	for line := range strings.SplitSeq(string(b), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "# ") && part == nil || line == "":
		case word == "set" && part == nil:
			do, undo, _ := strings.Cut(rest, " ## ")
			k.settings = append(k.settings, [2]string{do, undo})
		case strings.HasSuffix(word, ":") && rest == "":
			part = &rulesOf{tool: strings.TrimSuffix(word, ":")}
			k.set = append(k.set, part)
		case word == "frame":
			from, digits, _ := strings.Cut(rest, " ")
			k.shot.from = from
			if k.shot.frame, err = hex.DecodeString(strings.TrimSpace(digits)); err != nil {
				return k, err
			}
			if len(k.shot.frame) < 34+tagLen {
				return k, errors.New("the frame is too short")
			}
			k.shot.tag = tagOf(k.shot.frame)
		case word == "want":
			k.want, k.depends = strings.CutPrefix(rest, "depends, ")
		case part != nil:
			part.text += line + "\n"
		default:
			return k, errors.New("what is " + line)
		}
	}
	return k, nil
}
