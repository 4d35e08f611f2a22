package ufwconf_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ufwconf"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestParse: every form that ufw 0.36.2 has written for the command in the comment.
func TestParse(t *testing.T) {
	const nat = " comment=766d6e65743a6e61742e6c6162" // vmnet:nat.lab
	ports := func(a, b uint16) schema.PortRange { return schema.PortRange{First: a, Last: b} }
	for _, c := range []struct {
		tuple, family string
		flow          schema.Grant
		grant, plain  bool
	}{
		// ufw route allow in on virbr-lab out on eth0 proto tcp from 10.20.0.0/24 to any port 443 comment vmnet:nat.lab
		{"route:allow tcp 443 0.0.0.0/0 any 10.20.0.0/24 in_virbr-lab!out_eth0" + nat, "ip", schema.Grant{Forward: true, In: "virbr-lab", Out: "eth0", Proto: "tcp", Src: prefix("10.20.0.0/24"), Ports: ports(443, 443), Address: "nat.lab"}, true, true},
		// ufw route allow in on virbr-lab proto tcp from 10.20.0.0/24 to 192.0.2.0/24 port 8000:8100 comment vmnet:nat.lab
		{"route:allow tcp 8000:8100 192.0.2.0/24 any 10.20.0.0/24 in_virbr-lab" + nat, "ip", schema.Grant{Forward: true, In: "virbr-lab", Proto: "tcp", Src: prefix("10.20.0.0/24"), Dst: prefix("192.0.2.0/24"), Ports: ports(8000, 8100), Address: "nat.lab"}, true, true},
		// ufw route allow from 10.20.0.5 to 192.0.2.7 comment vmnet:nat.lab
		{"route:allow any any 192.0.2.7 any 10.20.0.5 in" + nat, "ip", schema.Grant{Forward: true, Src: prefix("10.20.0.5/32"), Dst: prefix("192.0.2.7/32"), Address: "nat.lab"}, true, true},
		// ufw route allow out on eth1 from ::/0 to ::/0 comment vmnet:nat.lab
		{"route:allow any any ::/0 any ::/0 out_eth1" + nat, "ip6", schema.Grant{Forward: true, Out: "eth1", Address: "nat.lab"}, true, true},
		// ufw allow in on virbr-lab proto udp from any to any port 53 comment vmnet:nat.lab
		{"allow udp 53 0.0.0.0/0 any 0.0.0.0/0 in_virbr-lab" + nat, "ip", schema.Grant{In: "virbr-lab", Proto: "udp", Ports: ports(53, 53), Address: "nat.lab"}, true, true},
		// ufw allow out on virbr-lab from any to 10.20.0.0/24 comment vmnet:nat.lab
		{"allow any any 10.20.0.0/24 any 0.0.0.0/0 out_virbr-lab" + nat, "ip", schema.Grant{Out: "virbr-lab", Dst: prefix("10.20.0.0/24"), Address: "nat.lab"}, true, true},
		// ufw allow 22/tcp
		{"allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in", "ip", schema.Grant{Proto: "tcp", Ports: ports(22, 22)}, false, true},
		// ufw deny from 198.51.100.7 comment vmnet:nat.lab: ours, and not a permission
		{"deny any any 0.0.0.0/0 any 198.51.100.7 in" + nat, "ip", schema.Grant{Src: prefix("198.51.100.7/32"), Address: "nat.lab"}, false, true},
		// ufw allow log 22/tcp comment vmnet:nat.lab
		{"allow_log tcp 22 0.0.0.0/0 any 0.0.0.0/0 in" + nat, "ip", schema.Grant{Proto: "tcp", Ports: ports(22, 22), Address: "nat.lab"}, false, true},
		// ufw allow 22/tcp comment 'not ours'
		{"allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=6e6f74206f757273", "ip", schema.Grant{Proto: "tcp", Ports: ports(22, 22)}, false, true},
		// ufw allow out 53: by any interface, which a Grant cannot say
		{"allow any 53 0.0.0.0/0 any 0.0.0.0/0 out" + nat, "ip", schema.Grant{Ports: ports(53, 53), Address: "nat.lab"}, false, false},
		// ufw allow proto tcp from any port 1024:65535 to any port 22 comment vmnet:nat.lab
		{"allow tcp 22 0.0.0.0/0 1024:65535 0.0.0.0/0 in" + nat, "ip", schema.Grant{Proto: "tcp", Ports: ports(22, 22), Address: "nat.lab"}, false, false},
		// ufw allow 80,443/tcp comment vmnet:nat.lab
		{"allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in" + nat, "ip", schema.Grant{Proto: "tcp", Address: "nat.lab"}, false, false},
		// ufw allow 'Nginx Full' comment vmnet:nat.lab
		{"allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in" + nat, "ip", schema.Grant{Proto: "tcp", Address: "nat.lab"}, false, false},
		// ufw allow proto esp from any to any comment vmnet:nat.lab: never asked for by us
		{"allow esp any 0.0.0.0/0 any 0.0.0.0/0 in" + nat, "ip", schema.Grant{Proto: "esp", Address: "nat.lab"}, false, true},
		// six fields, as ufw wrote before 0.30
		{"allow tcp 22 0.0.0.0/0 any 0.0.0.0/0", "ip", schema.Grant{Proto: "tcp", Ports: ports(22, 22)}, false, true},
	} {
		rules := ufwconf.Parse("*filter\n### RULES ###\n\n### tuple ### "+c.tuple+"\n-A somewhere -j ACCEPT\n\n### END RULES ###\n", c.family)
		if len(rules) != 1 {
			t.Errorf("%s: %d rules", c.tuple, len(rules))
			continue
		}
		c.flow.Manager, c.flow.Family, c.flow.Index = schema.ManagerUFW, c.family, 1
		r := rules[0]
		if d := cmp.Diff(c.flow, r.Flow, cmpopts.EquateComparable(netip.Prefix{})); d != "" && c.plain {
			t.Errorf("%s: (-want +got)\n%s", c.tuple, d)
		}
		if r.Plain != c.plain || (r.Grant() != nil) != c.grant || r.Line != 4 || len(r.Live) != 1 {
			t.Errorf("%s: %+v", c.tuple, r)
		}
	}
}

