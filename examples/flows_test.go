package examples_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest/world"
)

func TestNAT(t *testing.T) {
	example(t, "nat", nil, func(h *host) []flow {
		web, db := h.Guest("web"), h.Guest("db")
		return []flow{
			{web, "tcp", "203.0.113.10:443", "lan"},
			{web, "udp", "203.0.113.10:53", "lan"},
			{web, "icmp", "203.0.113.10", "lan"},
			{db, "tcp", "[2001:db8:113::10]:443", "lan"},
			{db, "icmp", "2001:db8:113::10", "lan"},
			{web, "tcp", "10.20.0.12:5432", "db"},
			{web, "tcp", "[fd00:20::12]:5432", "db"},
			{web, "icmp", "10.20.0.1", "host"},
			{h.Host(), "tcp", "10.20.0.11:80", "web"},
			{h.Host(), "icmp", "fd00:20::12", "db"},
			{h.LAN(), "tcp", "192.0.2.10:80", "web"},
			{h.LAN(), "tcp", "[2001:db8:2::10]:443", "web"},
			{h.LAN(), "tcp", "192.0.2.10:2222", "db"},
			{h.Host(), "tcp", "192.0.2.10:2222", "db"},
			{h.Host(), "tcp", "127.0.0.1:2222", "db"},
			{web, "tcp", "192.0.2.10:2222", "db"},
			{h.LAN(), "tcp", "10.20.0.12:22", ""},
			{h.LAN(), "tcp", "[fd00:20::12]:22", ""},
			{h.LAN(), "icmp", "10.20.0.11", ""},
		}
	})
}

func TestBridge(t *testing.T) {
	example(t, "bridge", nil, func(h *host) []flow {
		web, db := h.Guest("web"), h.Guest("db")
		return []flow{
			{web, "tcp", "203.0.113.10:80", "lan"},
			{web, "tcp", "192.0.2.52:80", "db"},
			{web, "tcp", "192.0.2.10:22", "host"},
			{h.LAN(), "tcp", "192.0.2.51:80", "web"},
			{h.LAN(), "udp", "192.0.2.52:53", "db"},
			{h.LAN(), "tcp", "192.0.2.10:22", "host"},
			{h.Host(), "tcp", "203.0.113.10:80", "lan"},
			{h.Host(), "tcp", "[2001:db8:113::10]:80", "lan"},
			{h.Host(), "icmp", "192.0.2.51", "web"},
			{db, "icmp", "192.0.2.1", "lan"},
		}
	})
}

func TestDHCP(t *testing.T) {
	example(t, "dhcp", nil, func(h *host) []flow {
		web, runner, builder := h.Guest("web"), h.Guest("runner"), h.Guest("builder")
		h.leased(web, "10.20.0.11", "10.20.0.11")
		at := h.leased(runner, "10.20.0.100", "10.20.0.199")
		h.leased(builder, "10.30.0.100", "10.30.0.199")
		for name, want := range map[string]string{
			"web.lab.internal": "10.20.0.11", "git.lab.internal": "10.20.0.11", "nas.lab.internal": "10.20.0.5", "runner.lab.internal": at.String(),
		} {
			got, err := web.Within(5*time.Second).Resolve(netip.MustParseAddr("10.20.0.1"), name)
			if err != nil || !slices.Contains(got, netip.MustParseAddr(want)) {
				t.Errorf("%s is %v, %v, want %s", name, got, err, want)
			}
		}
		return []flow{
			{web, "tcp", "203.0.113.10:443", "lan"},
			{runner, "icmp", "203.0.113.10", "lan"},
			{runner, "tcp", "10.20.0.11:80", "web"},
			{builder, "icmp", "10.30.0.1", "host"},
			{builder, "tcp", "203.0.113.10:443", ""},
		}
	})
}

// leased lets a guest ask for an address, which must lie between two, and set it.
func (h *host) leased(guest *world.Node, first, last string) netip.Addr {
	h.Helper()
	l, err := guest.Within(5 * time.Second).DHCP(world.DHCPClient{})
	if err != nil || l.IP.Less(netip.MustParseAddr(first)) || netip.MustParseAddr(last).Less(l.IP) {
		h.Fatalf("%s got %v, %v, want an address from %s to %s", guest.Name, l.IP, err, first, last)
	}
	gateway, _ := netip.AddrFromSlice(l.Options[3])
	if err := guest.Configure(netip.PrefixFrom(l.IP, 24), gateway); err != nil {
		h.Fatal(err)
	}
	return l.IP
}

