package endtoend_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const nftMain = `#!/usr/sbin/nft -f
# kept by hand
define lab = 10.20.0.0/24

include "/etc/nftables.d/*.nft"
`

const nftGuests = `table inet filter {
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state { established, related } accept
		ip daddr 10.20.0.11 tcp dport { ssh } counter drop comment "nobody logs in" # since 2019
		ip protocol udp drop
	}
	chain other { ip saddr 192.0.2.99 drop; }
}
`

// loadNft is what nftables.service does at boot: the whole file, with what it includes.
func (b *bed) loadNft() {
	b.Helper()
	if strings.Contains(b.sh("nft list tables"), "inet filter") {
		b.sh("nft delete table inet filter")
	}
	b.sh("nft -f " + b.root + "/etc/nftables.conf -I /nowhere 2>/dev/null || true; nft -f " + b.root + "/etc/nftables.d/guests.nft")
}

// TestNftablesConf: an admin's own rules are repaired live and in the file that nftables.service loads: one is deleted, one
// gets an exception. The rest of the file stays to the letter, the next boot changes nothing, and taking the block out of
// the file of vmnet takes its lines away again.
func TestNftablesConf(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.file("/etc/nftables.conf", nftMain)
		b.file("/etc/nftables.d/guests.nft", nftGuests)
		b.loadNft()
		b.serving("db1", "web1")
		b.blocked("the forward, broken", tcp(b.LAN(), b.Host4.Addr(), 2222))
		b.blocked("UDP to the internet, broken", udp(b.Guest("web1"), b.Server4, 80))

		p := b.apply(natLab)
		f := b.finding(p, "VN410")
		if f.Owner.Name != "nftables.service" || !strings.Contains(strings.Join(f.Evidence, "\n"), "/etc/nftables.d/guests.nft:") {
			b.Errorf("owner %v, evidence %q", f.Owner, f.Evidence)
		}
		b.passes("the forward, repaired", tcp(b.LAN(), b.Host4.Addr(), 2222))
		b.passes("UDP to the internet, repaired", udp(b.Guest("web1"), b.Server4, 80))
		got := b.content("/etc/nftables.d/guests.nft")
		if strings.Contains(got, "nobody logs in") || strings.Count(got, "vmnet:nat.lab") == 0 {
			b.Errorf("the file was not repaired:\n%s", got)
		}
		var left []string
		for l := range strings.Lines(got) {
			if !strings.Contains(l, "vmnet:") {
				left = append(left, l)
			}
		}
		if want := withoutLine(nftGuests, "nobody logs in"); strings.Join(left, "") != want {
			b.Errorf("the rest of the file changed:\n%s\nwant\n%s", strings.Join(left, ""), want)
		}
		if b.content("/etc/nftables.conf") != nftMain {
			b.Error("a file that holds none of the rules was changed")
		}
		if copies, _ := filepath.Glob(filepath.Join(b.root, "etc/nftables.d/guests.nft.vmnet-*")); len(copies) != 1 {
			b.Errorf("copies kept: %q", copies)
		} else if kept, err := os.ReadFile(copies[0]); err != nil || string(kept) != nftGuests {
			b.Errorf("the copy is not what was there: %v\n%s", err, kept)
		}

		b.loadNft() // the next boot
		b.settled(natLab)
		b.passes("the forward after a boot", tcp(b.LAN(), b.Host4.Addr(), 2222))
		b.passes("UDP to the internet after a boot", udp(b.Guest("web1"), b.Server4, 80))

		b.apply("")
		if got, want := b.content("/etc/nftables.d/guests.nft"), withoutLine(nftGuests, "nobody logs in"); got != want {
			b.Errorf("marked lines are left in the file:\n%s\nwant\n%s", got, want)
		}
		if live := b.sh("nft list ruleset"); strings.Contains(live, "vmnet:") {
			b.Errorf("marked rules are left:\n%s", live)
		}
	})
}

