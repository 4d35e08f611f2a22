package xt

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// blob is an extension's struct. Its methods expect that the decoder's size was checked; beyond the end they read zero.
type blob struct {
	b    []byte
	ip6  bool
	rev  uint32
	sets *Sets
}

func (b blob) at(off, n int) []byte {
	if off < 0 || off+n > len(b.b) {
		return make([]byte, n)
	}
	return b.b[off : off+n : off+n]
}

func (b blob) u8(off int) byte     { return b.at(off, 1)[0] }
func (b blob) u16(off int) uint16  { return binary.NativeEndian.Uint16(b.at(off, 2)) }
func (b blob) u32(off int) uint32  { return binary.NativeEndian.Uint32(b.at(off, 4)) }
func (b blob) u64(off int) uint64  { return binary.NativeEndian.Uint64(b.at(off, 8)) }
func (b blob) be16(off int) uint16 { return binary.BigEndian.Uint16(b.at(off, 2)) }

// str is a C string of at most n bytes.
func (b blob) str(off, n int) string {
	s, _, _ := bytes.Cut(b.at(off, n), []byte{0})
	return string(s)
}

// addrLen is the length of an address of the family.
func (b blob) addrLen() int {
	if b.ip6 {
		return 16
	}
	return 4
}

// addr is the address in a union nf_inet_addr.
func (b blob) addr(off int) netip.Addr {
	a, _ := netip.AddrFromSlice(b.at(off, b.addrLen()))
	return a
}
