package trace

import (
	"encoding/binary"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// TestRuleText reads rules of ours, which bear no text of their own before the kernel has them.
func TestRuleText(t *testing.T) {
	t.Parallel()
	u32 := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	ct := schema.Expr{Name: "ct", Key: "state", DReg: 1}
	mask := func(b []byte) schema.Expr {
		return schema.Expr{Name: "bitwise", SReg: 1, DReg: 1, Len: uint32(len(b)), Op: "bool", Data: b, Data2: make([]byte, len(b))}
	}
	cmp := func(op string, b []byte) schema.Expr { return schema.Expr{Name: "cmp", SReg: 1, Op: op, Data: b} }
	payload := func(base string, offset, size uint32) schema.Expr {
		return schema.Expr{Name: "payload", Base: base, Offset: offset, Len: size, DReg: 1}
	}
	accept := schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}}
	for _, c := range []struct {
		want  string
		exprs []schema.Expr
	}{
		{"ct state established,related accept", []schema.Expr{ct, mask(u32(6)), cmp("neq", u32(0)), accept}},
		{"ct state ! established,related accept", []schema.Expr{ct, mask(u32(6)), cmp("eq", u32(0)), accept}},
		{"ct state new accept", []schema.Expr{ct, cmp("eq", u32(8)), accept}},
		{"ct status dnat accept", []schema.Expr{{Name: "ct", Key: "status", DReg: 1}, mask(u32(1 << 5)), cmp("neq", u32(0)), accept}},
		{"tcp flags syn / syn,rst accept", []schema.Expr{payload("transport", 13, 1), mask([]byte{6}), cmp("eq", []byte{2}), accept}},
		{"tcp flags != syn / syn,rst", []schema.Expr{payload("transport", 13, 1), mask([]byte{6}), cmp("neq", []byte{2})}},
		{"ip saddr 10.16.0.0/12", []schema.Expr{payload("network", 12, 2), mask([]byte{0xff, 0xf0}), cmp("eq", []byte{10, 16})}},
		{"ip daddr != 10.16.0.0/12", []schema.Expr{payload("network", 16, 4), mask([]byte{0xff, 0xf0, 0, 0}), cmp("neq", []byte{10, 16, 0, 0})}},
		{"ip saddr & 0xff00ff00 == 0x0a000100", []schema.Expr{payload("network", 12, 4), mask([]byte{255, 0, 255, 0}), cmp("eq", []byte{10, 0, 1, 0})}},
		{"meta mark & 0x000000ff != 0x00000000", []schema.Expr{{Name: "meta", Key: "mark", DReg: 1}, mask([]byte{0, 0, 0, 255}), cmp("neq", make([]byte, 4))}},
		{"iifname . oifname @same_link accept", []schema.Expr{
			{Name: "meta", Key: "iifname", DReg: 1}, {Name: "meta", Key: "oifname", DReg: 2}, {Name: "lookup", Set: "same_link", SReg: 1}, accept,
		}},
		{"th dport >= 10 th dport <= 20", []schema.Expr{payload("transport", 2, 2), cmp("gte", []byte{0, 10}), cmp("lte", []byte{0, 20})}},
	} {
		if got := ruleText(&schema.Rule{Exprs: c.exprs}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
