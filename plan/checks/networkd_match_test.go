package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNetworkdMatch(t *testing.T) {
	runs := file("/sys/fs/cgroup/system.slice/systemd-networkd.service/cgroup.procs", "70\n")
	wired := func(match string) *schema.File {
		return file("/etc/systemd/network/20-wired.network", "[Match]\n"+match+"\n\n[Network]\nDHCP=yes\n")
	}
	found(t, networkdMatch(), lab(runs, wired("Type=ether")), "20-wired.network matches vnet1, vnet2", "Type=ether", "Kind=!*")
	found(t, networkdMatch(), lab(runs, wired("Name=*")), "matches virbr0, vnet1, vnet2")
	healthy(t, networkdMatch(), "a file that leaves virtual links out", lab(runs, wired("Type=ether\nKind=!*")))
	healthy(t, networkdMatch(), "a file of the host's cards", lab(runs, wired("Name=en* eth*")))
	healthy(t, networkdMatch(), "links that a file before it takes out", lab(runs, wired("Type=ether"),
		file("/etc/systemd/network/10-guests.network", "[Match]\nName=vnet* virbr*\n[Link]\nUnmanaged=yes\n")))
	healthy(t, networkdMatch(), "networkd that does not run", lab(wired("Type=ether")))
}
