package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestVMwareModules(t *testing.T) {
	set := file("/etc/vmware/networking", "VERSION=1,0\n")
	found(t, vmwareModules(), lab(set), "vmware-modconfig", "the module vmnet is not loaded")
	healthy(t, vmwareModules(), "VMware at work", lab(set, &schema.Machine{Modules: []string{"vmmon", "vmnet"}, VMwareDevices: []string{"/dev/vmnet8"}}))
	healthy(t, vmwareModules(), "a host without VMware", lab())
}
