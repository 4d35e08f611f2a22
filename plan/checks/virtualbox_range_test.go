package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestVirtualboxRange(t *testing.T) {
	net := func(prefix string) []schema.Object {
		return []schema.Object{link("vboxnet0", "device", 7), address("vboxnet0", prefix)}
	}
	found(t, virtualboxRange(), lab(net("10.77.0.1/24")...), "10.77.0.1/24 of vboxnet0 is outside", "/etc/vbox/networks.conf does not exist", "* 10.77.0.0/24")
	healthy(t, virtualboxRange(), "the default range", lab(net("192.168.56.1/24")...))
	healthy(t, virtualboxRange(), "a range that the file allows", lab(append(net("10.77.0.1/24"), file(vboxNetworks, "* 10.0.0.0/8 192.168.0.0/16\n* 2001:db8::/64\n"))...))
	found(t, virtualboxRange(), lab(append(net("192.168.56.1/24"), file(vboxNetworks, "* 10.0.0.0/8\n"))...), "allowed are [10.0.0.0/8]")
}
