package nft

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

func decodeSet(b []byte) (s *schema.Set, table string, err error) {
	s = &schema.Set{}
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_SET_TABLE:
			table = a.str()
		case unix.NFTA_SET_NAME:
			s.Name = a.str()
		case unix.NFTA_SET_FLAGS:
			s.Flags = a.u32()
		case unix.NFTA_SET_KEY_TYPE:
			s.KeyType = a.u32()
		case unix.NFTA_SET_KEY_LEN:
			s.KeyLen = a.u32()
		case unix.NFTA_SET_DATA_TYPE:
			s.DataType = a.u32()
		case unix.NFTA_SET_DATA_LEN:
			s.DataLen = a.u32()
		case unix.NFTA_SET_DESC:
			if s.Fields, err = decodeFields(a.val); err != nil {
				return nil, "", err
			}
		case unix.NFTA_SET_USERDATA:
			s.UserData = a.val
			s.Comment = udataText(a.val, udataSetComment)
		case nftaSetHandle:
			s.Handle = a.u64()
		}
	}
	if s.Fields == nil {
		s.Fields = fieldsOfType(s.KeyType, s.KeyLen)
	}
	return s, table, a.err
}

func decodeFields(desc []byte) ([]uint32, error) {
	var fields []uint32
	a := attrs{b: desc}
	for a.next() {
		if a.typ != nftaSetDescConcat {
			continue
		}
		list := attrs{b: a.val}
		for list.next() {
			f := attrs{b: list.val}
			for f.next() {
				if f.typ == nftaSetFieldLen {
					fields = append(fields, f.u32())
				}
			}
			if f.err != nil {
				return nil, f.err
			}
		}
		if list.err != nil {
			return nil, list.err
		}
	}
	return fields, a.err
}

// fieldsOfType splits the type of a concatenation, for sets that were made without a description of their fields: nft(8)
// before 1.0.7 gives one for intervals only. Nil when it is no concatenation, or not one of known types.
func fieldsOfType(keyType, keyLen uint32) []uint32 {
	if keyType>>typeBits == 0 {
		return nil
	}
	var fields []uint32
	sum := uint32(0)
	for t := keyType; t != 0; t >>= typeBits {
		n := typeLen(t & (1<<typeBits - 1))
		if n == 0 {
			return nil
		}
		fields = append(fields, n)
		sum += (n + 3) &^ 3
	}
	if sum != keyLen {
		return nil
	}
	slices.Reverse(fields)
	return fields
}

// typeBits is how far libnftables shifts the types of a concatenation (TYPE_BITS of its include/datatype.h).
const typeBits = 6

// rawElement is an element as the kernel lists it.
type rawElement struct {
	schema.Element
	end bool // NFT_SET_ELEM_INTERVAL_END
}

func decodeElements(elems []rawElement, b []byte) ([]rawElement, error) {
	a := attrs{b: b}
	for a.next() {
		if a.typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		list := attrs{b: a.val}
		for list.next() {
			e, err := decodeElement(list.val)
			if err != nil {
				return nil, err
			}
			elems = append(elems, e)
		}
		if list.err != nil {
			return nil, list.err
		}
	}
	return elems, a.err
}

func decodeElement(b []byte) (rawElement, error) {
	var e rawElement
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key, _ = decodeData(a.val)
		case nftaSetElemKeyEnd:
			e.KeyEnd, _ = decodeData(a.val)
		case unix.NFTA_SET_ELEM_DATA:
			e.Data, e.Verdict = decodeData(a.val)
		case nftaSetElemObjref:
			e.Data = append([]byte(nil), bytes.TrimRight(a.val, "\x00")...) // the name of an object
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := a.u32()
			e.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
			e.CatchAll = flags&nftSetElemCatchall != 0
		case unix.NFTA_SET_ELEM_TIMEOUT:
			e.Timeout = a.u64()
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = udataText(a.val, udataComment)
		}
	}
	return e, a.err
}

// joinElements turns what the kernel lists into elements: of a plain interval set it lists where each interval begins and,
// marked, where it ends: one above the last key; nothing when the next begins there, or when it reaches the highest key.
func joinElements(s *schema.Set, raw []rawElement) []schema.Element {
	out := make([]schema.Element, 0, len(raw))
	if s.Flags&schema.SetInterval == 0 || len(s.Fields) > 1 || s.Flags&schema.SetConcat != 0 {
		for _, r := range raw {
			if bytes.Equal(r.Key, r.KeyEnd) {
				r.KeyEnd = nil
			}
			out = append(out, r.Element)
		}
		sortElements(out)
		return orNil(out)
	}
	slices.SortStableFunc(raw, func(a, b rawElement) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return boolCompare(b.end, a.end) // an end comes before the beginning at the same key
	})
	open := -1
	for _, r := range raw {
		if r.CatchAll {
			out = append(out, r.Element)
			continue
		}
		if open >= 0 {
			closeInterval(&out[open], decrement(r.Key))
			open = -1
		}
		if !r.end {
			out = append(out, r.Element)
			open = len(out) - 1
		}
	}
	if open >= 0 {
		closeInterval(&out[open], bytes.Repeat([]byte{0xff}, len(out[open].Key)))
	}
	sortElements(out)
	return orNil(out)
}

func orNil(e []schema.Element) []schema.Element {
	if len(e) == 0 {
		return nil
	}
	return e
}

func sortElements(e []schema.Element) {
	slices.SortStableFunc(e, func(a, b schema.Element) int { return bytes.Compare(a.Key, b.Key) })
}

func closeInterval(e *schema.Element, last []byte) {
	if !bytes.Equal(e.Key, last) {
		e.KeyEnd = last
	}
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// decrement is the key before b; of zero, all ones.
func decrement(b []byte) []byte {
	out := slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

// increment is the key after b; ok is false when there is none.
func increment(b []byte) (out []byte, ok bool) {
	out = slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]++
		if out[i] != 0 {
			return out, true
		}
	}
	return nil, false
}
