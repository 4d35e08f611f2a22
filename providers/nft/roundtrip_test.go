package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/schema"
)

func do(t testing.TB, p *Provider, before, after schema.Object) {
	t.Helper()
	o := after
	if o == nil {
		o = before
	}
	if err := p.Do(context.Background(), schema.Change{Ref: o.Ref(), Before: before, After: after}); err != nil {
		t.Fatal(err)
	}
}

// TestWriteNative reads every rule of testdata/native.nft, writes it into a table of ours from its expressions alone, and
// reads it back: the same expressions, set for set and element for element.
func TestWriteNative(t *testing.T) {
	newNamespace(t)
	src, err := os.ReadFile("testdata/native.nft")
	if err != nil {
		t.Fatal(err)
	}
	run(t, string(src), "nft", "-f", "-")
	p := open(t)
	for _, family := range []string{"inet", "bridge"} {
		was := table(t, read(t, p), family, "patterns")
		want := schema.Clone(was).(*schema.Table)
		want.Name = "vmnet"
		for _, c := range want.Chains {
			for _, r := range c.Rules {
				r.Raw, r.UserData, r.Text = nil, nil, ""
			}
		}
		for _, s := range want.Sets {
			s.UserData = nil
		}
		do(t, p, nil, want)
		got := table(t, read(t, p), family, "vmnet")
		compareTables(t, got, want)
		do(t, p, got, want) // an update to the same
		compareTables(t, table(t, read(t, p), family, "vmnet"), want)
	}
	// What nft(8) makes of our table is what it made of its own.
	lists := listing(run(t, "", "nft", "-s", "list", "ruleset"))
	for place, rules := range lists {
		if rest, ok := strings.CutPrefix(place, "inet vmnet "); ok {
			if d := cmp.Diff(lists["inet patterns "+rest], rules); d != "" {
				t.Errorf("nft lists chain %s otherwise (-its own +ours):\n%s", rest, d)
			}
		}
	}
}

// compareTables compares all that is compared, and the expressions one by one.
func compareTables(t *testing.T, got, want *schema.Table) {
	t.Helper()
	if d := append(schema.Compare(got, want), schema.Compare(want, got)...); len(d) > 0 {
		t.Errorf("%s: %v", want, d)
	}
	for _, w := range want.Chains {
		g := got.Chain(w.Name)
		if g == nil || len(g.Rules) != len(w.Rules) {
			t.Errorf("chain %s is not whole", w.Name)
			continue
		}
		for i := range w.Rules {
			if !schema.RulesEqual(g.Rules[i], w.Rules[i]) {
				t.Errorf("chain %s rule %d (-want +got):\n%s", w.Name, i+1, cmp.Diff(w.Rules[i].Exprs, g.Rules[i].Exprs))
			}
		}
	}
	for _, w := range want.Sets {
		g := got.SetNamed(w.Name)
		if g == nil {
			t.Errorf("set %s is missing", w.Name)
			continue
		}
		if d := cmp.Diff(w.Elements, g.Elements); d != "" {
			t.Errorf("set %s (-want +got):\n%s", w.Name, d)
		}
		if g.Comment != w.Comment || g.KeyType != w.KeyType || g.DataType != w.DataType {
			t.Errorf("set %s: %+v, want %+v", w.Name, g, w)
		}
	}
}

