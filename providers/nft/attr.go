package nft

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// errShort says that a message ends before it should.
var errShort = errors.New("a netlink message is cut short")

// attrs walks over netlink attributes: for a := (attrs{b: b}); a.next(); { … }. Afterwards err tells whether they were
// well formed.
type attrs struct {
	b   []byte
	typ uint16
	val []byte
	err error
}

func (a *attrs) next() bool {
	if len(a.b) == 0 || a.err != nil {
		return false
	}
	if len(a.b) < unix.NLA_HDRLEN {
		a.err = errShort
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.b))
	if n < unix.NLA_HDRLEN || n > len(a.b) {
		a.err = errShort
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.val = a.b[unix.NLA_HDRLEN:n:n]
	a.b = a.b[min((n+3)&^3, len(a.b)):]
	return true
}

// u32 and the others read numbers, which nf_tables keeps in network order; 0 when the attribute is too short.
func (a *attrs) u32() uint32 { return be32(a.val) }

func (a *attrs) u16() uint16 {
	if len(a.val) < 2 {
		a.err = errShort
		return 0
	}
	return binary.BigEndian.Uint16(a.val)
}

func (a *attrs) u8() byte {
	if len(a.val) < 1 {
		a.err = errShort
		return 0
	}
	return a.val[0]
}

func (a *attrs) u64() uint64 {
	if len(a.val) < 8 {
		a.err = errShort
		return 0
	}
	return binary.BigEndian.Uint64(a.val)
}

func (a *attrs) str() string { return cString(a.val) }

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// builder writes netlink attributes.
type builder struct{ b []byte }

func (b *builder) bytes(typ uint16, v []byte) {
	n := unix.NLA_HDRLEN + len(v)
	b.b = binary.NativeEndian.AppendUint16(b.b, uint16(n))
	b.b = binary.NativeEndian.AppendUint16(b.b, typ)
	b.b = append(b.b, v...)
	b.pad()
}

func (b *builder) pad() {
	for len(b.b)%4 != 0 {
		b.b = append(b.b, 0)
	}
}

func (b *builder) str(typ uint16, s string) {
	n := unix.NLA_HDRLEN + len(s) + 1
	b.b = binary.NativeEndian.AppendUint16(b.b, uint16(n))
	b.b = binary.NativeEndian.AppendUint16(b.b, typ)
	b.b = append(b.b, s...)
	b.b = append(b.b, 0)
	b.pad()
}

func (b *builder) u8(typ uint16, v byte) { b.bytes(typ, []byte{v}) }

func (b *builder) u16(typ uint16, v uint16) {
	b.b = binary.NativeEndian.AppendUint16(b.b, unix.NLA_HDRLEN+2)
	b.b = binary.NativeEndian.AppendUint16(b.b, typ)
	b.b = binary.BigEndian.AppendUint16(b.b, v)
	b.pad()
}

func (b *builder) u32(typ uint16, v uint32) {
	b.b = binary.NativeEndian.AppendUint16(b.b, unix.NLA_HDRLEN+4)
	b.b = binary.NativeEndian.AppendUint16(b.b, typ)
	b.b = binary.BigEndian.AppendUint32(b.b, v)
}

func (b *builder) u64(typ uint16, v uint64) {
	b.b = binary.NativeEndian.AppendUint16(b.b, unix.NLA_HDRLEN+8)
	b.b = binary.NativeEndian.AppendUint16(b.b, typ)
	b.b = binary.BigEndian.AppendUint64(b.b, v)
}

// nest opens an attribute of attributes; end closes it with its length.
func (b *builder) nest(typ uint16) (start int) {
	start = len(b.b)
	b.b = append(b.b, 0, 0)
	b.b = binary.NativeEndian.AppendUint16(b.b, typ|unix.NLA_F_NESTED)
	return start
}

func (b *builder) end(start int) {
	binary.NativeEndian.PutUint16(b.b[start:], uint16(len(b.b)-start))
}

// request is one message to nf_tables.
type request struct {
	typ    uint16 // NFT_MSG_*, or NFNL_MSG_BATCH_*
	flags  uint16
	family byte
	resID  uint16
	attrs  []byte
}

// bytes is the message as it is sent. Batch marks are not of a subsystem.
func (r request) bytes(seq uint32) []byte { return r.append(nil, seq) }

func (r request) append(b []byte, seq uint32) []byte {
	typ := r.typ
	// Only batch marks carry a res_id. Their number says nothing: NFT_MSG_GETGEN has that of NFNL_MSG_BATCH_BEGIN.
	if r.resID == 0 {
		typ |= unix.NFNL_SUBSYS_NFTABLES << 8
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(headerLen+len(r.attrs)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, r.flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel fills in the port
	b = append(b, r.family, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, r.resID)
	return append(b, r.attrs...)
}
