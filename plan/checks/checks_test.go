package checks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/vmnet/vmnet/schema"
)

// Every check has a code and a name of its own, every part of its documentation, and a file and a test that bear its name.
func TestAll(t *testing.T) {
	seen := map[string]bool{}
	layer := 0
	for _, c := range All() {
		if seen[c.Code] || seen[c.Name] {
			t.Errorf("%s %s: the code or the name is taken", c.Code, c.Name)
		}
		seen[c.Code], seen[c.Name] = true, true
		if !regexp.MustCompile(`^VN[1-5]\d\d$`).MatchString(c.Code) || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(c.Name) || c.Title == "" || c.Run == nil {
			t.Errorf("%s %s: not a check: %+v", c.Code, c.Name, c)
		}
		at := slices.Index(Layers(), c.Layer)
		if at < layer {
			t.Errorf("%s: layer %q comes too late", c.Name, c.Layer)
		}
		layer = max(layer, at)
		for _, p := range c.Doc.Parts() {
			if !sentences(p[1]) {
				t.Errorf("%s: %s: %q is not documentation", c.Code, p[0], p[1])
			}
		}
		for _, name := range []string{strings.ReplaceAll(c.Name, "-", "_") + ".go", strings.ReplaceAll(c.Name, "-", "_") + "_test.go"} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if !strings.HasSuffix(name, "_test.go") && !strings.Contains(string(b), `"`+c.Code+`"`) {
				t.Errorf("%s does not hold %s", name, c.Code)
			}
			if strings.HasSuffix(name, "_test.go") && (!strings.Contains(string(b), "found(t") || !strings.Contains(string(b), "healthy(t")) {
				t.Errorf("%s has not both a failing and a healthy host", name)
			}
		}
	}
}

func sentences(s string) bool {
	s = strings.TrimSpace(s)
	return len(s) > 20 && (unicode.IsUpper([]rune(s)[0]) || strings.ContainsAny(s, " ")) && !strings.Contains(s, "TODO")
}

// A healthy host has no findings, with and without guests that run.
func TestHealthy(t *testing.T) {
	if all := Run(Look(lab(), nil), All()); len(all) > 0 {
		t.Errorf("the lab: %+v", all)
	}
}

// TestRealHosts: hosts that real programs have set up have nothing wrong.
func TestRealHosts(t *testing.T) {
	paths, err := filepath.Glob("../testdata/real/*/host.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recorded hosts: %v", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := schema.NewState()
		if err := json.Unmarshal(b, s); err != nil {
			t.Fatal(err)
		}
		for _, f := range Run(Look(s, nil), All()) {
			if f.Code == "VN133" && strings.Contains(path, "/all/") {
				continue // ufw and firewalld were both started there
			}
			t.Errorf("%s: %s %s: %v", path, f.Code, f.Title, f.Evidence)
		}
	}
}
