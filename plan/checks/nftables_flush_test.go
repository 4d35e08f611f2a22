package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNftablesFlush(t *testing.T) {
	conf := file("/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n}\n")
	enabled := file("/etc/systemd/system/sysinit.target.wants/nftables.service", "[Unit]\n")
	others := &schema.Table{Family: "ip", Name: "nat", Chains: []*schema.Chain{{Name: "POSTROUTING", Hook: "postrouting", Rules: []*schema.Rule{{Text: "-j LIBVIRT_PRT"}}}}}
	own := &schema.Table{Family: "inet", Name: "filter", Chains: []*schema.Chain{{Name: "input", Hook: "input", Rules: []*schema.Rule{{Text: "accept"}}}}}
	found(t, nftablesFlush(), lab(conf, enabled, others, own), "/etc/nftables.conf:2: flush ruleset", "table ip nat is not in the file")
	healthy(t, nftablesFlush(), "a service that is not enabled", lab(conf, others))
	healthy(t, nftablesFlush(), "a host without others' tables", lab(conf, enabled, own))
	healthy(t, nftablesFlush(), "a file that flushes only its own", lab(file("/etc/nftables.conf", "# flush ruleset\ntable inet filter\ndelete table inet filter\n"), enabled, others))
}
