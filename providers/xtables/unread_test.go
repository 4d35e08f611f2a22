package xtables

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestUnreadTables: the modules of ebtables-legacy stand for its tables, at their hooks; others are nobody's business.
func TestUnreadTables(t *testing.T) {
	tab := ebtables("bridge 400000 0 - Live 0x0\nebtable_filter 16384 0 - Live 0x0\nebtables 45056 1 ebtable_filter, Live 0x0\nebtable_nat 16384 0 - Live 0x0\n")
	var got []string
	for _, c := range tab.Chains {
		got = append(got, c.Name)
		if len(c.Rules) != 1 || c.Rules[0].Exprs[0].Name != "xttarget" || c.Rules[0].Text == "" {
			t.Errorf("%s: %+v", c.Name, c.Rules)
		}
	}
	want := []string{"filter INPUT", "filter FORWARD", "filter OUTPUT", "nat PREROUTING", "nat OUTPUT", "nat POSTROUTING"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if tab := arptables(nil); len(tab.Chains) != 0 {
		t.Errorf("%v without tables", tab)
	}
}

// TestUnreadARP: a table of arptables-legacy that exists is said to be there, one that does not is not made.
func TestUnreadARP(t *testing.T) {
	newNamespace(t)
	if s := read(t, Open(Options{})); s.Len() != 0 {
		t.Errorf("%d tables in a new namespace", s.Len())
	}
	if out, err := try("", "arptables-legacy", "-A", "INPUT", "-j", "DROP"); err != nil {
		t.Logf("this kernel has no arptables-legacy: %v\n%s", err, out)
		return
	}
	if c := table(t, read(t, Open(Options{})), "arp", "arptables").Chain("filter INPUT"); c == nil || c.Hook != "input" {
		t.Errorf("%+v", c)
	}
}

// TestUnreadBPF reads what the kernel says of a program at IPv4's forward hook. None is attached here: programs are listed for the whole
// machine, and other tests would meet it.
func TestUnreadBPF(t *testing.T) {
	info := make([]byte, 64)
	for off, n := range map[int]uint32{0: 10, 4: 3, 8: 42, 16: 2, 20: 2, 24: 0xffffff9c} {
		binary.NativeEndian.PutUint32(info[off:], n)
	}
	if pf, hook, priority, program, ok := decodeLinkInfo(info); pf != 2 || hook != 2 || priority != -100 || program != 42 || !ok {
		t.Error(pf, hook, priority, program, ok)
	}
	info[0] = 6
	if _, _, _, _, ok := decodeLinkInfo(info); ok { //nolint:dogsled // only whether it is one counts
		t.Error("XDP is taken for netfilter")
	}
}
