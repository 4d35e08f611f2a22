package rtnl

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGroupsAgreeWithBridge: multicast groups are read as bridge mdb shows them, where somebody asks who listens, and not else; so are the
// mode of a macvlan and a queue that was put on a link.
func TestGroupsAgreeWithBridge(t *testing.T) {
	inHost(t, `
		link add br0 type bridge mcast_snooping 1 mcast_querier 1
		link add br1 type bridge
		link add v0 type veth peer name v1
		link set v0 master br0 up
		link set v1 up
		link set br0 up
		link set br1 up
		link add link v1 name mv0 type macvlan mode private
		bridge mdb add dev br0 port v0 grp ff02::1:ff00:11 permanent
		bridge mdb add dev br0 port v0 grp 239.1.2.3 permanent
	`, func(h *host) {
		h.out("tc qdisc add dev v1 root tbf rate 256kbit burst 1600 latency 200ms")
		s := h.read()
		facts := s.Link("br0").Facts.BridgeFacts
		for _, want := range []string{"v0 ff02::1:ff00:11", "v0 239.1.2.3"} {
			if !slices.Contains(facts.Groups, want) {
				h.Errorf("groups %q lack %s; bridge mdb has\n%s", facts.Groups, want, h.out("bridge mdb show"))
			}
		}
		if !facts.Querier || facts.OtherQuerier6 {
			h.Errorf("br0 asks by itself: %+v", facts)
		}
		if f := s.Link("br1").Facts.BridgeFacts; f.Querier || f.Groups != nil {
			h.Errorf("nobody asks on br1: %+v", f)
		}
		if mode := s.Link("mv0").Facts.MacvlanMode; mode != "private" {
			h.Errorf("mode of mv0 is %q", mode)
		}
		if v0, v1 := s.Link("v0").Facts.Qdisc, s.Link("v1").Facts.Qdisc; v0 != "" || v1 != "tbf" {
			h.Errorf("queues %q and %q, want none and tbf", v0, v1)
		}
	})
}

func TestOtherQuerier6(t *testing.T) {
	attr := func(typ uint16, v ...byte) []byte {
		b := native.AppendUint16(native.AppendUint16(nil, uint16(4+len(v))), typ)
		return append(b, v...)
	}
	own := append(attr(5, make([]byte, 16)...), attr(unix.IFLA_UNSPEC+7, make([]byte, 8)...)...)
	if otherQuerier6(own) {
		t.Error("the bridge itself is taken for another machine")
	}
	if !otherQuerier6(append(own, attr(6, 9, 0, 0, 0)...)) {
		t.Error("a querier behind port 9 is not seen")
	}
}
