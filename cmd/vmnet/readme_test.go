package main

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

const readmeFile = `vmnet {
  required_version = ">= 0.1"
}

nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}

guest "db1" {
  network = nat.lab
  address = "10.20.0.11"
  device  = "vnet0"
}

forward "ssh_db1" {
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}
`

// TestREADMERepair makes the repair that the README shows, on a host where it is needed, with the real commands: what it
// prints there is what stands there. Run with -update to write it anew.
func TestREADMERepair(t *testing.T) {
	readme, err := filepath.Abs("../../README.md") // -C changes the directory
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(".") // back afterwards
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{Guests: []world.Guest{{
			Name: "db1", Device: "vnet0", MAC: "52:54:00:00:00:01",
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.20.0.11/24")}, Gateways: []netip.Addr{netip.MustParseAddr("10.20.0.1")},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		dir, root := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lab.vmnet.hcl"), []byte(readmeFile), 0o600); err != nil {
			t.Fatal(err)
		}
		environ := []string{"VMNET_RUNTIME_DIR=" + t.TempDir(), "VMNET_FILE_ROOT=" + root}
		vmnet := func(want int, args ...string) string {
			t.Helper()
			var out, errs bytes.Buffer
			if got := run(append([]string{"-C", dir}, args...), streams{strings.NewReader(""), &out, &errs}, environ); got != want {
				t.Fatalf("vmnet %v: exit %d, want %d\n%s%s", args, got, want, &out, &errs)
			}
			return out.String()
		}
		vmnet(0, "apply", "-auto-approve")
		breakHost(t, root)
		planned := vmnet(2, "plan", "-detailed-exitcode")
		vmnet(0, "apply", "-auto-approve")
		after := vmnet(0, "plan", "-detailed-exitcode")
		if err := w.Guest("db1").Ping(w.Server4); err != nil {
			t.Errorf("the guest is still cut off: %v", err)
		}
		_, planned, _ = strings.Cut(planned, "FINDINGS")
		if i := strings.LastIndex(after, "No changes"); i >= 0 {
			after = after[i:]
		}
		block := "A NAT network, healthy yesterday. Then Docker set the `FORWARD` policy to `DROP`, and an old saved ruleset came back at boot:\n\n" +
			"```console\n# vmnet plan\nFINDINGS" + planned + "# vmnet apply -auto-approve && vmnet plan\n" + after + "```\n"
		compareREADME(t, readme, block)
	})
}

// breakHost cuts the guest off in two ways: Docker's policy, and a rule that nobody remembers.
func breakHost(t *testing.T, root string) {
	t.Helper()
	saved := filepath.Join(root, "etc/iptables/rules.v4")
	if err := os.MkdirAll(filepath.Dir(saved), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(saved, []byte("*filter\n-A FORWARD -d 10.20.0.11 -p tcp --dport 22 -j DROP\nCOMMIT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-ec", `PATH=/usr/sbin:/usr/bin:/sbin:/bin
iptables-nft -A FORWARD -d 10.20.0.11 -p tcp --dport 22 -j DROP
iptables-nft -P FORWARD DROP
iptables-nft -N DOCKER-USER
iptables-nft -A FORWARD -j DOCKER-USER`).CombinedOutput()
	if err != nil {
		t.Fatalf("break host: %v\n%s", err, out)
	}
}

func compareREADME(t *testing.T, readme, block string) {
	t.Helper()
	f, err := os.Open(readme)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), "<!-- repair:begin -->\n")
	have, tail, ok2 := strings.Cut(rest, "<!-- repair:end -->")
	if !ok || !ok2 {
		t.Fatal("README.md has lost its repair markers")
	}
	if *update {
		if err := os.WriteFile(readme, []byte(head+"<!-- repair:begin -->\n"+block+"<!-- repair:end -->"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(have, block); diff != "" {
		t.Errorf("README.md shows another repair than vmnet prints (-README +vmnet); run go test ./cmd/vmnet -run README -update:\n%s", diff)
	}
}
