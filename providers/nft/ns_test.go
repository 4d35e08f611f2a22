package nft

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// inside marks the process that runs in namespaces of its own.
const inside = "VMNET_NFT_TEST_INSIDE"

// TestMain runs the tests again in a new network namespace: as root, or as an ordinary user in a new user namespace.
// Nothing of the machine's own network is touched. A machine that forbids this fails the tests; it does not skip them.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "these tests need a network namespace of their own: %v\nrun them as root, or allow user namespaces\n", err)
		os.Exit(1)
	}
	if err := cmd.Wait(); err != nil {
		os.Exit(max(cmd.ProcessState.ExitCode(), 1))
	}
}

// newNamespace moves the test's thread into a fresh network namespace. The thread ends with the test.
func newNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	run(t, "", "ip", "link", "set", "lo", "up")
}

// run runs a tool in the test's namespace and returns what it prints.
func run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	out, err := try(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(stdin string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	// Ordinary users cannot write /run/xtables.lock.
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE=/dev/null", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func open(t testing.TB) *Provider {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// read reads the namespace into a state.
func read(t testing.TB, p *Provider) *schema.State {
	t.Helper()
	objects, err := p.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return schema.NewState(objects...)
}

func table(t testing.TB, s *schema.State, family, name string) *schema.Table {
	t.Helper()
	o, _ := s.Get(schema.TableRef(family, name)).(*schema.Table)
	if o == nil {
		t.Fatalf("no table %s %s", family, name)
	}
	return o
}

// specs reads a list of rules of package xt's testdata: table, chain, rest.
func specs(t testing.TB, file string) [][3]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][3]string
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.SplitN(s.Text(), " ", 3)
		if strings.HasPrefix(s.Text(), "#") || len(f) < 2 {
			continue
		}
		f = append(f, "")
		out = append(out, [3]string{f[0], f[1], mappedIDs(t, f[2])})
	}
	return out
}

// mappedIDs puts user 0 in the place of others where the namespace of an ordinary user knows no others.
func mappedIDs(t testing.TB, spec string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(b)); len(f) == 3 && f[2] == "1" {
		return strings.NewReplacer("-owner 1000-2000", "-owner 0", "-owner 1000", "-owner 0", "-owner 5", "-owner 0").Replace(spec)
	}
	return spec
}

// listing parses "nft -s list ruleset": the rules of each "family table chain", in order.
func listing(text string) map[string][]string {
	out := map[string][]string{}
	var table, chain string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		switch {
		case len(f) == 4 && f[0] == "table":
			table = f[1] + " " + f[2]
		case len(f) == 3 && f[0] == "chain":
			chain = table + " " + f[1]
			out[chain] = nil
		case strings.HasSuffix(line, "{"): // a set, a map or another object
			chain = ""
		case line == "" || line == "}" || chain == "" || f[0] == "type" || f[0] == "comment":
		default:
			out[chain] = append(out[chain], line)
		}
	}
	return out
}

func texts(c *schema.Chain) []string {
	var out []string
	for _, r := range c.Rules {
		out = append(out, r.Text)
	}
	return out
}