// TestMalformed: what ufw passes over is passed over.
func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "### tuple ###", "### tuple ### allow tcp 22", "### tuple ### a b c d e f g h i j", "-A x -j y", "# ### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"} {
		if rules := ufwconf.Parse(text, "ip"); len(rules) != 0 {
			t.Errorf("%q: %+v", text, rules)
		}
	}
}

// TestThereAndBack: a grant goes to its place, is read back, and leaves nothing.
func TestThereAndBack(t *testing.T) {
	b, err := os.ReadFile("testdata/user.rules")
	if err != nil {
		t.Fatal(err)
	}
	content := string(b)
	n := len(ufwconf.Parse(content, "ip"))
	if n != 4 {
		t.Fatalf("%d rules in testdata/user.rules", n)
	}
	for index := range n + 3 {
		g := &schema.Grant{
			Manager: schema.ManagerUFW, Address: `nat.lab["a b"]`, Family: "ip", Forward: true, In: "virbr-lab",
			Src: prefix("10.20.0.0/24"), Proto: "tcp", Ports: schema.PortRange{First: 80, Last: 90}, Index: index,
		}
		moved := ufwconf.Parse(content, "ip")
		with := ufwconf.Insert(content, moved, g)
		rules := ufwconf.Parse(with, "ip")
		at := index
		if at == 0 || at > n {
			at = n + 1
		}
		if got := rules[at-1].Grant(); len(rules) != n+1 || got == nil || got.Ref() != g.Ref() {
			t.Errorf("at %d:\n%s", index, with)
		} else if *got != *g {
			t.Errorf("at %d it is %+v, and said to be %+v", index, *got, *g)
		}
		for _, r := range append(slices.Clone(rules[:at-1]), rules[at:]...) {
			if !slices.ContainsFunc(moved, func(m ufwconf.Rule) bool { return m.Text == r.Text && m.Flow == r.Flow }) {
				t.Errorf("at %d: %s is at %d and %d, and said not to be", index, r.Text, r.Flow.Index, r.Flow.Place)
			}
		}
		if back := ufwconf.Remove(with, rules, g); back != content {
			t.Errorf("at %d, left: %s", index, cmp.Diff(content, back))
		}
	}
}

// FuzzParse: no text makes it fail, and what is put in comes out.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/user.rules")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("### tuple ### route:allow any any ::/0 any ::/0 in_a!out_b comment=zz\n\n### END RULES ###\n")
	f.Fuzz(func(t *testing.T, text string) {
		g := &schema.Grant{Manager: schema.ManagerUFW, Address: "nat.fuzz", Family: "ip", In: "br0"}
		for _, r := range ufwconf.Parse(text, "ip") {
			if live := r.Grant(); live != nil && live.Ref() == g.Ref() {
				return
			}
			if r.Line < 1 || r.Flow.Index < 1 {
				t.Errorf("%+v", r)
			}
		}
		if with := ufwconf.Insert(text, ufwconf.Parse(text, "ip"), g); with != text && !strings.Contains(ufwconf.Remove(with, ufwconf.Parse(with, "ip"), g), "### END RULES ###") {
			t.Errorf("put in and taken out:\n%s", with)
		}
	})
}
