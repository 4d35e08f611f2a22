package xt

import (
	"bytes"
	"encoding/binary"

	"github.com/vmnet/vmnet/schema"
)

// The pieces that matches are lowered to. All work in register 1.

func payload(base string, off, n uint32) schema.Expr {
	return schema.Expr{Name: "payload", Base: base, Offset: off, Len: n, DReg: 1}
}

func meta(key string) schema.Expr { return schema.Expr{Name: "meta", Key: key, DReg: 1} }

func ct(key, dir string) schema.Expr { return schema.Expr{Name: "ct", Key: key, Dir: dir, DReg: 1} }

func cmp(not bool, data []byte) schema.Expr {
	return schema.Expr{Name: "cmp", SReg: 1, Op: eq(not), Data: data}
}

func eq(not bool) string {
	if not {
		return "neq"
	}
	return "eq"
}

func mask(m []byte) schema.Expr {
	return schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(len(m)), Op: "bool", Data: m, Data2: make([]byte, len(m))}
}

// in compares with a range, or with one value.
func in(not bool, from, to []byte) schema.Expr {
	if bytes.Equal(from, to) {
		return cmp(not, from)
	}
	return schema.Expr{Name: "range", SReg: 1, Op: eq(not), Data: from, Data2: to}
}

// oneOf compares with several ranges.
func oneOf(not bool, n uint32, ranges [][2]schema.Bytes) schema.Expr {
	op := ""
	if not {
		op = "neq"
	}
	return schema.Expr{Name: "in", SReg: 1, Len: n, Op: op, Ranges: ranges}
}

// masked compares what remains under a mask; no mask is needed for all ones.
func masked(load schema.Expr, not bool, value, m []byte) []schema.Expr {
	if bytes.Count(m, []byte{0xff}) == len(m) {
		return []schema.Expr{load, cmp(not, value)}
	}
	return []schema.Expr{load, mask(m), cmp(not, value)}
}

// anyBit tells whether one of the bits is set.
func anyBit(load schema.Expr, not bool, bits uint32) []schema.Expr {
	return []schema.Expr{load, mask(host32(bits)), cmp(!not, host32(0))}
}

// hostRange compares a 32-bit number in host order with a range: it has to be turned first.
func hostRange(load schema.Expr, not bool, from, to uint32) []schema.Expr {
	if from == to {
		return []schema.Expr{load, cmp(not, host32(from))}
	}
	return []schema.Expr{
		load,
		{Name: "byteorder", SReg: 1, DReg: 1, Op: "hton", Len: 4, Size: 4},
		in(not, binary.BigEndian.AppendUint32(nil, from), binary.BigEndian.AppendUint32(nil, to)),
	}
}

func host32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func net16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// never is what no packet has: a length below zero.
func never() []schema.Expr {
	return []schema.Expr{meta("length"), {Name: "cmp", SReg: 1, Op: "lt", Data: []byte{0, 0, 0, 0}}}
}
