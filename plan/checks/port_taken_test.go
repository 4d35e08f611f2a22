package checks

import "testing"

func TestPortTaken(t *testing.T) {
	dns := listener("udp", "192.168.122.1", 53, "").Ref()
	found(t, portTaken(), without(lab(listener("udp", "0.0.0.0", 53, "named[812]")), dns), "named[812] has port 53, and libvirt network default (virbr0) serves nobody", "udp 0.0.0.0:53 named[812]")
	healthy(t, portTaken(), "a server beside dnsmasq", lab(listener("udp", "0.0.0.0", 53, "named[812]")))
	healthy(t, portTaken(), "systemd-resolved", without(lab(listener("udp", "127.0.0.53", 53, "systemd-resolve[1]")), dns))
}
