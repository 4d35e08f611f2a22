package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestModulesGone(t *testing.T) {
	gone := func(no bool) *schema.Machine { return &schema.Machine{Release: "6.11.0", NoModules: no} }
	found(t, modulesGone(), lab(gone(true)), "the modules of the running kernel 6.11.0 are gone", "/lib/modules/6.11.0 does not exist")
	healthy(t, modulesGone(), "a kernel with its modules", lab(gone(false)))
	healthy(t, modulesGone(), "a snapshot without a machine", without(lab(), schema.MachineRef()))
}
