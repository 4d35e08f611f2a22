package schema

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Bytes are raw bytes as the kernel stores them, hexadecimal in JSON.
type Bytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(t []byte) error {
	d, err := hex.DecodeString(string(t))
	if err != nil {
		return fmt.Errorf("parse bytes: %w", err)
	}
	*b = d
	return nil
}

// Table is a whole nftables table, ours or foreign; or, with Legacy, a table of iptables-legacy in the same terms, or what else
// decides on packets and cannot be read, such as tc and XDP programs: a chain at its hook with one opaque rule.
// It is the smallest thing the nft provider changes: one Change is one netlink batch.
type Table struct {
	// Family is "ip", "ip6", "inet", "arp", "bridge" or "netdev"; tables of iptables-legacy have "ip" or "ip6".
	Family string `json:"family"`
	Name   string `json:"name"`
	Legacy bool   `json:"legacy,omitempty"`
	// Dormant tables are not hooked (NFT_TABLE_F_DORMANT).
	Dormant bool   `json:"dormant,omitempty"`
	Flags   uint32 `json:"flags,omitempty"` // NFTA_TABLE_FLAGS as read: 1 dormant, 2 owner, 4 persist
	Comment string `json:"comment,omitempty"`
	// Compat is true for a table that iptables-nft manages: native expressions must not be written into it.
	Compat bool     `json:"compat,omitempty"`
	Chains []*Chain `json:"chains,omitempty"` // sorted by name
	Sets   []*Set   `json:"sets,omitempty"`   // sorted by name; anonymous ones too
	// Opaque are objects (counters, quotas, helpers …) and flowtables: kept, not understood.
	Opaque []OpaqueObject `json:"opaque,omitempty"`
}

// OpaqueObject is something in a table that vmnet keeps without understanding it.
type OpaqueObject struct {
	Type string `json:"type"` // "object" or "flowtable"
	Name string `json:"name"`
	Raw  Bytes  `json:"raw,omitempty"` // the netlink attributes
}

// Chain is a chain of a table. A base chain has a Hook.
type Chain struct {
	Name string `json:"name"`
	// Type is "filter", "nat" or "route" for a base chain.
	Type string `json:"type,omitempty"`
	// Hook is "prerouting", "input", "forward", "output", "postrouting", "ingress" or "egress".
	Hook     string   `json:"hook,omitempty"`
	Priority int32    `json:"priority,omitempty"`
	Policy   string   `json:"policy,omitempty"`  // "accept" or "drop" for a base chain
	Devices  []string `json:"devices,omitempty"` // netdev family, ingress and egress
	Comment  string   `json:"comment,omitempty"`
	Handle   uint64   `json:"handle,omitempty"` // a fact: not compared
	Rules    []*Rule  `json:"rules,omitempty"`  // in order
}

// Rule is one rule. What counts when rules are compared is Exprs (or Raw, when an expression is opaque) and Comment.
type Rule struct {
	Handle uint64 `json:"handle,omitempty"` // a fact: not compared; 0 for legacy rules
	// Comment is the text of nft's comment or of -m comment, "" for none.
	Comment string `json:"comment,omitempty"`
	// Exprs is what the rule does, in order, at the level of nftables' bytecode. Matches and targets of iptables
	// (compat expressions and legacy blobs) are lowered to the same bytecode.
	Exprs []Expr `json:"exprs,omitempty"`
	// Text is the rule as its owner's tool prints it: "-d 192.0.2.1/32 -p tcp -m tcp --dport 22 -j DROP" (without
	// "-A CHAIN") in iptables' tables, "ip daddr 192.0.2.1 tcp dport 22 drop" elsewhere. Made by the reader; empty in our own rules.
	Text string `json:"text,omitempty"`
	// Raw is NFTA_RULE_EXPRESSIONS as read, to put the rule back bit by bit. Empty in our own rules.
	Raw Bytes `json:"raw,omitempty"`
	// UserData is NFTA_RULE_USERDATA as read.
	UserData Bytes `json:"userdata,omitempty"`
	// Compat is NFTA_RULE_COMPAT as read (protocol and flags of iptables-nft rules).
	Compat Bytes `json:"compat,omitempty"`
	// Packets is the counter's value, nil when the rule does not count. A fact.
	Packets *uint64 `json:"packets,omitempty"`
}

