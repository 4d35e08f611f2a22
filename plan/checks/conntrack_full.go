package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func conntrackFull() Check {
	return Check{
		Code: "VN327", Name: "conntrack-full", Layer: LayerIP, Title: "the table of connections is nearly full", Run: runConntrackFull,
		Doc: Doc{
			Means: "More than nine tenths of the connections that the kernel may track are in the table. When it is full, packets of new connections are dropped, " +
				"of guests and of the host itself: even ssh fails now and then (dmesg: nf_conntrack: table full, dropping packet).",
			Example: "net.netfilter.nf_conntrack_count = 65000, nf_conntrack_max = 65536.",
			Why:     "One guest can fill it: a scanner, a torrent client, a flood against it. The maximum follows the memory of the host and is small on small ones.",
			Repair:  "A sysctl block for net.netfilter.nf_conntrack_max sets it; who fills the table is for a person to judge.",
			ByHand:  "conntrack -L | awk '{print $5}' | sort | uniq -c | sort -n | tail names who; sysctl -w net.netfilter.nf_conntrack_max=262144.",
			Lasting: "net.netfilter.nf_conntrack_max in /etc/sysctl.d/ and nf_conntrack in /etc/modules-load.d/, or the setting comes before the module; options nf_conntrack hashsize=65536 in modprobe.d.",
		},
	}
}

func runConntrackFull(h *Host) []Finding {
	m := h.Machine()
	if m == nil || m.ConntrackMax == 0 || m.Conntrack*10 < m.ConntrackMax*9 {
		return nil
	}
	return []Finding{{
		Severity: Error, Title: fmt.Sprintf("%d of at most %d connections are tracked", m.Conntrack, m.ConntrackMax), Object: schema.SysctlRef("net.netfilter.nf_conntrack_max"),
		Detail:   "When the table is full, packets of new connections are dropped, whoever's they are.",
		Evidence: []string{fmt.Sprintf("net.netfilter.nf_conntrack_count = %d", m.Conntrack), fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", m.ConntrackMax)},
		Cure:     []string{fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", m.ConntrackMax*4), "conntrack -L shows whose they are"},
	}}
}
