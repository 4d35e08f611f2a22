package endtoend_test

import (
	"strings"
	"testing"
)

// dockerTable is what Docker's nftables backend makes of a bridge with a container, as far as packets to it go.
const dockerTable = `nft 'table ip docker-bridges {
	map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
	chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
	chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; }
	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		iifname "docker0" counter accept comment "ICC"
		counter drop comment "UNPUBLISHED PORT DROP"
	}
}'`

// TestDockerNativeTable: Docker owns its tables of nftables and makes them anew: they are not written to, and the finding says
// what Docker lets others do.
func TestDockerNativeTable(t *testing.T) {
	on(t, twoGuests(), func(b *bed) {
		b.sh("ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up; ip link add c1 type veth peer name c2; ip link set c1 master docker0 up; ip link set c2 up")
		b.apply(natLab)
		b.sh(dockerTable)
		p := b.plan(natLab + "expect \"container\" {\n  from  = nat.lab\n  to    = \"172.17.0.2\"\n  tcp   = 80\n  allow = true\n}\n")
		f := b.finding(p, "VN410")
		if f.Owner == nil || f.Owner.Name != "docker" {
			b.Errorf("owner %+v, want docker", f.Owner)
		}
		if len(f.Fixes) == 0 || !strings.Contains(f.Fixes[len(f.Fixes)-1].WhyNot, "bridge-accept-fwmark") {
			b.Errorf("Docker's own way is not told: %+v", f.Fixes)
		}
		if !p.Empty() {
			b.Errorf("want no step, got\n%s", steps(p))
		}
	})
}
