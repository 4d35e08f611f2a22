package ruleset

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// field is a type of libnftables (enum datatypes in its include/datatype.h), with its length in bytes.
type field struct{ id, len uint32 }

func ifName() field      { return field{41, ifNameSize} }
func inetProto() field   { return field{12, 1} }
func inetService() field { return field{13, 2} }

func address(f family) field {
	if f == ipv4 {
		return field{7, 4}
	}
	return field{8, 16}
}

// typeBits is how far libnftables shifts the types of a concatenation (TYPE_BITS).
const typeBits = 6

// newSet returns an empty set of the given key, without a name.
func newSet(flags uint32, key ...field) *schema.Set {
	s := &schema.Set{Flags: flags}
	s.KeyType, s.KeyLen = concat(key)
	if len(key) == 1 && key[0] == ifName() {
		s.UserData = hostByteOrder()
	}
	if len(key) > 1 {
		s.Flags |= schema.SetConcat
		for _, f := range key {
			s.Fields = append(s.Fields, f.len)
		}
	}
	return s
}

// hostByteOrder tells nft(8) that a key is in the order of the machine; it prints interface names as "" without. A record of
// type NFTNL_UDATA_SET_KEYBYTEORDER (0) with the value BYTEORDER_HOST_ENDIAN (1), as libnftables writes it.
func hostByteOrder() []byte { return append([]byte{0, 4}, host32(1)...) }

// newMap returns an empty map of the given key to the given data.
func newMap(key, data []field) *schema.Set {
	s := newSet(schema.SetMap, key...)
	s.DataType, s.DataLen = concat(data)
	return s
}

// concat gives the type and length of fields together: in a concatenation each is padded to whole registers.
func concat(fields []field) (typ, length uint32) {
	if len(fields) == 1 {
		return fields[0].id, fields[0].len
	}
	for _, f := range fields {
		typ = typ<<typeBits | f.id
		length += 4 * words(f.len)
	}
	return typ, length
}

// key strings the fields of a concatenation together, each padded to whole registers.
func key(fields ...[]byte) []byte {
	if len(fields) == 1 {
		return fields[0]
	}
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
		b = append(b, make([]byte, 4*int(words(uint32(len(f))))-len(f))...)
	}
	return b
}

// sets are the named sets of a table under construction.
type sets struct {
	byName map[string]*schema.Set
	seen   map[string]bool // name and key: the first element of a key wins
}

// add puts an element into the set of that name; made by create when it is the first.
func (s *sets) add(name string, create func() *schema.Set, e schema.Element) {
	set := s.byName[name]
	if set == nil {
		set = create()
		set.Name = name
		if s.byName == nil {
			s.byName, s.seen = map[string]*schema.Set{}, map[string]bool{}
		}
		s.byName[name] = set
	}
	id := name + "\x00" + string(e.Key) + "\x00" + string(e.KeyEnd)
	if !s.seen[id] {
		s.seen[id] = true
		set.Elements = append(set.Elements, e)
	}
}

// has tells whether there is a set of that name. Sets are never empty.
func (s *sets) has(name string) bool { return s.byName[name] != nil }

// sorted returns the sets by name, their elements by key, without intervals that lie within others, which the kernel
// refuses.
func (s *sets) sorted() []*schema.Set {
	var out []*schema.Set
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		set := s.byName[name]
		slices.SortFunc(set.Elements, func(a, b schema.Element) int {
			if c := bytes.Compare(a.Key, b.Key); c != 0 {
				return c
			}
			return bytes.Compare(upper(b), upper(a))
		})
		if set.Flags&schema.SetInterval != 0 {
			set.Elements = uncontained(set.Elements)
		}
		out = append(out, set)
	}
	return out
}

func upper(e schema.Element) []byte {
	if len(e.KeyEnd) == 0 {
		return e.Key
	}
	return e.KeyEnd
}

// uncontained drops the elements that lie within the one before. The elements are sorted, the widest of a key first, and
// made of prefixes and merged ranges, so that two of them are nested or disjoint.
func uncontained(elements []schema.Element) []schema.Element {
	var out []schema.Element
	for _, e := range elements {
		if n := len(out); n > 0 && bytes.Compare(upper(e), upper(out[n-1])) <= 0 {
			continue
		}
		out = append(out, e)
	}
	return out
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// prefixElement is the interval of a prefix, behind the given leading fields.
func prefixElement(p netip.Prefix, comment string, lead ...[]byte) schema.Element {
	e := schema.Element{Key: key(append(slices.Clone(lead), p.Masked().Addr().AsSlice())...), Comment: comment}
	if !p.IsSingleIP() {
		e.KeyEnd = key(append(slices.Clone(lead), last(p).AsSlice())...)
	}
	return e
}

// ofFamilyOnly keeps the prefixes of one family.
func ofFamilyOnly(f family, prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		if p.IsValid() && familyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}

// merged joins ranges of ports that overlap or touch; sorted.
func merged(ranges []schema.PortRange) []schema.PortRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b schema.PortRange) int { return int(a.First) - int(b.First) })
	var out []schema.PortRange
	for _, r := range sorted {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}
