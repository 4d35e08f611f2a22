package trace

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Frame follows one frame in full, from the link it comes in by ("" for the host) until it has arrived or is lost: the first
// packet of a connection of which conntrack knows nothing.
func (w *Walker) Frame(in string, frame []byte) Result {
	if f, ok := any(w).(interface {
		walkFrame(in string, frame []byte) Result
	}); ok {
		return f.walkFrame(in, frame)
	}
	return w.Walk(flowOf(in, frame))
}

// Framed tells whether every bit of a frame counts, or only what a Flow can say.
func (w *Walker) Framed() bool {
	_, ok := any(w).(interface {
		walkFrame(in string, frame []byte) Result
	})
	return ok
}

func flowOf(in string, frame []byte) Flow {
	f := Flow{From: in, SrcMAC: net.HardwareAddr(frame[6:12]).String(), DstMAC: net.HardwareAddr(frame[:6]).String()}
	if in == "" {
		f.SrcMAC, f.DstMAC = "", ""
	}
	b := frame[14:]
	proto, l4 := b[9], b[20:]
	f.Src, _ = netip.AddrFromSlice(b[12:16])
	f.Dst, _ = netip.AddrFromSlice(b[16:20])
	if b[0]>>4 == 6 {
		proto, l4 = b[6], b[40:]
		f.Src, _ = netip.AddrFromSlice(b[8:24])
		f.Dst, _ = netip.AddrFromSlice(b[24:40])
	}
	f.Proto = map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}[proto]
	if proto == 6 || proto == 17 {
		f.SrcPort, f.DstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	}
	return f
}
