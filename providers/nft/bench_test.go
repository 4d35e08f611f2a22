package nft

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// benchRules is how many rules the benchmarks work with: "ip saddr A tcp dport P counter accept", as in a large host.
const benchRules = 10000

func benchTable(n int, name string) *schema.Table {
	c := &schema.Chain{Name: "c"}
	for i := range n {
		c.Rules = append(c.Rules, &schema.Rule{Exprs: []schema.Expr{
			{Name: "meta", Key: "nfproto", DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{2}},
			{Name: "payload", Base: "network", Offset: 12, Len: 4, DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{10, 0, byte(i >> 8), byte(i)}},
			{Name: "meta", Key: "l4proto", DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{unix.IPPROTO_TCP}},
			{Name: "payload", Base: "transport", Offset: 2, Len: 2, DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: binary.BigEndian.AppendUint16(nil, uint16(i))},
			{Name: "counter"},
			{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}},
		}})
	}
	return &schema.Table{Family: "inet", Name: name, Chains: []*schema.Chain{c}}
}

// BenchmarkRead compares reading 10,000 rules of somebody else's: the bare dump, ours with decoding and texts, and
// google/nftables.
func BenchmarkRead(b *testing.B) {
	newNamespace(b)
	p := open(b)
	do(b, p, nil, benchTable(benchRules, "foreign"))
	b.Run("raw", func(b *testing.B) {
		var a builder
		a.str(unix.NFTA_RULE_TABLE, "foreign")
		a.str(unix.NFTA_RULE_CHAIN, "c")
		for b.Loop() {
			n := 0
			err := p.sock.call(request{typ: unix.NFT_MSG_GETRULE, flags: unix.NLM_F_DUMP, family: 1, attrs: a.b}, func(message) error { n++; return nil })
			if err != nil || n != benchRules {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Read(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	c, err := nftables.New(nftables.AsLasting()) // here: b.Run leaves this thread, and so this namespace
	if err != nil {
		b.Fatal(err)
	}
	b.Run("google", func(b *testing.B) {
		b.ReportAllocs()
		t := &nftables.Table{Family: nftables.TableFamilyINet, Name: "foreign"}
		for b.Loop() {
			rules, err := c.GetRules(t, &nftables.Chain{Name: "c", Table: t})
			if err != nil || len(rules) != benchRules {
				b.Fatal(len(rules), err)
			}
		}
	})
}

// BenchmarkWrite compares writing 10,000 rules in one transaction.
func BenchmarkWrite(b *testing.B) {
	newNamespace(b)
	p := open(b)
	t := benchTable(benchRules, "vmnet")
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			do(b, p, nil, t)
			b.StopTimer()
			do(b, p, t, nil)
			b.StartTimer()
		}
	})
	// google/nftables needs its buffers forced: with those of the system it fails at 200 rules.
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(bigBuffers))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("google", func(b *testing.B) {
		for b.Loop() {
			t := googleWrite(b, c, benchRules)
			b.StopTimer()
			c.DelTable(t)
			if err := c.Flush(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

func googleWrite(b *testing.B, c *nftables.Conn, n int) *nftables.Table {
	b.Helper()
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "g"})
	ch := c.AddChain(&nftables.Chain{Name: "c", Table: t})
	for i := range n {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{2}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Cmp{Register: 1, Data: []byte{10, 0, byte(i >> 8), byte(i)}},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(i))},
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept},
		}})
	}
	if err := c.Flush(); err != nil {
		b.Fatal(err)
	}
	return t
}

// BenchmarkElements writes and reads a map of 10,000 elements.
func BenchmarkElements(b *testing.B) {
	newNamespace(b)
	p := open(b)
	t := largeTable(0, benchRules)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			do(b, p, nil, t)
			b.StopTimer()
			do(b, p, t, nil)
			b.StartTimer()
		}
	})
	do(b, p, nil, t)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.Read(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkChains reads 1,000 chains of 10 rules.
func BenchmarkChains(b *testing.B) {
	newNamespace(b)
	p := open(b)
	t := &schema.Table{Family: "inet", Name: "foreign"}
	for i := range 1000 {
		c := benchTable(10, "").Chains[0]
		c.Name = fmt.Sprintf("c%d", i)
		t.Chains = append(t.Chains, c)
	}
	do(b, p, nil, t)
	for b.Loop() {
		if _, err := p.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func bigBuffers(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	})
}
