package checks

import "testing"

func TestDHCPRange(t *testing.T) {
	moved := without(lab(address("virbr0", "10.9.0.1/24")), address("virbr0", "192.168.122.1/24").Ref())
	found(t, dhcpRange(), moved, "serves addresses of another network", "192.168.122.2 to 192.168.122.254", "virbr0 has [10.9.0.1/24]")
	healthy(t, dhcpRange(), "a second address", lab(address("virbr0", "10.9.0.1/24")))
	healthy(t, dhcpRange(), "a bridge without addresses", without(lab(), address("virbr0", "192.168.122.1/24").Ref()))
}
