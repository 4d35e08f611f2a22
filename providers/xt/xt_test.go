package xt

import (
	"encoding/binary"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

// The texts of every extension are compared with iptables -S where the kernel makes the blobs: in the tests of packages nft
// and xtables, over testdata. Here is what they mean.

func le16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func TestLowered(t *testing.T) {
	conntrack := func(state uint16, invert bool) []byte {
		b := make([]byte, 164)
		copy(b[146:], le16(ctState))
		if invert {
			copy(b[148:], le16(ctState))
		}
		copy(b[150:], le16(state))
		return b
	}
	for _, tt := range []struct {
		name string
		got  Lowered
		want []schema.Expr
		text string
	}{
		{
			"one port", Match(Extension{Family: "ip", Name: "tcp", Revision: 0, Info: cat(le16(0), le16(65535), le16(22), le16(22), []byte{0, 0, 0, 0})}),
			[]schema.Expr{payload("transport", 2, 2), cmp(false, []byte{0, 22})},
			"-m tcp --dport 22",
		},
		{
			"a negated range", Match(Extension{Family: "ip", Name: "udp", Revision: 0, Info: cat(le16(10), le16(20), le16(0), le16(65535), []byte{1, 0})}),
			[]schema.Expr{payload("transport", 0, 2), {Name: "range", SReg: 1, Op: "neq", Data: []byte{0, 10}, Data2: []byte{0, 20}}},
			"-m udp ! --sport 10:20",
		},
		{
			"states", Match(Extension{Family: "ip", Name: "conntrack", Revision: 3, Info: conntrack(6, false)}),
			[]schema.Expr{ct("state", ""), mask(host32(6)), cmp(true, host32(0))},
			"-m conntrack --ctstate RELATED,ESTABLISHED",
		},
		{
			"the bit of untracked is another one", Match(Extension{Family: "ip", Name: "conntrack", Revision: 3, Info: conntrack(xtUntracked, false)}),
			[]schema.Expr{ct("state", ""), mask(host32(64)), cmp(true, host32(0))},
			"-m conntrack --ctstate UNTRACKED",
		},
		{
			"a negated state", Match(Extension{Family: "ip", Name: "conntrack", Revision: 3, Info: conntrack(8, true)}),
			[]schema.Expr{ct("state", ""), mask(host32(8)), cmp(false, host32(0))},
			"-m conntrack ! --ctstate NEW",
		},
		{
			"DNAT is a status", Match(Extension{Family: "ip", Name: "conntrack", Revision: 3, Info: conntrack(xtDNAT, false)}),
			[]schema.Expr{ct("status", ""), mask(host32(32)), cmp(true, host32(0))},
			"-m conntrack --ctstate DNAT",
		},
		{
			"a mark is set in part", Target(Extension{Family: "ip", Name: "MARK", Revision: 2, Info: cat(host32(1), host32(0xff))}),
			[]schema.Expr{
				meta("mark"),
				{Name: "bitwise", SReg: 1, DReg: 1, Len: 4, Op: "bool", Data: host32(0xffffff00), Data2: host32(1)},
				{Name: "meta", Key: "mark", SReg: 1, Write: true},
			},
			"MARK --set-xmark 0x1/0xff",
		},
		{
			"TCPMSS lets go on", Target(Extension{Family: "ip", Name: "TCPMSS", Revision: 0, Info: le16(0xffff)}),
			[]schema.Expr{{Name: "log", Key: "TCPMSS", Text: "TCPMSS --clamp-mss-to-pmtu"}},
			"TCPMSS --clamp-mss-to-pmtu",
		},
	} {
		if !reflect.DeepEqual(tt.got.Exprs, tt.want) || tt.got.Text != tt.text {
			t.Errorf("%s: %q\n%+v, want\n%+v", tt.name, tt.got.Text, tt.got.Exprs, tt.want)
		}
	}
}

// TestOpaque: what bytecode cannot say stays opaque, and so does what is not known, or cut short.
func TestOpaque(t *testing.T) {
	owner := make([]byte, 20)
	owner[16], owner[17] = 1, 1 // ! --uid-owner 0-0
	for _, tt := range []struct {
		e    Extension
		text string
	}{
		{Extension{Family: "ip", Name: "owner", Revision: 1, Info: owner}, "-m owner ! --uid-owner 0"},
		{Extension{Family: "ip", Name: "limit", Revision: 0, Info: cat(host32(10000), host32(5), make([]byte, 32))}, "-m limit --limit 1/sec"},
		{Extension{Family: "ip", Name: "teleport", Revision: 7, Info: []byte{1, 2}}, "-m teleport [revision 7: 0102]"},
		{Extension{Family: "ip", Name: "tcp", Revision: 0, Info: []byte{1}}, "-m tcp [revision 0: 01]"},
		{Extension{Family: "ip", Name: "tcp", Revision: 9, Info: make([]byte, 64)}, "-m tcp [revision 9: " + strings.Repeat("00", 32) + "…]"},
	} {
		l := Match(tt.e)
		if len(l.Exprs) != 1 || l.Exprs[0].Name != "xtmatch" || l.Exprs[0].Key != tt.e.Name || string(l.Exprs[0].Opaque) != string(tt.e.Info) {
			t.Errorf("%s: %+v", tt.e.Name, l.Exprs)
		}
		if l.Text != tt.text {
			t.Errorf("%s: text %q, want %q", tt.e.Name, l.Text, tt.text)
		}
	}
}

// FuzzExtension: no blob makes a decoder panic, and each gives a text and keeps what it cannot lower.
func FuzzExtension(f *testing.F) {
	names := func(m map[string][]decoder) []string {
		var out []string
		for name := range m {
			out = append(out, name)
		}
		return out
	}
	for _, name := range append(names(matchTable), names(targetTable)...) {
		for rev := range uint32(4) {
			f.Add(name, rev, false, make([]byte, 320))
			f.Add(name, rev, true, []byte(strings.Repeat("\xff\x01", 160)))
		}
	}
	f.Fuzz(func(t *testing.T, name string, rev uint32, ip6 bool, info []byte) {
		e := Extension{Family: "ip", Name: name, Revision: rev, Info: info}
		if ip6 {
			e.Family = "ip6"
		}
		for _, l := range []Lowered{Match(e), Target(e)} {
			if l.Text == "" && name != "" {
				t.Errorf("no text")
			}
			for _, x := range l.Exprs {
				if x.Name == "" {
					t.Errorf("%+v has no name", x)
				}
			}
		}
	})
}

// TestTestdata: the lists that the judges work through are there.
func TestTestdata(t *testing.T) {
	for _, name := range []string{"rules4.txt", "rules6.txt"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil || strings.Count(string(b), "\n") < 40 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
