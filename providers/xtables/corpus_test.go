package xtables

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The test files of iptables' extensions are free software, but under another licence than this project: they are fetched when the tests run,
// never copied into it.
const (
	corpusName = "iptables_1.8.9.orig.tar.xz"
	corpusSum  = "ef6639a43be8325a4f8ea68123ffac236cb696e8c78501b64e8106afb008c87f"

	// corpusVariable names the archive, or why there is none, to the process inside the namespace, where there is no network.
	corpusVariable = "VMNET_XTABLES_TEST_CORPUS"
)

// fetchCorpus returns the path of the archive: from the user's cache, else by apt.
func fetchCorpus() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "vmnet-tests")
	file := filepath.Join(dir, corpusName)
	if b, err := os.ReadFile(file); err == nil && checkCorpus(b) == nil {
		return file, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a place to keep it: %w", err)
	}
	work, err := os.MkdirTemp(dir, "fetch")
	if err != nil {
		return "", fmt.Errorf("make a place to keep it: %w", err)
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	fetched := filepath.Join(work, corpusName)
	if err := download(ctx, fetched); err != nil {
		return "", err
	}
	return file, os.Rename(fetched, file) // in one piece: other tests may look for it
}

func checkCorpus(b []byte) error {
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != corpusSum {
		return fmt.Errorf("%s is another file: sha256 %x", corpusName, sum)
	}
	return nil
}

// download has apt fetch the archive from the pools of the repositories that it is set up for: by its own transports, mirrors
// and proxies, which may be the only way out. Nothing of apt's own is changed.
func download(ctx context.Context, to string) error {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return fmt.Errorf("apt-get indextargets: %w", err)
	}
	errs := []error{errors.New("no repository of apt has it")}
	repositories := strings.Fields(string(out))
	slices.Sort(repositories)
	for _, uri := range slices.Compact(repositories) {
		cmd := exec.CommandContext(ctx, "/usr/lib/apt/apt-helper", "download-file", uri+"pool/main/i/iptables/"+corpusName, to, "SHA256:"+corpusSum)
		said, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w\n%s", uri, err, said))
	}
	return errors.Join(errs...)
}

// extensionCase is a line of an extension's test file: "-j TRACE;=;OK".
type extensionCase struct {
	file   string
	line   int
	table  string
	chains []string
	spec   string
	result string
	// variant is the backend the result is for, "NFT" or "LEGACY"; empty for both. The other one does other, or anything at all.
	variant string
	other   string
	// setup is a command of iptables that the cases behind it need, in place of a case.
	setup bool
}

// wanted tells whether the case is one that this backend is to accept.
func (c extensionCase) wanted(legacy bool) bool {
	variant := "NFT"
	if legacy {
		variant = "LEGACY"
	}
	switch {
	case c.variant == "" || c.variant == variant:
		return c.result == "OK"
	case c.other != "":
		return c.other == "OK" || c.other == "NOMATCH"
	}
	return c.result == "FAIL" || c.result == "NOMATCH"
}

// corpus reads the extensions' test files out of the archive, by file name.
func corpus(t testing.TB) map[string][]extensionCase {
	t.Helper()
	where := os.Getenv(corpusVariable)
	if !filepath.IsAbs(where) {
		t.Fatalf("the test files of iptables' extensions cannot be had: %s", where)
	}
	out := map[string][]extensionCase{}
	for r := tar.NewReader(bytes.NewReader(unxz(t, where))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if path.Base(path.Dir(h.Name)) != "extensions" || !strings.HasSuffix(h.Name, ".t") {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(path.Base(h.Name), ".t")
		out[name] = parseCases(name, string(b))
	}
}

// unxz unpacks by what there is: xz, or apt's own.
func unxz(t testing.TB, file string) []byte {
	t.Helper()
	var reasons []string
	for _, tool := range [][]string{{"xz", "-dc"}, {"/usr/lib/apt/apt-helper", "cat-file"}} {
		b, err := exec.Command(tool[0], append(tool[1:], file)...).Output()
		if err == nil {
			return b
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", tool[0], err))
	}
	t.Fatalf("unpack %s: %s", file, strings.Join(reasons, "; "))
	return nil
}

// parseCases reads one file: comments, ":CHAIN,CHAIN", "*table", commands of the test's own (@ and %), and cases.
func parseCases(name, text string) []extensionCase {
	c := extensionCase{file: name, table: "filter"}
	var out []extensionCase
	for line := range strings.Lines(text) {
		c.line++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		switch line[0] {
		case '#', '@':
		case '%':
			if rest, ok := strings.CutPrefix(line, "%iptables "); ok {
				c.spec, c.setup = rest, true
				out = append(out, c)
				c.setup = false
			}
		case ':':
			c.chains = strings.Split(line[1:], ",")
		case '*':
			c.table = line[1:]
		default:
			f := append(strings.Split(line, ";"), "", "", "", "")
			c.spec, c.result, c.variant, c.other = f[0], f[2], f[3], f[4]
			out = append(out, c)
		}
	}
	return out
}
