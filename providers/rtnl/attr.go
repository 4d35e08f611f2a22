package rtnl

import (
	"encoding/binary"
	"iter"
	"strings"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink headers and of most attributes (netlink(7)).
var native = binary.NativeEndian

// attrs iterates over the attributes in b, without their flag bits. It stops at the first that does not fit: the kernel
// never sends one.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(native.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// align rounds up to NLA_ALIGNTO.
func align(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

// u8, u16, u32 and str read an attribute; one that is too short reads as zero.
func u8(v []byte) uint8 {
	if len(v) < 1 {
		return 0
	}
	return v[0]
}

func u16(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return native.Uint16(v)
}

func u32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return native.Uint32(v)
}

func str(v []byte) string {
	s, _, _ := strings.Cut(string(v), "\x00")
	return s
}

// message is the body of a request under construction: a fixed header, then attributes.
type message struct{ b []byte }

func (m *message) attr(typ uint16, v []byte) {
	m.b = native.AppendUint16(m.b, uint16(unix.SizeofNlAttr+len(v)))
	m.b = native.AppendUint16(m.b, typ)
	m.b = append(m.b, v...)
	m.pad()
}

func (m *message) u8(typ uint16, v uint8)    { m.attr(typ, []byte{v}) }
func (m *message) u16(typ uint16, v uint16)  { m.attr(typ, native.AppendUint16(nil, v)) }
func (m *message) u32(typ uint16, v uint32)  { m.attr(typ, native.AppendUint32(nil, v)) }
func (m *message) str(typ uint16, v string)  { m.attr(typ, append([]byte(v), 0)) }
func (m *message) flag(typ uint16, set bool) { m.u8(typ, bit(set)) }

// nest writes an attribute whose content fill writes.
func (m *message) nest(typ uint16, fill func()) {
	start := len(m.b)
	m.attr(typ, nil)
	fill()
	native.PutUint16(m.b[start:], uint16(len(m.b)-start))
}

func (m *message) pad() {
	for len(m.b)%unix.NLA_ALIGNTO != 0 {
		m.b = append(m.b, 0)
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