// TestWriteSets writes random sets of every layout and reads them back.
func TestWriteSets(t *testing.T) {
	newNamespace(t)
	p := open(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		want := &schema.Table{Family: "inet", Name: "vmnet", Comment: "a table", Chains: []*schema.Chain{{Name: "target"}}}
		for i := range 12 {
			want.Sets = append(want.Sets, randomSet(r, fmt.Sprintf("s%02d", i)))
		}
		schema.NewState(want)
		do(t, p, nil, want)
		got := table(t, read(t, p), "inet", "vmnet")
		compareTables(t, got, want)
		if got.Comment != want.Comment {
			t.Errorf("table comment %q", got.Comment)
		}
		if out, err := try("", "nft", "list", "table", "inet", "vmnet"); err != nil {
			t.Errorf("nft cannot list it: %v\n%s", err, out)
		}
		do(t, p, got, nil)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomSet makes a set or map of a random layout with disjoint elements.
func randomSet(r *rand.Rand, name string) *schema.Set {
	type field struct{ typ, length uint32 }
	fields := []field{{typeIPAddr, 4}, {typeIP6Addr, 16}, {typeIfName, 16}, {typeInetProto, 1}, {typeInetService, 2}, {typeEtherAddr, 6}, {typeMark, 4}}
	s := &schema.Set{Name: name, Flags: uint32(r.IntN(2)) * schema.SetInterval}
	n := 1 + r.IntN(3)
	for range n {
		f := fields[r.IntN(len(fields))]
		s.KeyType = s.KeyType<<typeBits | f.typ
		s.Fields = append(s.Fields, f.length)
		s.KeyLen += (f.length + 3) &^ 3
	}
	if n == 1 {
		s.KeyLen, s.Fields = s.Fields[0], nil
	} else {
		s.Flags |= schema.SetConcat
	}
	switch r.IntN(3) {
	case 0:
		s.Flags |= schema.SetMap
		s.DataType, s.DataLen = typeIPAddr, 4
	case 1:
		s.Flags |= schema.SetMap
		s.DataType, s.DataLen = schema.VerdictType, verdictLen
	}
	if r.IntN(3) == 0 {
		s.Comment = "comment of " + name
	}
	for i := range uint32(r.IntN(200)) {
		s.Elements = append(s.Elements, randomElement(r, s, i))
	}
	return s
}

// randomElement makes the i-th element: it differs from all others in the first two bytes of the first field, or in its
// only byte.
func randomElement(r *rand.Rand, s *schema.Set, i uint32) schema.Element {
	var e schema.Element
	fields := s.Fields
	if fields == nil {
		fields = []uint32{s.KeyLen}
	}
	interval := s.Flags&schema.SetInterval != 0 && r.IntN(2) == 0
	for n, length := range fields {
		from := make([]byte, length)
		for j := range from {
			from[j] = byte(r.UintN(200))
		}
		if n == 0 {
			if length == 1 {
				from[0] = byte(i)
			} else {
				binary.BigEndian.PutUint16(from, uint16(i*3))
			}
		}
		to := append([]byte(nil), from...)
		if interval && (length > 2 || n > 0) {
			to[length-1] += byte(1 + r.UintN(50))
		}
		pad := make([]byte, (4-length%4)%4)
		if len(fields) == 1 {
			pad = nil
		}
		e.Key = append(append(e.Key, from...), pad...)
		e.KeyEnd = append(append(e.KeyEnd, to...), pad...)
	}
	if string(e.Key) == string(e.KeyEnd) {
		e.KeyEnd = nil
	}
	switch {
	case s.DataType == schema.VerdictType:
		e.Verdict = []*schema.Verdict{{Kind: "accept"}, {Kind: "drop"}, {Kind: "jump", Chain: "target"}}[r.IntN(3)]
	case s.Flags&schema.SetMap != 0:
		e.Data = []byte{10, 0, byte(i >> 8), byte(i)}
	}
	if r.IntN(4) == 0 {
		e.Comment = fmt.Sprintf("element %d", i)
	}
	return e
}

// TestIntervals: intervals that touch, that hold one key, and that reach either end of the keys.
func TestIntervals(t *testing.T) {
	newNamespace(t)
	p := open(t)
	ip := func(a, b, c, d byte) schema.Bytes { return schema.Bytes{a, b, c, d} }
	want := &schema.Table{Family: "inet", Name: "vmnet", Sets: []*schema.Set{{
		Name: "s", Flags: schema.SetInterval, KeyType: typeIPAddr, KeyLen: 4,
		Elements: []schema.Element{
			{Key: ip(0, 0, 0, 0), KeyEnd: ip(0, 255, 255, 255)},
			{Key: ip(10, 0, 0, 0), KeyEnd: ip(10, 0, 0, 255)},
			{Key: ip(10, 0, 1, 0), KeyEnd: ip(10, 0, 1, 255), Comment: "touches the one before"},
			{Key: ip(10, 0, 2, 0)},
			{Key: ip(10, 0, 2, 1)},
			{Key: ip(192, 0, 2, 1)},
			{Key: ip(255, 0, 0, 0), KeyEnd: ip(255, 255, 255, 255)},
		},
	}}}
	do(t, p, nil, want)
	compareTables(t, table(t, read(t, p), "inet", "vmnet"), want)
}

// TestLargeBatch: more elements than one message holds, and more rules than the acknowledgements of others allow.
func TestLargeBatch(t *testing.T) {
	newNamespace(t)
	p := open(t)
	want := largeTable(1200, 3000)
	do(t, p, nil, want)
	got := table(t, read(t, p), "inet", "vmnet")
	compareTables(t, got, want)
	if n := len(got.SetNamed("m").Elements); n != 3000 {
		t.Errorf("%d elements, want 3000", n)
	}
	do(t, p, got, nil)
}

// TestReadWhileGrowing reads a large map right after it was written, while the kernel still enlarges its hash.
func TestReadWhileGrowing(t *testing.T) {
	newNamespace(t)
	p := open(t)
	want := largeTable(0, 20000)
	for range 3 {
		do(t, p, nil, want)
		compareTables(t, table(t, read(t, p), "inet", "vmnet"), want)
		do(t, p, want, nil)
	}
}

func largeTable(rules, elements int) *schema.Table {
	t := &schema.Table{Family: "inet", Name: "vmnet"}
	c := &schema.Chain{Name: "c"}
	for i := range rules {
		c.Rules = append(c.Rules, &schema.Rule{Exprs: []schema.Expr{
			{Name: "meta", Key: "nfproto", DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{2}},
			{Name: "payload", Base: "network", Offset: 12, Len: 4, DReg: 1},
			{Name: "cmp", SReg: 1, Op: "eq", Data: []byte{10, 0, byte(i >> 8), byte(i)}},
			{Name: "immediate", Verdict: &schema.Verdict{Kind: "accept"}},
		}})
	}
	m := &schema.Set{Name: "m", Flags: schema.SetMap, KeyType: typeIPAddr, KeyLen: 4, DataType: typeIPAddr, DataLen: 4}
	for i := range elements {
		m.Elements = append(m.Elements, schema.Element{
			Key: []byte{10, 1, byte(i >> 8), byte(i)}, Data: []byte{10, 2, byte(i >> 8), byte(i)}, Comment: fmt.Sprintf("nat.lab%d", i),
		})
	}
	t.Chains, t.Sets = []*schema.Chain{c}, []*schema.Set{m}
	return t
}

// TestErrors: what the kernel refuses is named, and nothing is half done.
func TestErrors(t *testing.T) {
	newNamespace(t)
	p := open(t)
	good := largeTable(3, 3)
	do(t, p, nil, good)
	live := table(t, read(t, p), "inet", "vmnet")
	bad := schema.Clone(live).(*schema.Table)
	bad.Chains[0].Rules[2].Exprs = []schema.Expr{{Name: "immediate", Verdict: &schema.Verdict{Kind: "jump", Chain: "nowhere"}}}
	err := p.Do(t.Context(), schema.Change{Ref: bad.Ref(), Before: live, After: bad})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "add rule inet vmnet c #3: ") {
		t.Errorf("a jump to nowhere: %v", err)
	}
	for _, tt := range []struct {
		name string
		c    schema.Change
		want error
		text string
	}{
		{"create what is there", schema.Change{Ref: live.Ref(), After: good}, fs.ErrExist, "there already"},
		{"delete what is not there", schema.Change{Ref: schema.TableRef("ip", "x"), Before: &schema.Table{Family: "ip", Name: "x"}}, fs.ErrNotExist, "not there"},
		{"stale", schema.Change{Ref: live.Ref(), Before: bad, After: good}, errStale, "not as it was"},
	} {
		if err := p.Do(t.Context(), tt.c); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	compareTables(t, table(t, read(t, p), "inet", "vmnet"), good)
}

// TestLostRace: somebody writes between our reading and our writing, once and always.
func TestLostRace(t *testing.T) {
	newNamespace(t)
	p := open(t)
	other := open(t)
	n := 0
	prepare := func(times int) func() (*batch, error) {
		return func() (*batch, error) {
			b, err := p.changeTable(nil, largeTable(1, 1))
			if n++; n <= times {
				foreign := &schema.Table{Family: "ip", Name: fmt.Sprintf("other%d", n)}
				do(t, other, nil, foreign)
			}
			return b, err
		}
	}
	if err := p.transact(t.Context(), schema.TableRef("inet", "vmnet"), prepare(3)); err != nil {
		t.Errorf("after three lost races: %v", err)
	}
	if n != 2 { // from the second time on it is known that only other tables were changed
		t.Errorf("tried %d times, want 2", n)
	}
	live := table(t, read(t, p), "inet", "vmnet")
	do(t, p, live, nil)
	n = 0
	err := p.transact(t.Context(), schema.TableRef("inet", "vmnet"), func() (*batch, error) {
		n++
		b, err := p.changeTable(nil, largeTable(1, 1))
		foreign := &schema.Table{Family: "inet", Name: "vmnet"}
		do(t, other, nil, foreign)
		do(t, other, foreign, nil)
		return b, err
	})
	if err == nil || !strings.Contains(err.Error(), "tried 5 times") || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d", os.Getpid())) || n != writeTries {
		t.Errorf("against an endless writer: %v", err)
	}
	if got := read(t, p).Get(schema.TableRef("inet", "vmnet")); got != nil {
		t.Errorf("%v was written all the same", got)
	}
}
