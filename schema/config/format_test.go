package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"aligned", "nat \"a\" {\nsubnet=\"10.0.0.0/24\"\n  mtu   =    1500\n}\n", "nat \"a\" {\n  subnet = \"10.0.0.0/24\"\n  mtu    = 1500\n}\n"},
		{"comments stay", "# a\nlocals {\n//b\nx=1 # c\n}\n", "# a\nlocals {\n  //b\n  x = 1 # c\n}\n"},
		{"not HCL stays", "nat \"a {\n subnet=\n", "nat \"a {\n subnet=\n"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		if got := string(Format([]byte(tt.in))); got != tt.want {
			t.Errorf("%s: Format(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

// Every file of the test data is in canonical form once it was formatted, and means the same.
func TestFormatIsStable(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/valid/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		src, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		once := Format(src)
		if twice := Format(once); !bytes.Equal(once, twice) {
			t.Errorf("%s: formatting twice gives another text", p)
		}
		before, _ := Load("-", Options{Stdin: bytes.NewReader(src)})
		after, _ := Load("-", Options{Stdin: bytes.NewReader(once)})
		if a, b := summary(t, before.Desired), summary(t, after.Desired); a != b {
			t.Errorf("%s: formatting changed the meaning", p)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	lines := func(s string) []byte { return []byte(strings.ReplaceAll(s, " ", "\n") + "\n") }
	tests := []struct {
		name          string
		before, after []byte
		want          string
	}{
		{"equal", lines("a b"), lines("a b"), ""},
		{"changed", lines("1 2 3 4 5 6 7 8 9"), lines("1 2 3 4 x 6 7 8 9"), "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n"},
		{"at the start", lines("a b c d e"), lines("x b c d e"), "--- f\n+++ f\n@@ -1,4 +1,4 @@\n-a\n+x\n b\n c\n d\n"},
		{"two hunks", lines("1 2 3 4 5 6 7 8 9 10"), lines("x 2 3 4 5 6 7 8 9 y"), "--- f\n+++ f\n@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -7,4 +7,4 @@\n 7\n 8\n 9\n-10\n+y\n"},
		{"joined hunks", lines("1 2 3 4 5 6 7"), lines("x 2 3 4 5 6 y"), "--- f\n+++ f\n@@ -1,7 +1,7 @@\n-1\n+x\n 2\n 3\n 4\n 5\n 6\n-7\n+y\n"},
		{"from nothing", nil, lines("a"), "--- f\n+++ f\n@@ -0,0 +1 @@\n+a\n"},
		{"to nothing", lines("a b"), nil, "--- f\n+++ f\n@@ -1,2 +0,0 @@\n-a\n-b\n"},
		{"no newline", []byte("a\nb"), lines("a b"), "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
	}
	for _, tt := range tests {
		if got := Diff("f", tt.before, tt.after); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}
