package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestTunMissing(t *testing.T) {
	found(t, tunMissing(), lab(&schema.Machine{NoTun: true}), "/dev/net/tun is not there", "/run/libvirtd.pid names a process", "modprobe tun")
	healthy(t, tunMissing(), "a host without a hypervisor", without(lab(&schema.Machine{NoTun: true}), schema.FileRef("/run/libvirtd.pid")))
}