// TestNftablesConfShared: a rule that shares its line with another is repaired live; its line is named and left alone.
func TestNftablesConfShared(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		shared := "table inet filter {\n chain forward { type filter hook forward priority 0; ip daddr 10.20.0.11 tcp dport 22 drop; }\n}\n"
		b.file("/etc/nftables.conf", shared)
		b.sh("nft -f " + b.root + "/etc/nftables.conf")
		b.serving("db1", "web1")
		p := b.plan(natLab)
		if f := b.finding(p, "VN410"); !strings.Contains(strings.Join(f.Evidence, "\n"), "/etc/nftables.conf:2 has the same rule") {
			b.Errorf("evidence %q", f.Evidence)
		}
		b.apply(natLab)
		b.passes("the forward, repaired", tcp(b.LAN(), b.Host4.Addr(), 2222))
		if b.content("/etc/nftables.conf") != shared {
			b.Errorf("edited what cannot be edited safely:\n%s", b.content("/etc/nftables.conf"))
		}
	})
}

// TestSavedReject: a line that iptables-save wrote, with the options it always writes, is judged before the next boot.
func TestSavedReject(t *testing.T) {
	for i, line := range []string{
		"-A FORWARD -d 10.20.0.11/32 -p tcp -m tcp --dport 22 -j REJECT --reject-with icmp-port-unreachable",
		"-A FORWARD -d 10.20.0.11/32 -p tcp -m multiport --dports 22,80 -m conntrack --ctstate NEW -m comment --comment \"no logins\" -j DROP",
		"[3:180] -A FORWARD -m iprange --dst-range 10.20.0.11-10.20.0.12 ! -s 192.0.2.250/32 -j DROP",
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			on(t, twoGuests(), func(b *bed) {
				b.apply(natLab)
				b.file("/etc/iptables/rules.v4", "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"+line+"\nCOMMIT\n")
				if f := b.finding(b.plan(natLab), "VN413"); !strings.Contains(f.Object, "/etc/iptables/rules.v4:5") {
					b.Errorf("%s: %v", line, f)
				}
			})
		})
	}
}

func withoutLine(text, word string) string {
	var out strings.Builder
	for l := range strings.Lines(text) {
		if !strings.Contains(l, word) {
			out.WriteString(l)
		}
	}
	return out.String()
}

// serving lets guests and the outside answer on the ports that tests ask.
func (b *bed) serving(guests ...string) {
	b.Helper()
	if err := b.LAN().Serve(22, 80); err != nil {
		b.Fatal(err)
	}
	for _, g := range guests {
		if err := b.Guest(g).Serve(22, 80); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSavedNft: a drop that waits in nftables' file is found before the next boot and taken out; one that is only reached by
// what an earlier line lets through is not.
func TestSavedNft(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.apply(natLab)
		b.serving("db1", "web1")
		file := func(rules string) string {
			return "table inet filter {\n chain forward {\n  type filter hook forward priority filter; policy accept;\n" + rules + " }\n}\n"
		}
		b.file("/etc/nftables.conf", file("  ip daddr 10.20.0.11 tcp dport { ssh } drop # old\n"))
		if f := b.finding(b.plan(natLab), "VN413"); f.Object != "/etc/nftables.conf:4" || f.Owner.Name != "nftables.service" {
			b.Errorf("%+v", f)
		}
		b.apply(natLab)
		if got := b.content("/etc/nftables.conf"); got != file("") {
			b.Errorf("the file is now\n%s", got)
		}
		harmless := file("  ip daddr 10.20.0.0/24 accept\n  ip saddr 10.20.0.0/24 accept\n  ip daddr 10.20.0.11 tcp dport 22 drop\n")
		b.file("/etc/nftables.conf", harmless)
		b.settled(natLab)
		b.sh("nft -f " + b.root + "/etc/nftables.conf")
		b.passes("the forward with all of it loaded", tcp(b.LAN(), b.Host4.Addr(), 2222))
	})
}
