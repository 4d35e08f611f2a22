package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestDefaultRules(t *testing.T) {
	s := without(lab(), rule("ip", 32766, schema.TableMain).Ref())
	f := found(t, defaultRules(), s, "no rule looks into table main for IPv4", "ip rule add from all lookup main priority 32766", "2 rules of IPv4")
	heals(t, defaultRules(), s, f)
	moved := without(lab(rule("ip", 100, schema.TableMain)), rule("ip", 32766, schema.TableMain).Ref())
	healthy(t, defaultRules(), "the rule at another priority", moved)
	healthy(t, defaultRules(), "a host without IPv6", without(lab(), rule("ip6", 0, schema.TableLocal).Ref(), rule("ip6", 32766, schema.TableMain).Ref()))
}
