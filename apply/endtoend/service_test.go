package endtoend_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// bareGuests is a world with two guests without addresses: they ask for them.
func bareGuests() world.Spec {
	return world.Spec{Guests: []world.Guest{
		{Name: "db1", Device: "vnet0", MAC: "52:54:00:00:00:01"},
		{Name: "web1", Device: "vnet1", MAC: "52:54:00:00:00:02"},
		{Name: "far", Device: "vnet2", MAC: "52:54:00:00:00:03"},
	}}
}

const servedLab = `
nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
  mtu    = 1450
  dhcp {
    range   = "10.20.0.100-10.20.0.109"
    options = { ntp-server = "10.20.0.1" }
  }
  dns {
    domain   = "lab.test"
    upstream = []
    records  = { www = "db1", mirror = "10.20.0.9" }
  }
}

guest "db1" {
  network = nat.lab
  mac     = "52:54:00:00:00:01"
  address = "10.20.0.11"
  device  = "vnet0"
}

guest "web1" {
  network = nat.lab
  mac     = "52:54:00:00:00:02"
  device  = "vnet1"
}
`

const servedBuild = `
host_only "build" {
  device = "virbr-build"
  subnet = "10.30.0.0/24"
  dhcp { range = "10.30.0.100-10.30.0.199" }
}

guest "far" {
  network = host_only.build
  mac     = "52:54:00:00:00:03"
  device  = "vnet2"
}
`

// gives insists on a lease.
func (b *bed) gives(guest string, c world.DHCPClient) world.DHCPLease {
	b.Helper()
	l, err := b.Guest(guest).Within(5 * time.Second).DHCP(c)
	if err != nil {
		b.Fatalf("%s asks for an address: %v", guest, err)
	}
	return l
}

// configures gives a guest the address of its lease, as its client would.
func (b *bed) configures(guest string, l world.DHCPLease) {
	b.Helper()
	if err := b.Guest(guest).Configure(netip.PrefixFrom(l.IP, 24), ip4(l.Options[3])); err != nil {
		b.Fatal(err)
	}
}

func ip4(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (b *bed) resolves(from *world.Node, server, name, want string) {
	b.Helper()
	got, err := from.Within(3*time.Second).Resolve(addr(server), name)
	if want == "" && err == nil && len(got) == 0 || want == "" && err != nil && strings.Contains(err.Error(), "code") {
		return
	}
	if err != nil || !slices.Equal(got, []netip.Addr{addr(want)}) {
		b.Errorf("%s asks %s for %s: got %v, %v, want %s", from.Name, server, name, got, err, want)
	}
}

// server is the live server on a device.
func (b *bed) server(device string) *schema.Dnsmasq {
	b.Helper()
	d, ok := b.read().Get(schema.DnsmasqRef(device)).(*schema.Dnsmasq)
	if !ok {
		b.Fatalf("there is no server on %s", device)
	}
	return d
}

func TestServedNetwork(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		p := b.apply(servedLab + servedBuild)
		b.finding(p, "VN511")

		db, web := b.gives("db1", world.DHCPClient{}), b.gives("web1", world.DHCPClient{Name: "anything"})
		if db.IP != addr("10.20.0.11") {
			b.Errorf("db1 got %s, its own address is 10.20.0.11", db.IP)
		}
		if !prefix("10.20.0.100/28").Contains(web.IP) && web.IP.Less(addr("10.20.0.110")) {
			b.Errorf("web1 got %s, not one of the range", web.IP)
		}
		if mtu := db.Options[26]; len(mtu) != 2 || binary.BigEndian.Uint16(mtu) != 1450 {
			b.Errorf("option 26 is %v, want 1450", mtu)
		}
		for code, want := range map[byte]string{3: "10.20.0.1", 6: "10.20.0.1", 42: "10.20.0.1", 1: "255.255.255.0"} {
			if got := ip4(db.Options[code]); got != addr(want) {
				b.Errorf("option %d is %s, want %s", code, got, want)
			}
		}
		if got := string(db.Options[15]); got != "lab.test" {
			b.Errorf("the domain is %q, want lab.test", got)
		}
		if got := string(db.Options[12]); got != "db1" {
			b.Errorf("db1 is told that its name is %q", got)
		}
		far := b.gives("far", world.DHCPClient{})
		if !prefix("10.30.0.0/24").Contains(far.IP) || far.Options[3] != nil {
			b.Errorf("the guest of the host_only network got %s and the gateway %v, want none", far.IP, far.Options[3])
		}

		b.configures("db1", db)
		b.configures("web1", web)
		b.resolves(b.Guest("web1"), "10.20.0.1", "db1.lab.test", "10.20.0.11")
		b.resolves(b.Guest("web1"), "10.20.0.1", "www.lab.test", "10.20.0.11")
		b.resolves(b.Guest("web1"), "10.20.0.1", "mirror.lab.test", "10.20.0.9")
		b.resolves(b.Guest("db1"), "10.20.0.1", "web1.lab.test", web.IP.String()) // known by its lease alone
		b.resolves(b.Guest("db1"), "10.20.0.1", "nobody.lab.test", "")
		b.resolves(b.Host(), "10.20.0.1", "db1.lab.test", "10.20.0.11")
		if _, err := b.LAN().DHCP(world.DHCPClient{}); err == nil {
			b.Error("the LAN was given an address")
		}
		if uid := b.userOf(b.server("virbr-lab").Facts.PID); uid == "0" && os.Getuid() == 0 && b.manyUsers() {
			b.Error("the server runs as root")
		}

		b.apply("")
		for _, dir := range []string{"run/vmnet/dnsmasq", "var/lib/vmnet/dnsmasq"} {
			if left, _ := os.ReadDir(filepath.Join(b.root, dir)); len(left) > 0 {
				b.Errorf("%s still holds %v", dir, left)
			}
		}
		if left := b.sh("ps -eo args | grep -F " + b.root + " | grep -v grep || true"); left != "" {
			b.Errorf("still running: %s", left)
		}
	})
}

