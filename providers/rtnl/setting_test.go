package rtnl

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Settings that are as on a new bridge or port say nothing, others are named, several together.
func TestSettingsOfBridgesAndPorts(t *testing.T) {
	t.Parallel()
	m := &message{}
	for _, a := range []struct {
		attr  uint16
		value uint32
	}{{unix.IFLA_BR_HELLO_TIME, 200}, {unix.IFLA_BR_AGEING_TIME, 60000}, {unix.IFLA_BR_MAX_AGE, 2000}} {
		m.u32(a.attr, a.value)
	}
	m.attr(unix.IFLA_BR_PRIORITY, native.AppendUint16(nil, 8))
	m.attr(unix.IFLA_BR_MCAST_ROUTER, []byte{1})
	if got := decodeBridgeFacts(m.b).Settings; got != "ageing_time 60000, priority 8" {
		t.Errorf("settings %q", got)
	}
	m = &message{}
	m.attr(unix.IFLA_BRPORT_PRIORITY, native.AppendUint16(nil, 32))
	m.attr(unix.IFLA_BRPORT_FAST_LEAVE, []byte{0})
	m.attr(unix.IFLA_BRPORT_MULTICAST_ROUTER, []byte{1})
	if _, facts := decodePort(m.b); facts != nil {
		t.Errorf("a new port has %+v", facts)
	}
	m.attr(unix.IFLA_BRPORT_LOCKED, []byte{1})
	m.attr(unix.IFLA_BRPORT_MCAST_TO_UCAST, []byte{1})
	m.attr(unix.IFLA_BRPORT_GROUP_FWD_MASK, native.AppendUint16(nil, 0x4000))
	if _, facts := decodePort(m.b); facts == nil || !facts.Locked || facts.Settings != "mcast_to_unicast 1, group_fwd_mask 16384" {
		t.Errorf("settings %+v", facts)
	}
}
