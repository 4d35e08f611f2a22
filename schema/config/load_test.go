package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Every code is listed once, explained, and in order.
func TestCodes(t *testing.T) {
	t.Parallel()
	last := Code("")
	for _, c := range Codes() {
		if c.Code <= last || !strings.HasPrefix(string(c.Code), "VN7") {
			t.Errorf("%s after %s", c.Code, last)
		}
		if c.Title == "" || c.Why == "" || c.Cure == "" {
			t.Errorf("%s is not explained", c.Code)
		}
		last = c.Code
	}
}

// Every code but those about a live host and about sources is shown by a file in testdata/invalid.
func TestEveryCodeHasAnExample(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, p := range append(paths, "testdata/sources.golden", "testdata/live.golden") {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for _, c := range Codes() {
		if !bytes.Contains(all, []byte("["+string(c.Code)+"]")) {
			t.Errorf("no golden file shows %s (%s)", c.Code, c.Title)
		}
	}
}

// A diagnostic about an expression carries the values in it.
func TestValuesInDiagnostics(t *testing.T) {
	t.Parallel()
	src := header + "locals { net = \"10.0.0.5/24\" }\nnat \"lab\" {\n  for_each = toset([\"x\"])\n  subnet = \"${local.net}${each.key}\"\n}\n"
	r, diags := Load("-", Options{Stdin: strings.NewReader(src)})
	var b strings.Builder
	if err := hcl.NewDiagnosticTextWriter(&b, r.Files, 100, false).WriteDiagnostics(diags); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`each.key as "x"`, `local.net as "10.0.0.5/24"`, `in nat "lab"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
}

// required_version against the version that runs.
func TestRequiredVersion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		constraint, version string
		ok                  bool
	}{
		{">= 0.1", "0.1.0", true},
		{">= 0.2", "0.1.9", false},
		{"~> 0.1", "0.9.0", true},
		{">= 0.2", "0.2.0-dev", true},
		{">= 99", "devel", true},
		{">= 99", "", true},
		{"= 1.0, < 2", "v1.0.0", true},
	}
	for _, tt := range tests {
		src := fmt.Sprintf("vmnet { required_version = %q }\n", tt.constraint)
		_, diags := Load("-", Options{Stdin: strings.NewReader(src), Version: tt.version})
		if diags.HasErrors() == tt.ok {
			t.Errorf("%q with %q: %v", tt.constraint, tt.version, diags)
		}
	}
}

// FuzzLoad: no text makes the reader panic, every diagnostic is whole, and formatting is stable.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		r, diags := Load("-", Options{Stdin: bytes.NewReader(src), Version: "0.1.0"})
		if (r.Desired == nil) != diags.HasErrors() {
			t.Errorf("Desired %v with %v", r.Desired, diags)
		}
		checkShape(t, diags)
		once := Format(src)
		if twice := Format(once); !bytes.Equal(once, twice) {
			t.Errorf("formatted twice: %q, once: %q", twice, once)
		}
	})
}

// manyNetworks is a configuration of n networks with ten guests and a forward each.
func manyNetworks(n int) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	for i := range n {
		fmt.Fprintf(&b, "\nnat \"n%d\" {\n  device = \"vbr%d\"\n  subnet = \"10.%d.%d.0/24\"\n}\n", i, i, i/256, i%256)
		for g := range 10 {
			fmt.Fprintf(&b, "\nguest \"g%d_%d\" {\n  network = nat.n%d\n  mac     = \"52:54:00:%02x:%02x:%02x\"\n  address = \"10.%d.%d.%d\"\n  device  = \"v%d-%d\"\n}\n",
				i, g, i, i/256, i%256, g, i/256, i%256, g+10, i, g)
		}
		fmt.Fprintf(&b, "\nforward \"f%d\" {\n  tcp     = %d\n  to      = guest.g%d_0\n  to_port = 22\n}\n", i, 20000+i, i)
	}
	return b.Bytes()
}

// BenchmarkLoad sets the whole way from text to Desired beside parsing alone, of the same text.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		src := manyNetworks(n)
		b.Run(fmt.Sprintf("networks=%d/parse", n), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, diags := hclsyntax.ParseConfig(src, "x", hcl.InitialPos); diags.HasErrors() {
					b.Fatal(diags)
				}
			}
		})
		b.Run(fmt.Sprintf("networks=%d/read", n), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				l := newLoader(Options{})
				l.parse([]source{{"x", src}})
				l.declare()
				l.evaluate()
				l.validate()
				if l.diags.HasErrors() {
					b.Fatal(l.diags)
				}
			}
		})
		b.Run(fmt.Sprintf("networks=%d/load", n), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, diags := Load("-", Options{Stdin: bytes.NewReader(src)}); diags.HasErrors() {
					b.Fatal(diags)
				}
			}
		})
	}
}
