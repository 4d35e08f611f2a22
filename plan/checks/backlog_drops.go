package checks

import "fmt"

// manyDrops is the share of packets, as one in so many, that a host loses before it is worth a word.
const manyDrops = 1000

func backlogDrops() Check {
	return Check{
		Code: "VN134", Name: "backlog-drops", Layer: LayerHost, Title: "the host loses packets before it looks at them", Run: runBacklogDrops,
		Doc: Doc{
			Means:   "Packets found the input queue of a processor full and were dropped: more than one in a thousand since boot. Guests see loss and retransmissions under load, and no rule or link shows any.",
			Example: "The second column of /proc/net/softnet_stat counts up while iperf3 runs between guests.",
			Why:     "Taps and veths hand every packet to the queue of one processor (net.core.netdev_max_backlog, 1000 packets); one queue of the card, or all interrupts on one processor, make it the bottleneck.",
			Repair:  "A sysctl block for net.core.netdev_max_backlog sets it; which size fits is not for a snapshot to say.",
			ByHand:  "sysctl -w net.core.netdev_max_backlog=10000; spread the load: ethtool -L eno1 combined 4, echo f > /sys/class/net/vnet1/queues/rx-0/rps_cpus.",
			Lasting: "net.core.netdev_max_backlog = 10000 in /etc/sysctl.d/; queues='4' in the guest's interface (libvirt <driver queues='4'/>).",
		},
	}
}

func runBacklogDrops(h *Host) []Finding {
	m := h.Machine()
	if m == nil || m.BacklogSeen == 0 || m.BacklogDropped*manyDrops < m.BacklogSeen {
		return nil
	}
	return []Finding{{
		Severity: Warning, Title: fmt.Sprintf("%d of %d packets were dropped since a queue was full", m.BacklogDropped, m.BacklogSeen+m.BacklogDropped), Object: m.Ref(),
		Detail:   "The processors' input queues are too short for the load, or the load is on too few of them.",
		Evidence: []string{fmt.Sprintf("/proc/net/softnet_stat since boot: %d seen, %d dropped", m.BacklogSeen, m.BacklogDropped)},
		Cure:     []string{"sysctl -w net.core.netdev_max_backlog=10000"},
	}}
}
