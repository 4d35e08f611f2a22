package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestOwnWay: what a person would type at the owner of a rule on the recorded hosts, for one flow. The commands of ufw and
// firewalld were given to these programs, which took them.
func TestOwnWay(t *testing.T) {
	web := accept{in: "virbr-lab", out: "eno1", src: netip.MustParsePrefix("10.20.0.0/24"), proto: "tcp", dport: schema.PortRange{First: 443, Last: 443}, address: "nat.lab"}
	dns := accept{in: "virbr-lab", src: netip.MustParsePrefix("10.20.0.0/24"), dst: netip.MustParsePrefix("10.20.0.1/32"), proto: "udp", dport: schema.PortRange{First: 53, Last: 53}, address: "nat.lab"}
	ssh := accept{in: "vnet0", src: netip.MustParsePrefix("10.20.0.11/32"), proto: "tcp", dport: schema.PortRange{First: 22, Last: 22}, address: "guest.db1"}
	back := accept{in: "eno1", out: "virbr0", dst: netip.MustParsePrefix("192.168.122.11/32"), address: "guest.db1"}
	for _, c := range []struct {
		host, family, table, chain, base string
		acc                              accept
		want                             string
	}{
		{"ufw", "ip", "filter", "FORWARD", "FORWARD", web, "ufw route allow in on virbr-lab out on eno1 from 10.20.0.0/24 to any port 443 proto tcp (ufw reload"},
		{"ufw", "ip", "filter", "INPUT", "INPUT", dns, "ufw allow in on virbr-lab from 10.20.0.0/24 to 10.20.0.1 port 53 proto udp (ufw reload"},
		{"docker", "ip", "filter", "FORWARD", "FORWARD", web, `iptables -I DOCKER-USER -s 10.20.0.0/24 -i virbr-lab -o eno1 -p tcp -m tcp --dport 443 -m comment --comment "vmnet:nat.lab" -j ACCEPT (Docker keeps`},
		{"docker-legacy", "ip", "filter", "FORWARD", "FORWARD", web, "iptables-legacy -I DOCKER-USER -s 10.20.0.0/24"},
		{"firewalld", "inet", "firewalld", "filter_INPUT", "filter_INPUT", dns, `firewall-cmd --permanent --zone=internal --add-rich-rule='rule family="ipv4" source address="10.20.0.0/24" destination address="10.20.0.1" port port="53" protocol="udp" accept' && firewall-cmd --zone=internal --add-rich-rule='rule family="ipv4" source address="10.20.0.0/24" destination address="10.20.0.1" port port="53" protocol="udp" accept' (`},
		{"firewalld", "inet", "firewalld", "filter_FORWARD", "filter_FORWARD", web, `firewall-cmd --permanent --new-policy=vmnet-nat-lab && firewall-cmd --permanent --policy=vmnet-nat-lab --add-ingress-zone=internal && firewall-cmd --permanent --policy=vmnet-nat-lab --add-egress-zone=public && firewall-cmd --permanent --policy=vmnet-nat-lab --add-rich-rule='rule family="ipv4" source address="10.20.0.0/24" port port="443" protocol="tcp" accept' && firewall-cmd --reload (firewall-cmd --reload writes its table anew and forgets`},
		{"fail2ban", "ip", "filter", "f2b-probe", "INPUT", ssh, "fail2ban-client set probe unbanip 10.20.0.11 ("},
		{"fail2ban-nft", "inet", "f2b-table", "f2b-chain", "f2b-chain", ssh, "fail2ban-client set probe unbanip 10.20.0.11 ("},
		{"libvirt", "ip", "filter", "LIBVIRT_FWI", "FORWARD", back, "virsh net-edit default ("},
	} {
		for _, r := range realHosts(t) {
			if r.name != c.host {
				continue
			}
			table, _ := r.state.Get((&schema.Table{Family: c.family, Name: c.table, Legacy: strings.HasSuffix(c.host, "legacy")}).Ref()).(*schema.Table)
			chain := table.Chain(c.chain)
			var rule *schema.Rule
			for _, x := range chain.Rules {
				if drops(x) {
					rule = x
				}
			}
			_, sig := ownerOf(r.state, table, chain, rule)
			got := sig.ownWay(r.state, culprit{table: table, chain: chain, base: table.Chain(c.base), rule: rule}, []accept{c.acc})
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s\nwant %s", c.host, got, c.want)
			}
		}
	}
}
