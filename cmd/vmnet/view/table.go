package view

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
)

// ruleset writes the content of a table of ours that is made or changed, for whoever wants to read every rule before it is
// loaded. Lines that are not there yet bear a "+", those that go a "-".
func (pg *page) ruleset(c schema.Change) {
	after, ok := c.After.(*schema.Table)
	if !ok || !schema.OwnTable(after) {
		return
	}
	before, _ := c.Before.(*schema.Table)
	old, now := chainLines(before), chainLines(after)
	for _, l := range now {
		pg.content(l, old)
	}
	for _, l := range old {
		if !slices.ContainsFunc(now, l.same) {
			pg.raw(strings.Repeat(" ", stepIndent) + pg.paint(red, "- "+l.place+": "+l.text))
		}
	}
}

// tableLine is a rule or the elements of a set.
type tableLine struct {
	place string // "filter_forward", "set nat4"
	text  string
}

func (l tableLine) same(o tableLine) bool { return l == o }

func (pg *page) content(l tableLine, old []tableLine) {
	mark, st := "+ ", green
	if slices.ContainsFunc(old, l.same) {
		mark, st = "  ", plain
	}
	pg.raw(strings.Repeat(" ", stepIndent) + pg.paint(st, mark+l.place+": "+l.text))
}

// chainLines are the rules of all chains and the elements of all named sets; nil for no table.
func chainLines(t *schema.Table) []tableLine {
	if t == nil {
		return nil
	}
	var out []tableLine
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			text := r.Text
			if text == "" {
				text = nft.RuleText(t, r)
			}
			out = append(out, tableLine{"chain " + c.Name, strings.ReplaceAll(text, "\n", " ")})
		}
	}
	for _, s := range t.Sets {
		if s.Flags&schema.SetAnonymous == 0 && len(s.Elements) > 0 {
			out = append(out, tableLine{"set " + s.Name, elements(s)})
		}
	}
	return out
}

// elements writes the first elements of a set.
func elements(s *schema.Set) string {
	const most = 20
	var out []string
	for i, e := range s.Elements {
		if i == most {
			out = append(out, fmt.Sprintf("… %d more", len(s.Elements)-most))
			break
		}
		out = append(out, element(s, e))
	}
	return "{ " + strings.Join(out, ", ") + " }"
}

func element(s *schema.Set, e schema.Element) string {
	text := concat(e.Key, s.KeyType, s.Fields)
	if e.CatchAll {
		text = "*"
	}
	if len(e.KeyEnd) > 0 && !slices.Equal(e.Key, e.KeyEnd) {
		text += "-" + concat(e.KeyEnd, s.KeyType, s.Fields)
	}
	switch {
	case e.Verdict != nil:
		text += " : " + strings.TrimSpace(e.Verdict.Kind+" "+e.Verdict.Chain)
	case len(e.Data) > 0:
		text += " : " + concat(e.Data, s.DataType, dataFields(s, e.Data))
	}
	return text
}

// typeBits is how many bits each type of a concatenation takes in its number (TYPE_BITS in nftables' include/datatype.h).
const typeBits = 6

// dataFields are the lengths of concatenated data, which nothing but the types tell.
func dataFields(s *schema.Set, data []byte) []uint32 {
	if s.DataType>>typeBits == 0 {
		return nil
	}
	var out []uint32
	for t := s.DataType; t > 0; t >>= typeBits {
		size := map[uint32]uint32{7: 4, 8: 16, 9: 6, 13: 2, 12: 1}[t&(1<<typeBits-1)]
		if size == 0 {
			return []uint32{uint32(len(data))}
		}
		out = append(out, size)
	}
	slices.Reverse(out)
	return out
}

// concat writes a key. The fields of a concatenation are padded to 4 bytes each, and the last one has the lowest bits of
// the type.
func concat(b []byte, typ uint32, fields []uint32) string {
	if len(fields) == 0 {
		return keyText(b, typ)
	}
	var out []string
	for i, n := range fields {
		if int(n) > len(b) {
			break
		}
		out = append(out, keyText(b[:n], typ>>(typeBits*(len(fields)-1-i))&(1<<typeBits-1)))
		b = b[min(int(n+3)&^3, len(b)):]
	}
	return strings.Join(out, " . ")
}

// keyText writes a value of one of nftables' types (enum datatypes in nftables' include/datatype.h).
func keyText(b []byte, typ uint32) string {
	switch {
	case typ == 7 && len(b) == 4, typ == 8 && len(b) == 16:
		ip, _ := netip.AddrFromSlice(b)
		return ip.String()
	case typ == 9 && len(b) == 6:
		return net.HardwareAddr(b).String()
	case typ == 13 && len(b) == 2:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	case typ == 12 && len(b) == 1:
		name := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}[b[0]]
		if name == "" {
			name = strconv.Itoa(int(b[0]))
		}
		return name
	case typ == 41:
		return strconv.Quote(strings.TrimRight(string(b), "\x00"))
	}
	return "0x" + hex.EncodeToString(b)
}
