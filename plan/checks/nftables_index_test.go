package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestNftablesIndex(t *testing.T) {
	conf := func(rule string) *schema.File {
		return file("/etc/nftables.conf", "table inet mine {\n\tchain input {\n\t\t"+rule+"\n\t}\n}\n")
	}
	found(t, nftablesIndex(), lab(conf(`iif "virbr0" accept # guests`)), "/etc/nftables.conf needs virbr0 to be there", "/etc/nftables.conf:3", "write iifname in place of iif")
	healthy(t, nftablesIndex(), "a name", lab(conf(`iifname "virbr0" accept`)))
	healthy(t, nftablesIndex(), "the loopback and a card", lab(conf(`iif lo accept; oif eno1 accept`)))
	healthy(t, nftablesIndex(), "a comment", lab(conf(`# iif "virbr0" accept`)))
}
