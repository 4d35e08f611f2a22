package nft

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// seeds are messages of the kernel, gathered by TestSeeds with VMNET_UPDATE_SEEDS set.
const seedDir = "testdata/seeds/"

func addSeeds(f *testing.F, kind string) {
	f.Helper()
	files, err := os.ReadDir(seedDir + kind)
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds of %s: %v", kind, err)
	}
	for _, e := range files {
		b, err := os.ReadFile(seedDir + kind + "/" + e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzRule: no bytes make the decoder of rules or the printers panic, and what is understood whole is written back as it was.
func FuzzRule(f *testing.F) {
	addSeeds(f, "rule")
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, family := range []string{"ip", "ip6", "inet"} {
			d := ruleDecoder{family: family, lowered: map[*schema.Rule][]part{}}
			r, _, err := d.decode(b)
			if err != nil {
				continue
			}
			tab := &schema.Table{Family: family, Name: "t", Compat: len(d.lowered) > 0, Sets: []*schema.Set{{
				Name: "__set0", Flags: schema.SetAnonymous, KeyLen: 4, Elements: []schema.Element{{Key: []byte{1, 2, 3, 4}}},
			}}}
			p := printer{table: tab, lowered: d.lowered}
			if p.text(r) == "" && len(r.Exprs) > 0 && !onlyCounters(r) {
				t.Errorf("no text for %+v", r.Exprs)
			}
			rewrite(t, tab, family, r)
			stable(r.Raw)
			acceptable(r.Raw)
			compatInfo("ip", r)
		}
	})
}

func onlyCounters(r *schema.Rule) bool {
	for _, e := range r.Exprs {
		if e.Name != "counter" {
			return false
		}
	}
	return true
}

// rewrite writes the expressions and reads them again: the same.
func rewrite(t *testing.T, tab *schema.Table, family string, r *schema.Rule) {
	t.Helper()
	n := encoder{table: tab}
	list, err := n.expressions(r.Exprs)
	if err != nil {
		return
	}
	again := &schema.Rule{}
	if err := (&ruleDecoder{family: family}).expressions(again, list); err != nil {
		t.Fatalf("what we write cannot be read: %v", err)
	}
	second, err := n.expressions(again.Exprs)
	if err != nil || !bytes.Equal(list, second) {
		t.Errorf("%+v\nbecame\n%+v (%v)", r.Exprs, again.Exprs, err)
	}
}

// FuzzObjects: tables, chains, sets, elements and the rest.
func FuzzObjects(f *testing.F) {
	addSeeds(f, "object")
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = decodeTable(b)
		_, _, _ = decodeChain("inet", b)
		_, _, _ = decodeOpaque("object", b)
		_, _, _ = decodeOpaque("flowtable", b)
		s, _, err := decodeSet(b)
		if err != nil {
			s = &schema.Set{Flags: schema.SetInterval}
		}
		if elems, err := decodeElements(nil, b); err == nil {
			joinElements(s, elems)
			joinElements(&schema.Set{Flags: schema.SetInterval, KeyLen: 4}, elems)
		}
		for len(b) > 0 {
			m, rest, err := cutMessage(b)
			if err != nil {
				return
			}
			_, _, _ = m.attrs()
			_ = m.failure()
			b = rest
		}
	})
}

// TestSeeds gathers seeds from the kernel; without VMNET_UPDATE_SEEDS it only says that they can be read.
func TestSeeds(t *testing.T) {
	newNamespace(t)
	src, err := os.ReadFile("testdata/native.nft")
	if err != nil {
		t.Fatal(err)
	}
	run(t, string(src), "nft", "-f", "-")
	loadSpecs(t, "iptables-nft", "../xt/testdata/rules4.txt")
	p := open(t)
	n := 0
	for _, kind := range []struct {
		name string
		typ  uint16
		step int
	}{{"rule", unix.NFT_MSG_GETRULE, 8}, {"object", unix.NFT_MSG_GETSET, 6}, {"object", unix.NFT_MSG_GETCHAIN, 6}, {"object", unix.NFT_MSG_GETTABLE, 3}} {
		err := p.sock.call(request{typ: kind.typ, flags: unix.NLM_F_DUMP}, func(m message) error {
			_, b, err := m.attrs()
			if n++; err != nil || n%kind.step != 0 || os.Getenv("VMNET_UPDATE_SEEDS") == "" {
				return err
			}
			if err := os.MkdirAll(seedDir+kind.name, 0o755); err != nil {
				return err
			}
			return os.WriteFile(seedDir+kind.name+"/"+string(rune('a'+n%26))+string(rune('a'+n/26)), b, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 300 {
		t.Errorf("only %d messages", n)
	}
}
