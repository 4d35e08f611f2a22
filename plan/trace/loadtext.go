package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// loaded is what the registers hold as a rule is read: what was loaded since something last asked for it, and the mask laid
// over it.
type loaded struct {
	names []string
	asked bool
	mask  []byte
}

// last is the load that a comparison is about.
func (t *loaded) last() string {
	if len(t.names) == 0 {
		return ""
	}
	return t.names[len(t.names)-1]
}

// load begins anew once something has asked for what was there.
func (t *loaded) load(name string) {
	if t.asked {
		*t = loaded{}
	}
	t.names, t.mask = append(t.names, name), nil
}

// read is the expression in words, "" for one that has none of its own.
func (t *loaded) read(e *schema.Expr) string {
	switch e.Name {
	case "payload", "meta", "ct", "fib", "rt", "exthdr":
		if !e.Write && e.SReg == 0 {
			t.load(loadText(e))
			return ""
		}
	case "bitwise":
		if e.Op == "bool" && !slices.ContainsFunc(e.Data2, func(b byte) bool { return b != 0 }) {
			t.mask = e.Data
		}
		return ""
	case "byteorder":
		return ""
	case "cmp", "range", "lookup", "in":
		t.asked = true
		return t.question(e)
	}
	return exprText(e)
}

// question is an expression that asks for what is loaded.
func (t *loaded) question(e *schema.Expr) string {
	load := t.last()
	if t.mask != nil {
		load = t.masked(nil)
	}
	op := ""
	if e.Op == "neq" {
		op = "!= "
	}
	switch e.Name {
	case "cmp":
		if t.mask != nil && (e.Op == "eq" || e.Op == "" || e.Op == "neq") {
			return t.masked(e)
		}
		op = map[string]string{"eq": "", "": "", "neq": "!= ", "lt": "< ", "lte": "<= ", "gt": "> ", "gte": ">= "}[e.Op]
		return load + " " + op + dataText(e.Data, load)
	case "range":
		return load + " " + op + dataText(e.Data, load) + "-" + dataText(e.Data2, load)
	case "lookup":
		if t.mask == nil {
			load = strings.Join(t.names, " . ")
		}
		return load + " " + op + "@" + e.Set
	}
	return load + " in " + strconv.Itoa(len(e.Ranges)) + " ranges"
}

// masked is a comparison of some bits, as nft(8) writes it: "ct state established,related", "tcp flags syn / syn,rst",
// "ip saddr 10.0.0.0/20". Without a comparison it is the load with its mask.
func (t *loaded) masked(e *schema.Expr) string {
	load, not := t.last(), ""
	if e == nil {
		return load + " & 0x" + hex.EncodeToString(t.mask)
	}
	if e.Op == "neq" {
		not = "!= "
	}
	if p, ok := prefixOf(e.Data, t.mask); ok && strings.HasSuffix(load, "addr") && strings.HasPrefix(load, "ip") {
		return load + " " + not + p.String()
	}
	names := bitNames(load, t.mask)
	none := !slices.ContainsFunc(e.Data, func(b byte) bool { return b != 0 })
	switch {
	case names == "":
		return load + " & 0x" + hex.EncodeToString(t.mask) + " " + map[bool]string{true: "!=", false: "=="}[e.Op == "neq"] + " 0x" + hex.EncodeToString(e.Data)
	case none && e.Op == "neq":
		return load + " " + names
	case none:
		return load + " ! " + names
	}
	return load + " " + not + bitNames(load, e.Data) + " / " + names
}

// prefixOf is an address and a mask of leading ones.
func prefixOf(data, mask []byte) (netip.Prefix, bool) {
	n := 0
	for n < 8*len(mask) && mask[n/8]>>(7-n%8)&1 != 0 {
		n++
	}
	ones := 0
	for _, b := range mask {
		ones += bits.OnesCount8(b)
	}
	if ones != n || len(data) != len(mask) || len(data) > 16 {
		return netip.Prefix{}, false
	}
	size := 4
	if len(data) > 4 {
		size = 16
	}
	a, _ := netip.AddrFromSlice(append(slices.Clone(data), make([]byte, size-len(data))...))
	return netip.PrefixFrom(a, n), true
}

// The names of bits, from the lowest on: enum ip_conntrack_status, the flags of TCP (RFC 9293, 3.1), and ct state as
// nftables has it (NF_CT_STATE_BIT).
var (
	stateWords  = []string{"invalid", "established", "related", "new", "", "", "untracked"}
	statusWords = []string{"expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "seq-adjust", "snat-done", "dnat-done", "dying"}
	flagWords   = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"}
)

// bitNames lists the bits of a value; "" where they have no names.
func bitNames(load string, data []byte) string {
	var names []string
	var v uint32
	switch {
	case load == "ct state" && len(data) == 4:
		names, v = stateWords, binary.NativeEndian.Uint32(data)
	case load == "ct status" && len(data) == 4:
		names, v = statusWords, binary.NativeEndian.Uint32(data)
	case load == "tcp flags" && len(data) == 1:
		names, v = flagWords, uint32(data[0])
	}
	var out []string
	for ; v != 0; v &= v - 1 {
		n := bits.TrailingZeros32(v)
		if n >= len(names) || names[n] == "" {
			return ""
		}
		out = append(out, names[n])
	}
	return strings.Join(out, ",")
}

// exprText is an expression that asks for nothing that is loaded.
func exprText(e *schema.Expr) string {
	switch e.Name {
	case "immediate":
		if e.Verdict != nil {
			return strings.TrimSpace(e.Verdict.Kind + " " + e.Verdict.Chain)
		}
		return ""
	case "meta", "ct":
		return e.Name + " " + e.Key + " set"
	case "nat":
		return e.Op
	case "masq":
		return "masquerade"
	case "redir":
		return "redirect"
	case "xtmatch", "xttarget":
		if e.Text != "" {
			return e.Text
		}
		return e.Key
	}
	return e.Name
}
