package schema_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/vmnet/vmnet/"

// floor is the height of each package: it imports lower ones only. The files are read with go/parser, not listed by the go
// command, because the test cache notices only files that the test itself opens.
var floor = map[string]int{
	"schema":                         0,
	"schema/iptspec":                 0,
	"schema/nftconf":                 0,
	"schema/ruleset":                 1,
	"schema/ufwconf":                 1,
	"schema/config":                  2,
	"plan/bdd":                       0,
	"plan/sim":                       2,
	"plan/trace":                     2,
	"plan/checks":                    3,
	"plan":                           4,
	"providers/program":              0,
	"providers/xt":                   1,
	"providers/rtnl":                 2,
	"providers/nft":                  2,
	"providers/xtables":              2,
	"providers/sysctl":               2,
	"providers/sockets":              1,
	"providers/dnsmasq":              2,
	"providers/sessions":             2,
	"providers/probe":                2,
	"providers/files":                2,
	"providers/managers":             2,
	"providers/guests":               1,
	"providers/machine":              1,
	"providers":                      3,
	"apply":                          5,
	"apply/zoo":                      0,
	"providers/hosttest/world":       4,
	"providers/hosttest/neighbour":   4,
	"providers/hosttest/guest":       5,
	"providers/hosttest":             6,
	"providers/hosttest/guest/fetch": 6,
	"cmd/vmnet/view":                 6,
	"cmd/vmnet":                      7,
	"examples":                       7,
}

func TestLayers(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		checkFile(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, pkg, path string) {
	t.Helper()
	height, known := floor[pkg]
	if !known {
		t.Errorf("%s: package %s has no floor in this test: give it one", path, pkg)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("parse %s: %v", path, err)
		return
	}
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Errorf("%s: import %s: %v", path, spec.Path.Value, err)
			continue
		}
		checkImport(t, pkg, path, imp, height)
	}
}

func checkImport(t *testing.T, pkg, path, imp string, height int) {
	t.Helper()
	ours, isOurs := strings.CutPrefix(imp, module)
	switch {
	case !isOurs && (pkg == "schema" || pkg == "schema/iptspec" || pkg == "schema/nftconf" || pkg == "plan/bdd") && strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
		t.Errorf("%s imports %s: %s is built on the standard library alone", path, imp, pkg)
	case isOurs && floor[ours] >= height:
		t.Errorf("%s (floor %d) imports %s (floor %d): a package imports lower floors only", path, height, ours, floor[ours])
	case isOurs && strings.HasPrefix(pkg, "plan") && strings.HasPrefix(ours, "providers"),
		isOurs && strings.HasPrefix(pkg, "providers") && strings.HasPrefix(ours, "plan") && !strings.HasPrefix(pkg, "providers/hosttest"):
		t.Errorf("%s imports %s: plan and providers know schema, not each other", path, ours)
	}
}
