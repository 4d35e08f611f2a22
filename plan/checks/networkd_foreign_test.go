package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNetworkdForeign(t *testing.T) {
	runs := file("/sys/fs/cgroup/system.slice/systemd-networkd.service/cgroup.procs", "70\n")
	ours := rule("ip", 2500, schema.TableMain)
	ours.Proto = new(uint8(schema.ProtoVMNET))
	found(t, networkdForeign(), lab(runs, ours), "networkd removes 1 policy rules of others", "2500: from all lookup main", "ManageForeignRoutingPolicyRules=no")
	healthy(t, networkdForeign(), "a host without rules of others", lab(runs))
	healthy(t, networkdForeign(), "networkd that leaves them", lab(runs, ours, file("/etc/systemd/networkd.conf.d/vm.conf", "[Network]\nManageForeignRoutingPolicyRules = no\n")))
	healthy(t, networkdForeign(), "a host without networkd", lab(ours))
}