func (b *bed) userOf(pid int) string {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "Uid:" {
			return f[2]
		}
	}
	return ""
}

// manyUsers tells whether there is anybody else in this user namespace.
func (b *bed) manyUsers() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(m))
	return err == nil && len(f) >= 3 && len(f[2]) > 3
}

// TestServerDrift does to servers what happens to them; each is seen, named, and healed, and leases live on.
func TestServerDrift(t *testing.T) {
	drifts := []struct {
		name, code string
		do         func(b *bed, d *schema.Dnsmasq)
	}{
		{"killed", "VN512", func(b *bed, d *schema.Dnsmasq) { b.kill(d.Facts.PID) }},
		{"killed, its pid file too", "VN512", func(b *bed, d *schema.Dnsmasq) {
			b.kill(d.Facts.PID)
			b.sh("rm " + filepath.Dir(d.Facts.Config) + "/*.pid")
		}},
		{"its pid is another's", "VN512", func(b *bed, d *schema.Dnsmasq) {
			b.kill(d.Facts.PID)
			b.sh("for f in " + filepath.Dir(d.Facts.Config) + "/*.pid; do echo " + strconv.Itoa(os.Getpid()) + " >$f; done")
		}},
		{"edited", "VN513", func(b *bed, d *schema.Dnsmasq) { b.sh("echo dhcp-option=252,x >>" + d.Facts.Config) }},
		{"a line taken out", "VN513", func(b *bed, d *schema.Dnsmasq) { b.sh("sed -i /bogus-priv/d " + d.Facts.Config) }},
		{"lines turned round", "VN513", func(b *bed, d *schema.Dnsmasq) {
			b.sh("tac " + d.Facts.Config + " >x; cat x >" + d.Facts.Config + "; rm x")
		}},
		{"a reservation of somebody else", "VN513", func(b *bed, d *schema.Dnsmasq) {
			b.sh("echo 52:54:00:00:00:09,10.20.0.99 >>" + filepath.Dir(d.Facts.Config) + "/reservations")
		}},
		{"the bridge made anew", "VN515", func(b *bed, _ *schema.Dnsmasq) {
			b.sh("ip link del virbr-lab; ip link add virbr-lab address 02:00:00:00:00:77 type bridge; ip link set virbr-lab alias vmnet:nat.lab up")
		}},
		{"the bridge deleted", "VN515", func(b *bed, _ *schema.Dnsmasq) { b.sh("ip link del virbr-lab") }},
	}
	for _, drift := range drifts {
		t.Run(drift.name, func(t *testing.T) {
			on(t, bareGuests(), func(b *bed) {
				b.apply(servedLab)
				first := b.gives("web1", world.DHCPClient{})
				drift.do(b, b.server("virbr-lab"))
				f := b.finding(b.plan(servedLab), drift.code)
				if len(f.Evidence) == 0 {
					b.Errorf("%s %s has no evidence", f.Code, f.Title)
				}
				b.apply(servedLab)
				if again := b.gives("web1", world.DHCPClient{}); again.IP != first.IP {
					b.Errorf("web1 had %s, now it gets %s", first.IP, again.IP)
				}
				if leases := b.server("virbr-lab").Facts.Leases; len(leases) != 1 || leases[0].MAC != "52:54:00:00:00:02" {
					b.Errorf("the leases are %v", leases)
				}
			})
		})
	}
}

// kill ends a server of this test's own, as nobody should.
func (b *bed) kill(pid int) {
	b.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		b.Fatal(err)
	}
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 3000); err != nil {
		b.Fatal(err)
	}
}

