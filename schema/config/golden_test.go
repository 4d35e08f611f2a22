package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/vmnet/vmnet/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, or rewrites the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// render prints diagnostics with their code, place, source line and what is underlined in it.
func render(diags hcl.Diagnostics, files map[string]*hcl.File) string {
	var b strings.Builder
	for _, d := range diags {
		kind := "error"
		if d.Severity == hcl.DiagWarning {
			kind = "warning"
		}
		fmt.Fprintf(&b, "%s[%v]: %s\n", kind, d.Extra, d.Summary)
		if d.Subject != nil {
			s := *d.Subject
			fmt.Fprintf(&b, "  %s:%d,%d\n", filepath.Base(s.Filename), s.Start.Line, s.Start.Column)
			if f := files[s.Filename]; f != nil {
				line := strings.Split(string(f.Bytes), "\n")[s.Start.Line-1]
				width := 1
				if s.End.Line == s.Start.Line {
					width = max(s.End.Column-s.Start.Column, 1)
				}
				fmt.Fprintf(&b, "  | %s\n  | %s%s\n", line, strings.Repeat(" ", s.Start.Column-1), strings.Repeat("^", width))
			}
		}
		fmt.Fprintf(&b, "  %s\n\n", d.Detail)
	}
	return b.String()
}

// Each file of testdata/invalid is a set of related mistakes; beside it is what is said of them.
func TestInvalid(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/invalid/*.hcl")
	if err != nil || len(paths) < 20 {
		t.Fatalf("found %d files: %v", len(paths), err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			t.Parallel()
			r, diags := Load(p, Options{Version: "0.1.0"})
			if !diags.HasErrors() || r.Desired != nil {
				t.Errorf("Load(%s) found no errors, or gave a result in spite of them", p)
			}
			checkShape(t, diags)
			golden(t, strings.TrimSuffix(p, ".hcl")+".golden", render(diags, r.Files))
		})
	}
}

// checkShape holds what is true of every diagnostic.
func checkShape(t *testing.T, diags hcl.Diagnostics) {
	t.Helper()
	known := map[Code]bool{}
	for _, c := range Codes() {
		known[c.Code] = true
	}
	for _, d := range diags {
		c, _ := d.Extra.(Code)
		switch {
		case !known[c]:
			t.Errorf("%v has no code of the table: %v", d, d.Extra)
		case d.Detail == "" || d.Summary == "":
			t.Errorf("%v says nothing", d)
		case d.Context != nil && (d.Subject == nil || !contains(*d.Context, *d.Subject)):
			t.Errorf("%v: the context does not hold the subject", d)
		}
	}
}

func contains(outer, inner hcl.Range) bool {
	return outer.Filename == inner.Filename && outer.Start.Byte <= inner.Start.Byte && inner.End.Byte <= outer.End.Byte
}

// Each file of testdata/valid has its Desired beside it, without our tables: those are the business of schema/ruleset.
func TestValid(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/valid/*.hcl")
	if err != nil || len(paths) < 5 {
		t.Fatalf("found %d files: %v", len(paths), err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			t.Parallel()
			r, diags := Load(p, Options{Version: "0.1.0"})
			if r.Desired == nil {
				t.Fatalf("Load(%s):\n%s", p, render(diags, r.Files))
			}
			checkShape(t, diags)
			golden(t, strings.TrimSuffix(p, ".hcl")+".golden", render(diags, r.Files)+summary(t, r.Desired))
		})
	}
}

// summary is the Desired as JSON, one object, goal or block a line.
func summary(t *testing.T, d *schema.Desired) string {
	t.Helper()
	var b strings.Builder
	line := func(what string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n", what, bytes.TrimSpace(text))
	}
	line("settings", d.Settings)
	for _, n := range d.Networks {
		line("network", n)
	}
	for _, g := range d.Guests {
		line("guest", g)
	}
	for _, f := range d.Forwards {
		line("forward", f)
	}
	for _, a := range d.Adapters {
		line("adapter", a)
	}
	b.WriteString("\n")
	for o := range d.State.All() {
		ref := o.Ref()
		where := fmt.Sprintf("# %s, line %d", d.Addresses[ref], d.Origins[ref].Line)
		if ref.Kind == schema.KindTable {
			fmt.Fprintf(&b, "%s %s\n", ref, where)
			continue
		}
		line(string(ref.Kind), o)
		b.WriteString("  " + where + "\n")
	}
	b.WriteString("\n")
	for _, g := range d.Goals {
		b.WriteString(goalText(g) + "\n")
	}
	return b.String()
}

// goalText prints a goal in one line: "nat.lab [virbr-lab 10.20.0.0/24] -> outside any: must".
func goalText(g schema.Goal) string {
	end := func(e schema.Endpoint) string {
		var in []string
		for _, s := range []string{e.Device, e.Port} {
			if s != "" {
				in = append(in, s)
			}
		}
		for _, p := range e.Prefixes {
			in = append(in, p.String())
		}
		s := e.Kind
		if e.Address != "" {
			s += " " + e.Address
		}
		if len(in) > 0 {
			s += " [" + strings.Join(in, " ") + "]"
		}
		return s
	}
	s := fmt.Sprintf("%s: %s -> %s, %s:", g.Address, end(g.From), end(g.To), g.Service)
	if g.Via != nil {
		s += fmt.Sprintf(" via %s/%s", g.Via.Proto, g.Via.Ports)
	}
	if g.Allow {
		s += " must"
	} else {
		s += " must not"
	}
	if g.Implied {
		s += " (implied)"
	}
	if g.Probe {
		s += " (probe)"
	}
	return s + " # " + g.Name
}
