package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestMasqueradeWithin(t *testing.T) {
	on := sysctl("net.bridge.bridge-nf-call-iptables", "1")
	out := schema.Expr{Name: "meta", Key: "oifname", DReg: 1}
	link := func(op, name string) schema.Expr {
		return schema.Expr{Name: "cmp", Op: op, SReg: 1, Data: append([]byte(name), make([]byte, 16-len(name))...)}
	}
	nat := func(e ...schema.Expr) *schema.Table {
		return &schema.Table{Family: "ip", Name: "nat", Chains: []*schema.Chain{{Name: "POSTROUTING", Hook: "postrouting", Rules: []*schema.Rule{{Text: "the rule", Exprs: append(e, schema.Expr{Name: "masq"})}}}}}
	}
	found(t, masqueradeWithin(), lab(on, nat(out, link("neq", "lo"), schema.Expr{Name: "counter"})), "libvirt network default (virbr0)", "POSTROUTING: the rule", "vnet1, vnet2")
	found(t, masqueradeWithin(), lab(on, nat()), "send each other")
	healthy(t, masqueradeWithin(), "frames that meet no rules", lab(sysctl("net.bridge.bridge-nf-call-iptables", "0"), nat()))
	healthy(t, masqueradeWithin(), "a masquerade of the uplink", lab(on, nat(out, link("eq", "eno1"))))
	healthy(t, masqueradeWithin(), "a masquerade of another link than the bridge", lab(on, nat(out, link("neq", "virbr0"))))
	healthy(t, masqueradeWithin(), "a masquerade of one network", lab(on, nat(schema.Expr{Name: "payload", Base: "network", Offset: 12, Len: 4, DReg: 1}, schema.Expr{Name: "cmp", Op: "eq", SReg: 1, Data: []byte{10, 0, 0, 1}})))
}
