package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestOwnerRules(t *testing.T) {
	rules := &schema.Table{Family: "ip", Name: "filter", Compat: true, Chains: []*schema.Chain{{Name: "LIBVIRT_FWO"}}}
	bare := func() *schema.State { return without(lab(), schema.TableRef("ip", "libvirt_network")) }
	s := bare()
	found(t, ownerRules(), s, "the rules of libvirt for virbr0 are gone", "/run/libvirtd.pid names a process", "systemctl restart virtnetworkd")
	healthy(t, ownerRules(), "libvirt's chains", func() *schema.State { s := bare(); s.Put(rules); return s }())
	healthy(t, ownerRules(), "libvirt's own table", lab())
	healthy(t, ownerRules(), "libvirt that does not run", without(bare(), schema.FileRef("/run/libvirtd.pid")))
	s.Blind = []string{"nftables"}
	healthy(t, ownerRules(), "rules that were not seen", s)
}