// Expr is one nftables expression (libnftnl's names; include/uapi/linux/netfilter/nf_tables.h). Which fields count
// depends on Name:
//
//	payload    Base, Offset, Len -> DReg            (Base "link" | "network" | "transport" | "inner")
//	payload_w  Base, Offset, Len, SReg, CsumType, CsumOffset, Flags   a write
//	meta       Key -> DReg, or SReg -> Key when Set is true           (Key as in nft: "iifname", "oifname", "iif",
//	           "oif", "l4proto", "nfproto", "mark", "pkttype", "iiftype", "skuid", "protocol", "length", …)
//	ct         Key -> DReg, or SReg -> Key when Write                 (Key: "state", "status", "direction", "mark",
//	           "ip saddr" via Key "saddr"/"daddr"/"proto_src"/"proto_dst"/"l3proto"/"protocol" with Dir "original"|"reply")
//	cmp        SReg, Op ("eq","neq","lt","lte","gt","gte"), Data
//	range      SReg, Op ("eq","neq"), Data (from), Data2 (to)         both inclusive
//	bitwise    SReg -> DReg, Len, Op ("bool","lshift","rshift"), Data (mask, or shift in host order), Data2 (xor); or, of two
//	           registers, SReg, SReg2 -> DReg, Len, Op ("and","or","xor")
//	byteorder  SReg -> DReg, Op ("hton","ntoh"), Len, Size
//	lookup     SReg, Set (name) [-> DReg for maps], Op "" or "neq"    DReg 0 with a verdict map
//	in         SReg, Len, Ranges, Op "" or "neq"    lowered multiport and the like; never on the wire
//	immediate  DReg, Data, or Verdict (DReg 0)
//	fib        Key ("saddr . iif" …: words of NFTA_FIB_FLAGS), Op (result: "oif","oifname","type") -> DReg; Flags bit 5 present
//	nat        Op ("snat","dnat"), Family ("ip","ip6"), SReg addr min, SReg2 addr max, SReg3 port min, SReg4 port max, Flags
//	masq       SReg port min, SReg2 port max, Flags
//	redir      SReg port min, SReg2 port max, Flags
//	netmap     Data prefix address, Data2 mask, Op   lowered NETMAP
//	hops       Op ("set","inc","dec"), Data (one byte)   lowered TTL and HL
//	rt         Key ("classid","nexthop4","nexthop6","tcpmss") -> DReg
//	exthdr     Op ("ipv6","tcpopt","ip","sctp"), Type, Offset, Len, Flags -> DReg; exthdr_w: SReg (a write)
//	reject     Type, Code
//	counter, log, notrack, objref, last, quota, limit, connlimit, numgen, hash, dynset, socket, osf, synproxy,
//	queue, tproxy, dup, fwd, flow_offload, tunnel, xfrm, inner, …  Name and, where not understood, Opaque
//	xtmatch, xttarget   a match or target of iptables that is not lowered: Key is its name, Text its options, Opaque the blob.
//	           An xtmatch with Any has an equal all the same: it holds when one of the alternatives does (a list of
//	           expressions none of which breaks), or with Op "neq" when none does. Alternatives may nest; what they leave in
//	           registers is not seen by others. Meta keys "physin" and "physout", of 16 bytes, name the ports of a bridge in
//	           br_netfilter's pass and are empty elsewhere; never on the wire
//
// Registers are numbered as NFT_REG32_00 + n: 8..23 in 32-bit words, and 1..4 for the old 128-bit ones, which overlay
// them; 0 is the verdict register. The reader keeps the kernel's numbers.
type Expr struct {
	Name       string     `json:"name"`
	Key        string     `json:"key,omitempty"`
	Base       string     `json:"base,omitempty"`
	Op         string     `json:"op,omitempty"`
	Dir        string     `json:"dir,omitempty"`
	Family     string     `json:"family,omitempty"`
	Offset     uint32     `json:"offset,omitempty"`
	Len        uint32     `json:"len,omitempty"`
	Size       uint32     `json:"size,omitempty"`
	SReg       uint32     `json:"sreg,omitempty"`
	SReg2      uint32     `json:"sreg2,omitempty"`
	SReg3      uint32     `json:"sreg3,omitempty"`
	SReg4      uint32     `json:"sreg4,omitempty"`
	DReg       uint32     `json:"dreg,omitempty"`
	Data       Bytes      `json:"data,omitempty"`
	Data2      Bytes      `json:"data2,omitempty"`
	Ranges     [][2]Bytes `json:"ranges,omitempty"`
	Any        [][]Expr   `json:"any,omitempty"`
	Set        string     `json:"set,omitempty"`
	Write      bool       `json:"write,omitempty"`
	Type       uint32     `json:"type,omitempty"`
	Code       uint32     `json:"code,omitempty"`
	Flags      uint32     `json:"flags,omitempty"`
	CsumType   uint32     `json:"csum_type,omitempty"`
	CsumOffset uint32     `json:"csum_offset,omitempty"`
	Verdict    *Verdict   `json:"verdict,omitempty"`
	// Opaque holds the raw attributes of an expression vmnet keeps without understanding; Text names it for people.
	Opaque Bytes  `json:"opaque,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Verdict ends a rule.
type Verdict struct {
	// Kind is "accept", "drop", "return", "continue", "jump", "goto" or "queue".
	Kind  string `json:"kind"`
	Chain string `json:"chain,omitempty"` // of jump and goto
}

// Set is a set or map of a table.
type Set struct {
	Name    string `json:"name"`
	Comment string `json:"comment,omitempty"`
	Handle  uint64 `json:"handle,omitempty"` // a fact
	// Flags are NFTA_SET_FLAGS: 1 anonymous, 2 constant, 4 interval, 8 map, 16 timeout, 32 eval (dynamic), 64 object,
	// 128 concatenation.
	Flags    uint32 `json:"flags,omitempty"`
	KeyType  uint32 `json:"key_type,omitempty"`  // libnftables' type number, so that nft(8) prints it well
	KeyLen   uint32 `json:"key_len,omitempty"`   // bytes
	DataType uint32 `json:"data_type,omitempty"` // 0xffffff00 for verdicts
	DataLen  uint32 `json:"data_len,omitempty"`
	// Fields are the lengths in bytes of a concatenated key, unpadded; empty for a plain key.
	Fields   []uint32  `json:"fields,omitempty"`
	Elements []Element `json:"elements,omitempty"` // sorted by key
	UserData Bytes     `json:"userdata,omitempty"`
	// ID matches anonymous sets to rules inside one batch; a fact.
	ID uint32 `json:"-"`
}

// The flags of a Set.
const (
	SetAnonymous = 1
	SetConstant  = 2
	SetInterval  = 4
	SetMap       = 8
	SetTimeout   = 16
	SetEval      = 32
	SetObject    = 64
	SetConcat    = 128

	// VerdictType is the DataType of a verdict map.
	VerdictType = 0xffffff00
)

// Element is a member of a Set: a key, or an interval of keys.
type Element struct {
	Key Bytes `json:"key,omitempty"`
	// KeyEnd is the last key of an interval, inclusive; empty for a single key. Of a concatenation, field by field.
	KeyEnd   Bytes    `json:"key_end,omitempty"`
	CatchAll bool     `json:"catchall,omitempty"`
	Data     Bytes    `json:"data,omitempty"`
	Verdict  *Verdict `json:"verdict,omitempty"`
	Comment  string   `json:"comment,omitempty"`
	// Timeout is in milliseconds; 0 for none. An element with one comes and goes: it is not compared.
	Timeout uint64 `json:"timeout,omitempty"`
}

// TableRef names a table: "table/inet vmnet", or "xtable/ip filter".
func TableRef(family, name string) Ref { return Ref{KindTable, family + " " + name} }

// Ref implements Object.
func (t *Table) Ref() Ref {
	if t.Legacy {
		return Ref{KindXTable, t.Family + " " + t.Name}
	}
	return TableRef(t.Family, t.Name)
}

// Requires implements Object. Our own tables name interfaces by name and chains hooked to devices are not ours.
func (t *Table) Requires() []Ref { return nil }

// String prints "table inet vmnet (5 chains, 12 rules)".
func (t *Table) String() string {
	rules := 0
	for _, c := range t.Chains {
		rules += len(c.Rules)
	}
	kind := "table"
	if t.Legacy {
		kind = "legacy table"
	}
	return fmt.Sprintf("%s %s %s (%d chains, %d rules)", kind, t.Family, t.Name, len(t.Chains), rules)
}

func (*Table) object() {}

// Chain returns the chain of that name, or nil.
func (t *Table) Chain(name string) *Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// SetNamed returns the set of that name, or nil.
func (t *Table) SetNamed(name string) *Set {
	for _, s := range t.Sets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// ForeignRule is one rule inside a table that is not ours, as an object of its own: what a remedy adds, or takes out.
// It is a view: State.Get finds it inside the Table that holds it, and only rules that bear our mark are listed as
// objects of a live state.
type ForeignRule struct {
	// Family, Table and Chain say where; Legacy selects iptables-legacy.
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Legacy bool   `json:"legacy,omitempty"`
	// ByTool is true when the rule is written through the iptables of its backend (kind "xrule"): always for legacy,
	// and for what we add to a table that iptables-nft manages. False: by netlink (kind "nftrule").
	ByTool bool `json:"by_tool,omitempty"`
	// Rule is the rule; its Text is what identifies it, beside the place.
	Rule Rule `json:"rule"`
	// Sets are the nameless sets that the rule looks into: they vanish with it, and are needed to put it back. A fact.
	Sets []*Set `json:"sets,omitempty"`
	// Nth tells equal rules of one chain apart, counting from 1; 0 means 1.
	Nth int `json:"nth,omitempty"`
	// Next is the Text of the rule it stands in front of, "" at the end of the chain; Index is its position, counting
	// from 0, when it was planned. To insert: in front of the rule with text Next that is nearest to Index; if there is
	// none, at Index or the end, whichever comes first. Neither is compared.
	Next  string `json:"next,omitempty"`
	Index int    `json:"index"`
}

// Ref implements Object: "nftrule/ip filter FORWARD -d 192.0.2.1/32 -j DROP".
func (f *ForeignRule) Ref() Ref {
	k := KindNftRule
	if f.ByTool {
		k = KindXRule
	}
	name := f.Family + " " + f.Table + " " + f.Chain + " " + f.Rule.Text
	if f.Legacy {
		name = "legacy " + name
	}
	if f.Nth > 1 {
		name += fmt.Sprintf(" #%d", f.Nth)
	}
	return Ref{k, name}
}

// Requires implements Object: the table. (A chain that is missing makes the Change fail.)
func (f *ForeignRule) Requires() []Ref { return []Ref{f.TableRef()} }

// TableRef names the table that holds the rule.
func (f *ForeignRule) TableRef() Ref {
	return (&Table{Family: f.Family, Name: f.Table, Legacy: f.Legacy}).Ref()
}

// String prints "ip filter FORWARD: -d 192.0.2.1/32 -j DROP".
func (f *ForeignRule) String() string {
	s := fmt.Sprintf("%s %s %s: %s", f.Family, f.Table, f.Chain, f.Rule.Text)
	if f.Legacy {
		s = "legacy " + s
	}
	return s
}

func (*ForeignRule) object() {}

// Mark returns the mark of a rule of ours ("vmnet:nat.lab" gives "nat.lab"), and whether there is one.
func Mark(comment string) (address string, ok bool) { return strings.CutPrefix(comment, "vmnet:") }