// TestServerReload: a new reservation is read without a restart, another range takes one; leases live on either way.
func TestServerReload(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		b.apply(servedLab)
		first := b.gives("web1", world.DHCPClient{})
		before := b.server("virbr-lab").Facts.PID

		soft := strings.Replace(servedLab, "00:02\"\n", "00:02\"\n  address = \"10.20.0.12\"\n", 1)
		b.apply(soft)
		b.finding(b.plan(soft), "VN504") // its lease is for another address
		if now := b.server("virbr-lab").Facts.PID; now != before {
			b.Errorf("a new reservation made process %d of %d", now, before)
		}
		if l := b.gives("web1", world.DHCPClient{}); l.IP != addr("10.20.0.12") {
			b.Errorf("web1 had %s and gets %s, want 10.20.0.12", first.IP, l.IP)
		}

		hard := strings.Replace(soft, "10.20.0.109", "10.20.0.119", 1)
		b.apply(hard)
		if now := b.server("virbr-lab"); now.Facts.PID == before || len(now.Facts.Leases) != 1 {
			b.Errorf("another range left process %d with the leases %v", now.Facts.PID, now.Facts.Leases)
		}
	})
}

// TestServerChecksums: a client that reads packets as they are on the wire sees half a checksum, unless the file asks for whole ones; so
// it is by a port that leaves nothing to hardware, too.
func TestServerChecksums(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		b.apply(servedLab)
		if l := b.gives("db1", world.DHCPClient{}); l.Checksum {
			b.Log("this kernel fills checksums in by itself")
		}
		whole := strings.Replace(servedLab, "options = {", "checksums = true\n    options = {", 1)
		b.apply(whole)
		if l := b.gives("db1", world.DHCPClient{}); !l.Checksum {
			b.Error("the answers have wrong checksums")
		}
		b.sh("ip link del virbr-lab")
		b.apply(whole)
		if l := b.gives("db1", world.DHCPClient{}); !l.Checksum {
			b.Error("the answers on a bridge that was made anew have wrong checksums")
		}
		b.apply(servedLab)
		if l := b.gives("web1", world.DHCPClient{}); l.Checksum {
			b.Log("this kernel fills checksums in by itself")
		}
	})
}

// TestServerUndo lets every step of a change fail: the host, its servers and their leases are as before.
func TestServerUndo(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		b.apply(servedLab)
		lease := b.gives("web1", world.DHCPClient{})
		changed := strings.Replace(servedLab, "10.20.0.109", "10.20.0.119", 1) + servedBuild
		for name, src := range map[string]string{"changed": changed, "gone": ""} {
			for k := 1; ; k++ {
				p := b.plan(src)
				if k > len(p.Steps) {
					break
				}
				before := b.read()
				if _, err := b.carryOut(&failing{Host: b.host, at: k}, p); err == nil {
					b.Fatalf("%s, step %d: the fault was not noticed", name, k)
				}
				for _, d := range schema.Diff(before, b.read()) {
					if !kernelMade(d) {
						b.Errorf("%s, step %d of %d: not as before: %s\n%s", name, k, len(p.Steps), d, steps(p))
					}
				}
				if leases := b.server("virbr-lab").Facts.Leases; len(leases) != 1 || leases[0].IP != lease.IP {
					b.Errorf("%s, step %d: the leases are %v", name, k, leases)
				}
			}
		}
		if l := b.gives("web1", world.DHCPClient{}); l.IP != lease.IP {
			b.Errorf("web1 had %s, now it gets %s", lease.IP, l.IP)
		}
	})
}

// TestServerPortTaken: who has the port is named, the rest of the plan is made.
func TestServerPortTaken(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		if err := b.Host().ServeTCP(netip.MustParseAddrPort("0.0.0.0:53")); err != nil {
			b.Fatal(err)
		}
		p := b.plan(servedLab)
		f := b.finding(p, "VN514")
		if !strings.Contains(strings.Join(f.Evidence, " ")+f.Title, "tcp 0.0.0.0:53") {
			b.Errorf("%s %v does not say where it listens", f.Title, f.Evidence)
		}
		if _, err := b.carryOut(b.host, p); err != nil {
			b.Fatalf("the rest of the plan: %v", err)
		}
	})
}

// TestServerFindings are those that no step of vmnet's makes right.
func TestServerFindings(t *testing.T) {
	on(t, bareGuests(), func(b *bed) {
		small := strings.Replace(servedLab, "10.20.0.109", "10.20.0.100", 1)
		b.apply(small)
		clone := []byte{255, 1, 2, 3, 4, 0, 2, 0, 0, 0xab, 0x11, 9}
		first := b.gives("web1", world.DHCPClient{ClientID: clone})
		b.finding(b.plan(small), "VN505")

		b.sh("ip link set vnet2 master virbr-lab up")
		if second := b.gives("far", world.DHCPClient{ClientID: clone}); second.IP != first.IP {
			b.Fatalf("clones got %s and %s", first.IP, second.IP)
		}
		b.configures("web1", first)
		b.passes("web1 pings its gateway", b.Guest("web1").Within(3*time.Second).Ping(addr("10.20.0.1")))
		f := b.finding(b.plan(small), "VN508")
		if all := f.Title + strings.Join(f.Evidence, " "); !strings.Contains(all, "52:54:00:00:00:02") || !strings.Contains(all, "52:54:00:00:00:03") {
			b.Errorf("the clones are not named: %s", all)
		}
		b.sh("ip address flush dev virbr-lab; ip address add 192.168.50.1/24 dev virbr-lab")
		b.finding(b.plan(small), "VN506")
	})
}
