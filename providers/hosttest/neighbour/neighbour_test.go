package neighbour_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/neighbour"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestEach: every neighbour starts on a host of its own, leaves its marks there, and stops.
func TestEach(t *testing.T) {
	for _, c := range []struct {
		name   neighbour.Name
		opts   neighbour.Opts
		ask    string
		answer string
	}{
		{neighbour.Firewalld, neighbour.Opts{}, "nft list chain inet firewalld filter_FORWARD", "reject with icmpx"},
		{neighbour.Firewalld, neighbour.Opts{Backend: "iptables"}, "iptables -S FORWARD", "-A FORWARD -j REJECT"},
		{neighbour.UFW, neighbour.Opts{}, "iptables -S", "-P FORWARD DROP"},
		{neighbour.UFW, neighbour.Opts{Legacy: true}, "iptables-legacy -S", "-P FORWARD DROP"},
		{neighbour.Docker, neighbour.Opts{}, "iptables -S", "-P FORWARD DROP"},
		{neighbour.Docker, neighbour.Opts{Legacy: true}, "iptables-legacy -S", "-P FORWARD DROP"},
		{neighbour.Libvirt, neighbour.Opts{}, network, "-A LIBVIRT_FWI"},
		{neighbour.Fail2ban, neighbour.Opts{}, "fail2ban-client set probe banip 192.0.2.66; for i in $(seq 50); do iptables -S | grep f2b && break; sleep .1; done; sleep .2; iptables -S", "-A f2b-probe"},
		{neighbour.SSHD, neighbour.Opts{}, "cat /proc/thread-self/net/tcp", ":0016 00000000:0000 0A"},
	} {
		t.Run(string(c.name)+" "+c.opts.Backend, func(t *testing.T) {
			t.Parallel()
			world.InNewHost(t, func() {
				r := neighbour.Start(t, c.name, c.opts)
				if got := neighbour.Sh(t, c.ask); !strings.Contains(got, c.answer) {
					t.Errorf("%s: want %q in\n%s", c.ask, c.answer, got)
				}
				r.Stop(t)
				again := neighbour.Start(t, c.name, c.opts)
				again.Stop(t)
			})
		})
	}
}

const network = `cat > /run/n.xml <<X
<network><name>lvnat</name><forward mode='nat'/><bridge name='virbr7' stp='off' delay='0'/><ip address='192.168.77.1' netmask='255.255.255.0'><dhcp><range start='192.168.77.10' end='192.168.77.99'/></dhcp></ip></network>
X
virsh -q net-define /run/n.xml; virsh -q net-start lvnat; iptables -S`

// TestTogether: all of them on one host in a world with guests, a rule of iptables-legacy and an admin's own table beside.
func TestTogether(t *testing.T) {
	world.InNewHost(t, func() {
		w, err := world.New(world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := w.Bridge("virbr-lab", []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24")}, "vnet0"); err != nil {
			t.Fatal(err)
		}
		for _, n := range []neighbour.Name{neighbour.Firewalld, neighbour.Docker, neighbour.Fail2ban, neighbour.UFW, neighbour.Libvirt} {
			neighbour.Start(t, n, neighbour.Opts{})
		}
		neighbour.Sh(t, network)
		neighbour.Sh(t, "iptables-legacy -A FORWARD -i virbr-lab -j DROP; nft add table inet admin")
		rules := neighbour.Sh(t, "nft list tables; iptables -S; iptables-legacy -S; nft list chain inet firewalld filter_FORWARD")
		for _, want := range []string{"table inet firewalld", "-P FORWARD DROP", "-A DOCKER-USER", "-A ufw-before-forward", "-A LIBVIRT_FWI", "-A FORWARD -i virbr-lab -j DROP", "table inet admin"} {
			if !strings.Contains(rules, want) {
				t.Errorf("want %q in\n%s", want, rules)
			}
		}
	})
}

// TestNothingOfTheMachine: /etc of the machine is neither read for a manager's settings nor written.
func TestNothingOfTheMachine(t *testing.T) {
	before, err := os.Stat("/etc/alternatives")
	if err != nil {
		t.Fatal(err)
	}
	world.InNewHost(t, func() {
		neighbour.Start(t, neighbour.UFW, neighbour.Opts{Legacy: true, Files: map[string]string{"/etc/neighbour-was-here": "x"}})
	})
	after, err := os.Stat("/etc/alternatives")
	if err != nil {
		t.Fatal(err)
	}
	if !before.ModTime().Equal(after.ModTime()) {
		t.Error("/etc/alternatives of the machine has changed")
	}
	if _, err := os.Stat("/etc/neighbour-was-here"); err == nil {
		t.Error("a file of the neighbour's stands in /etc of the machine")
	}
}
