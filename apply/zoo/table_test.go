package zoo_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/apply/zoo"
)

// TestTable: README.md is what the cases say.
func TestTable(t *testing.T) {
	want := zoo.Table(load(t), measured(t))
	if *everything || *update {
		if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil || string(got) != want {
		t.Errorf("README.md is stale (%v): go test ./apply/zoo -run TestTable -update", err)
	}
}

// measured are the times of the last make zoo.
func measured(t *testing.T) map[string]time.Duration {
	t.Helper()
	text, err := os.ReadFile("measured.txt")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return zoo.Measured(string(text))
}

// keep writes times down.
func keep(t *testing.T, took map[string]time.Duration) {
	t.Helper()
	all := measured(t)
	maps.Copy(all, took)
	var s strings.Builder
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if all[id] > 0 {
			fmt.Fprintf(&s, "%s %v\n", id, all[id].Round(10*time.Millisecond))
		}
	}
	if err := os.WriteFile("measured.txt", []byte(s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
