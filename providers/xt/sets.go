package xt

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sets asks the kernel for ipsets, once each. Nothing is loaded or made: a kernel without sets does not know the questions
// (net/netfilter/ipset/ip_set_core.c).
type Sets struct {
	raw, netlink int // sockets, -1 where this user may not have one
	names        map[uint16]string
	contents     map[uint16]*setContent
	// written are sets into which a rule writes, asked those whose content a match was made of.
	written, asked map[uint16]bool
}

// OpenSets opens sockets in the network namespace of the calling thread. A user who must not have them learns nothing of sets.
func OpenSets() *Sets {
	open := func(family, kind, protocol int) int {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return -1
		}
		return fd
	}
	return &Sets{raw: open(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW), netlink: open(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)}
}

// Close closes the sockets.
func (s *Sets) Close() {
	for _, fd := range []int{s.raw, s.netlink} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Again forgets what was read, so that it is read anew; which sets rules write into it keeps.
func (s *Sets) Again() { s.names, s.contents, s.asked = nil, nil, nil }

// Doubtful tells whether a match was made of a set that a rule writes into, which was met later: reading again makes it right.
func (s *Sets) Doubtful() bool {
	for index := range s.asked {
		if s.written[index] {
			return true
		}
	}
	return false
}

func (s *Sets) write(index uint16) {
	if s.written == nil {
		s.written = map[uint16]bool{}
	}
	s.written[index] = true
}

// Name is the name of the set with that number; "" when there is none, or when it must not be asked for.
func (s *Sets) Name(index uint16) string {
	if name, ok := s.names[index]; ok {
		return name
	}
	if s.names == nil {
		s.names = map[uint16]string{}
	}
	_, s.names[index] = s.askName(index)
	return s.names[index]
}

// content is what the set with that number holds; nil when it is not known, or not for long.
func (s *Sets) content(index uint16) *setContent {
	if s.written[index] {
		return nil
	}
	if s.contents == nil {
		s.contents, s.asked = map[uint16]*setContent{}, map[uint16]bool{}
	}
	c, ok := s.contents[index]
	if !ok {
		if version, name := s.askName(index); name != "" {
			c = s.list(byte(version), name)
		}
		s.contents[index], s.asked[index] = c, true
	}
	return c
}

// askName asks for the protocol that the kernel speaks and for the name of a set (getsockopt(2), SO_IP_SET).
func (s *Sets) askName(index uint16) (version uint32, name string) {
	const soIPSet, opVersion, opByIndex, nameLen = 83, 0x100, 7, 32
	ask := func(req []byte) bool {
		size := uint32(len(req))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.raw), unix.SOL_IP, soIPSet,
			uintptr(unsafe.Pointer(&req[0])), uintptr(unsafe.Pointer(&size)), 0)
		return errno == 0
	}
	v := make([]byte, 8)
	binary.NativeEndian.PutUint32(v, opVersion)
	if !ask(v) {
		return 0, ""
	}
	req := make([]byte, 8+nameLen)
	binary.NativeEndian.PutUint32(req, opByIndex)
	copy(req[4:8], v[4:8])
	binary.NativeEndian.PutUint16(req[8:], index)
	if !ask(req) {
		return 0, ""
	}
	b, _, _ := bytes.Cut(req[8:], []byte{0})
	return binary.NativeEndian.Uint32(v[4:]), string(b)
}

// setContent is a set as it was read.
type setContent struct {
	typ     string // "hash:ip", "hash:net,port", …
	family  byte   // AF_INET, AF_INET6, or AF_UNSPEC
	netmask byte   // of hash:ip and bitmap:ip; 0 for none
	members []setMember
}

// setMember is an element of a set.
type setMember struct {
	addr  []byte
	cidr  byte // 0: the whole address
	proto byte
	port  uint16
}