func TestHostOnly(t *testing.T) {
	example(t, "host-only", nil, func(h *host) []flow {
		runner, cache := h.Guest("runner"), h.Guest("cache")
		a, b := h.Guest("sample-a"), h.Guest("sample-b")
		return []flow{
			{runner, "tcp", "10.30.0.12:80", "cache"},
			{runner, "tcp", "[fd00:30::12]:80", "cache"},
			{runner, "tcp", "10.30.0.1:22", "host"},
			{h.Host(), "tcp", "10.30.0.11:22", "runner"},
			{h.Host(), "tcp", "[fd00:30::12]:22", "cache"},
			{h.Host(), "tcp", "10.31.0.11:22", "sample-a"},
			{a, "tcp", "10.31.0.1:22", "host"},
			{b, "icmp", "10.31.0.1", "host"},
			{a, "tcp", "10.31.0.12:22", ""},
			{b, "icmp", "10.31.0.11", ""},
			{a, "tcp", "10.30.0.11:22", ""},
			{runner, "tcp", "203.0.113.10:80", ""},
			{runner, "tcp", "[2001:db8:113::10]:80", ""},
			{runner, "icmp", "192.0.2.1", ""},
			{cache, "tcp", "10.31.0.11:22", ""},
			{a, "udp", "203.0.113.10:53", ""},
			{h.LAN(), "tcp", "10.30.0.11:22", ""},
			{h.LAN(), "tcp", "[fd00:30::11]:22", ""},
			{h.LAN(), "icmp", "10.31.0.11", ""},
		}
	})
}

func TestFirewall(t *testing.T) {
	example(t, "firewall", nil, func(h *host) []flow {
		web, db := h.Guest("web"), h.Guest("db")
		return []flow{
			{web, "tcp", "10.41.0.11:5432", "db"},
			{web, "tcp", "[fd00:41::11]:5432", "db"},
			{web, "tcp", "10.41.0.11:22", ""},
			{web, "icmp", "10.41.0.11", ""},
			{db, "tcp", "10.40.0.11:443", ""},
			{db, "tcp", "203.0.113.10:443", "lan"},
			{db, "tcp", "[2001:db8:113::10]:80", "lan"},
			{db, "tcp", "203.0.113.10:22", ""},
			{db, "udp", "203.0.113.10:53", ""},
			{db, "tcp", "192.0.2.1:443", ""},
			{db, "icmp", "2001:db8:113::10", ""},
			{web, "tcp", "203.0.113.10:22", "lan"},
			{web, "icmp", "203.0.113.10", "lan"},
			{web, "tcp", "10.40.0.1:22", ""},
			{web, "tcp", "192.0.2.10:22", ""},
			{db, "tcp", "[fd00:41::1]:22", ""},
			{web, "tcp", "10.40.0.1:80", "host"},
			{db, "icmp", "10.41.0.1", "host"},
			{h.LAN(), "tcp", "192.0.2.10:443", "web"},
			{h.LAN(), "tcp", "[2001:db8:2::10]:443", "web"},
			{h.LAN(), "tcp", "192.0.2.10:22", "host"},
			{h.LAN(), "tcp", "10.41.0.11:5432", ""},
			{h.LAN(), "tcp", "10.40.0.11:443", ""},
		}
	})
}

// What Docker 27 leaves in iptables-nft when it has switched forwarding on by itself, without containers.
const docker = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
`

func TestDockerHost(t *testing.T) {
	install := func(h *host) {
		h.Helper()
		file := h.TempDir() + "/docker.rules"
		if err := os.WriteFile(file, []byte(docker), 0o600); err != nil {
			h.Fatal(err)
		}
		h.command("iptables-nft-restore", file)
		h.command("sysctl", "-qw", "net.ipv4.ip_forward=1")
		if err := h.Bridge("docker0", []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}); err != nil {
			h.Fatal(err)
		}
		_, err := h.AddGuest(world.Guest{
			Name: "container", Device: "veth0a1b2c3", Bridge: "docker0",
			Addrs: []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}, Gateways: []netip.Addr{netip.MustParseAddr("172.17.0.1")},
		})
		if err != nil {
			h.Fatal(err)
		}
		if err := h.Running("docker0"); err != nil {
			h.Fatal(err)
		}
	}
	example(t, "docker-host", install, func(h *host) []flow {
		app, build, container := h.Guest("app"), h.Guest("build"), h.Guest("container")
		return []flow{
			{container, "tcp", "203.0.113.10:443", "lan"},
			{container, "icmp", "172.17.0.1", "host"},
			{container, "tcp", "10.50.0.11:443", ""},
			{build, "tcp", "203.0.113.10:443", "lan"},
			{app, "icmp", "203.0.113.10", "lan"},
			{app, "tcp", "[2001:db8:113::10]:443", "lan"},
			{app, "tcp", "10.50.0.12:22", "build"},
			{h.LAN(), "tcp", "192.0.2.10:8443", "app"},
			{h.LAN(), "tcp", "[2001:db8:2::10]:8443", "app"},
			{h.Host(), "tcp", "127.0.0.1:8443", "app"},
			{build, "tcp", "192.0.2.10:8443", "app"},
			{h.LAN(), "tcp", "10.50.0.12:22", ""},
			{h.LAN(), "tcp", "[fd00:50::11]:443", ""},
		}
	})
}

func (h *host) command(name string, args ...string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE=/run/xtables.lock")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%s %v: %v\n%s(this test needs iptables 1.8)", name, args, err, out)
	}
}