// The attributes of ipset (uapi/linux/netfilter/ipset/ip_set.h). Numbers are in network order.
const (
	ipsetCmdList = 7 // IPSET_CMD_LIST

	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrType     = 3
	ipsetAttrFamily   = 5
	ipsetAttrData     = 7
	ipsetAttrMembers  = 8 // IPSET_ATTR_ADT

	ipsetAttrAddr    = 1
	ipsetAttrCIDR    = 3
	ipsetAttrPort    = 4
	ipsetAttrTimeout = 6
	ipsetAttrProto   = 7
	ipsetAttrFlags   = 8
	ipsetAttrNetmask = 20
	ipsetAttrBitmask = 12 // IPSET_ATTR_BITMASK

	ipsetNomatch = 1 << 2 // IPSET_FLAG_NOMATCH
)

// list lists a set by netlink; nil for one whose elements come and go, or that says more than is understood.
func (s *Sets) list(version byte, name string) *setContent {
	body := []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}
	body = appendAttr(body, ipsetAttrProtocol, []byte{version})
	body = appendAttr(body, ipsetAttrName, append([]byte(name), 0))
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, unix.NFNL_SUBSYS_IPSET<<8|ipsetCmdList)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	msg = append(append(msg, make([]byte, 8)...), body...)
	if err := unix.Sendto(s.netlink, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil
	}
	c, ok := &setContent{}, true
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(s.netlink, buf, 0)
		if err != nil {
			return nil
		}
		for m := buf[:n]; len(m) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < unix.NLMSG_HDRLEN || size > len(m) {
				return nil
			}
			switch typ := binary.NativeEndian.Uint16(m[4:]); {
			case typ == unix.NLMSG_DONE && ok:
				return c
			case typ == unix.NLMSG_DONE:
				return nil
			case typ == unix.NLMSG_ERROR:
				return nil
			default:
				ok = ok && size >= unix.NLMSG_HDRLEN+4 && c.take(m[unix.NLMSG_HDRLEN+4:size])
			}
			m = m[min((size+3)&^3, len(m)):]
		}
	}
}

func appendAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	return append(b, make([]byte, (4-len(v)%4)%4)...)
}

// eachAttr walks over attributes until do says stop; it returns whether they were well formed and none did.
func eachAttr(b []byte, do func(typ uint16, v []byte) bool) bool {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) || !do(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.NLA_HDRLEN:n]) {
			return false
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}

// take reads one message of a listing.
func (c *setContent) take(b []byte) bool {
	return eachAttr(b, func(typ uint16, v []byte) bool {
		switch typ {
		case ipsetAttrType:
			t, _, _ := bytes.Cut(v, []byte{0})
			c.typ = string(t)
		case ipsetAttrFamily:
			c.family = first(v)
		case ipsetAttrData:
			return eachAttr(v, func(typ uint16, v []byte) bool {
				if typ == ipsetAttrNetmask {
					c.netmask = first(v)
				}
				return typ != ipsetAttrTimeout && typ != ipsetAttrBitmask
			})
		case ipsetAttrMembers:
			return eachAttr(v, func(_ uint16, v []byte) bool { return c.takeMember(v) })
		}
		return true
	})
}

// takeMember reads one element; what counts and comments it is passed over.
func (c *setContent) takeMember(b []byte) bool {
	var m setMember
	ok := eachAttr(b, func(typ uint16, v []byte) bool {
		switch typ {
		case ipsetAttrAddr:
			return eachAttr(v, func(_ uint16, v []byte) bool { m.addr = bytes.Clone(v); return true })
		case ipsetAttrCIDR:
			m.cidr = first(v)
		case ipsetAttrProto:
			m.proto = first(v)
		case ipsetAttrPort:
			if len(v) == 2 {
				m.port = binary.BigEndian.Uint16(v)
			}
		case ipsetAttrFlags:
			return len(v) == 4 && binary.BigEndian.Uint32(v)&ipsetNomatch == 0
		case ipsetAttrTimeout:
			return false
		}
		return true
	})
	if ok = ok && len(c.members) < mostMembers; ok {
		c.members = append(c.members, m)
	}
	return ok
}

// mostMembers is how many elements become an equal; a longer set stays opaque.
const mostMembers = 4096

func first(v []byte) byte {
	if len(v) == 0 {
		return 0
	}
	return v[0]
}
