package nft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// TestNothingLost counts the expressions in the bytes of each rule and what became of them.
func TestNothingLost(t *testing.T) {
	newNamespace(t)
	src, err := os.ReadFile("testdata/native.nft")
	if err != nil {
		t.Fatal(err)
	}
	run(t, string(src), "nft", "-f", "-")
	loadSpecs(t, "iptables-nft", "../xt/testdata/rules4.txt")
	loadSpecs(t, "ip6tables-nft", "../xt/testdata/rules6.txt")
	s := read(t, open(t))
	kinds := map[string]int{}
	for tab := range schema.Each[*schema.Table](s) {
		for _, c := range tab.Chains {
			for i, r := range c.Rules {
				checkWhole(t, fmt.Sprintf("%s %s %s #%d", tab.Family, tab.Name, c.Name, i+1), tab.Family, r, kinds)
			}
		}
	}
	if len(kinds) < 26 {
		t.Errorf("only %d kinds of expression were read: %v", len(kinds), kinds)
	}
}

// checkWhole decodes the bytes of a rule anew: every element of the list is one expression, or one match or target.
func checkWhole(t *testing.T, place, family string, r *schema.Rule, kinds map[string]int) {
	t.Helper()
	lowered := map[*schema.Rule][]part{}
	d := ruleDecoder{family: family, lowered: lowered}
	again := &schema.Rule{}
	if err := d.expressions(again, r.Raw); err != nil {
		t.Fatalf("%s: %v", place, err)
	}
	elements, native, foreign := 0, len(again.Exprs), 0
	for a := (attrs{b: r.Raw}); a.next(); elements++ {
		name, _, _ := splitExpression(a.val)
		kinds[string(name)]++
	}
	for _, p := range lowered[again] {
		native -= p.n
		foreign++
	}
	if elements != native+foreign || len(r.Exprs) != len(again.Exprs) {
		t.Errorf("%s: %d expressions, %d of them decoded, %d lowered", place, elements, native, foreign)
	}
	for _, e := range r.Exprs {
		if e.Name == "" {
			t.Errorf("%s: an expression without a name: %+v", place, e)
		}
	}
}

// TestUnknownExpression keeps what it does not know.
func TestUnknownExpression(t *testing.T) {
	var list builder
	elem := list.nest(unix.NFTA_LIST_ELEM)
	list.str(unix.NFTA_EXPR_NAME, "teleport")
	data := list.nest(unix.NFTA_EXPR_DATA)
	list.u32(1, 42)
	list.end(data)
	list.end(elem)
	elem = list.nest(unix.NFTA_LIST_ELEM)
	list.str(unix.NFTA_EXPR_NAME, "meta")
	data = list.nest(unix.NFTA_EXPR_DATA)
	list.u32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
	list.u32(unix.NFTA_META_DREG, 1)
	list.u32(77, 5)
	list.end(data)
	list.end(elem)
	r := &schema.Rule{}
	if err := (&ruleDecoder{family: "inet"}).expressions(r, list.b); err != nil {
		t.Fatal(err)
	}
	if len(r.Exprs) != 2 || r.Exprs[0].Name != "teleport" || len(r.Exprs[0].Opaque) == 0 {
		t.Errorf("an unknown expression became %+v", r.Exprs)
	}
	if e := r.Exprs[1]; e.Key != "mark" || e.DReg != 1 || len(e.Opaque) == 0 {
		t.Errorf("a meta with an unknown attribute became %+v", e)
	}
	n := encoder{}
	if b, err := n.expressions(r.Exprs); err != nil || string(b) != string(list.b) {
		t.Errorf("written back: %x (%v), want %x", b, err, list.b)
	}
}

// TestFamilies reads a table of every family, base chains with hooks, priorities, policies and devices, and puts it back.
func TestFamilies(t *testing.T) {
	newNamespace(t)
	run(t, "", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	run(t, `
table ip f { comment "a table"
	chain pre { comment "a chain"; type filter hook prerouting priority -150; policy drop; }
	chain out { type route hook output priority -150; policy accept; }
}
table ip6 f { chain post { type nat hook postrouting priority 100; policy accept; }; }
table inet f {
	chain fwd_ { type filter hook forward priority 5; policy drop; }
	chain ing { type filter hook ingress device "v0" priority 0; policy accept; }
}
table arp f { chain in_ { type filter hook input priority 0; policy accept; }; }
table bridge f { chain fwd_ { type filter hook forward priority -200; policy accept; }; }
table netdev f { chain ing { type filter hook ingress devices = { v0, v1 } priority 10; policy accept; }; }
table ip dormant_ { flags dormant; chain in_ { type filter hook input priority 0; policy drop; }; }
`, "nft", "-f", "-")
	p := open(t)
	s := read(t, p)
	for _, tt := range []struct{ family, chain, want string }{
		{"ip", "pre", "filter prerouting -150 drop [] a chain"},
		{"ip", "out", "route output -150 accept [] "},
		{"ip6", "post", "nat postrouting 100 accept [] "},
		{"inet", "fwd_", "filter forward 5 drop [] "},
		{"inet", "ing", "filter ingress 0 accept [v0] "},
		{"arp", "in_", "filter input 0 accept [] "},
		{"bridge", "fwd_", "filter forward -200 accept [] "},
		{"netdev", "ing", "filter ingress 10 accept [v0 v1] "},
	} {
		c := table(t, s, tt.family, "f").Chain(tt.chain)
		if got := fmt.Sprint(c.Type, " ", c.Hook, " ", c.Priority, " ", c.Policy, " ", c.Devices, " ", c.Comment); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.family, tt.chain, got, tt.want)
		}
	}
	if d := table(t, s, "ip", "dormant_"); !d.Dormant {
		t.Errorf("%s is not dormant", d)
	}
	if c := table(t, s, "ip", "f").Comment; c != "a table" {
		t.Errorf("table comment %q", c)
	}
	before := run(t, "", "nft", "list", "ruleset")
	for tab := range schema.Each[*schema.Table](s) {
		do(t, p, tab, nil)
		do(t, p, nil, tab)
	}
	again := read(t, p)
	if d := schema.Diff(s, again); len(d) > 0 {
		t.Errorf("there and back: %v", d)
	}
	if got := run(t, "", "nft", "list", "ruleset"); !sameLines(got, before) {
		t.Errorf("there and back:\n%s\nwas\n%s", got, before)
	}
	if p.Generation() == 0 || p.Unstable() {
		t.Errorf("generation %d, unstable %v", p.Generation(), p.Unstable())
	}
}

func sameLines(a, b string) bool {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// TestReadWhileOthersWrite: with a writer that never rests, a read ends in time, with whole tables, and says when it is unsure.
func TestReadWhileOthersWrite(t *testing.T) {
	newNamespace(t)
	run(t, "table ip x { chain c {\nip saddr 1.1.1.1 drop\naccept\n}\n}\n", "nft", "-f", "-")
	p, other := open(t), open(t)
	do(t, p, nil, benchTable(4000, "slow")) // so that no reading fits between two changes
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			tab := &schema.Table{Family: "ip6", Name: "busy"}
			c := schema.Change{Ref: tab.Ref(), After: tab}
			if i%2 == 1 {
				c = c.Inverse()
			}
			_ = other.Do(context.Background(), c)
		}
	}()
	unstable := 0
	for range 3 {
		objects, err := p.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p.Unstable() {
			unstable++
		}
		c := table(t, schema.NewState(objects...), "ip", "x").Chain("c")
		if got := texts(c); !slices.Equal(got, []string{"ip saddr 1.1.1.1 drop", "accept"}) {
			t.Errorf("half a chain: %q", got)
		}
	}
	close(stop)
	<-done
	if unstable == 0 {
		t.Error("not one of 3 reads found the ruleset changing")
	}
	t.Logf("%d of 3 reads were unstable", unstable)
	if _, err := p.Read(t.Context()); err != nil || p.Unstable() {
		t.Errorf("when all is quiet: %v, unstable %v", err, p.Unstable())
	}
}

// TestCancelled: a context that is over ends a read, and the next one works.
func TestCancelled(t *testing.T) {
	newNamespace(t)
	p := open(t)
	do(t, p, nil, largeTable(2000, 10))
	ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
	defer cancel()
	if _, err := p.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	if got := table(t, read(t, p), "inet", "vmnet"); len(got.Chains[0].Rules) != 2000 {
		t.Errorf("%d rules after a cancelled read", len(got.Chains[0].Rules))
	}
}

// TestPermission: without CAP_NET_ADMIN we are blind, not empty. The test process gives up its privileges in a child.
func TestPermission(t *testing.T) {
	const child = "VMNET_NFT_TEST_BLIND"
	if os.Getenv(child) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestPermission$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		// A new user namespace has no say over the network namespace it was not made with.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPermission") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	p := open(t)
	if _, err := p.Read(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Read: %v, want a permission error", err)
	}
	tab := &schema.Table{Family: "inet", Name: "vmnet"}
	if err := p.Do(t.Context(), schema.Change{Ref: tab.Ref(), After: tab}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Do: %v, want a permission error", err)
	}
}

// TestPieces: rules are cut off larger pieces; one that outgrows its piece leaves nothing behind for the next.
func TestPieces(t *testing.T) {
	list := func(n int) []byte {
		var exprs []schema.Expr
		for i := range n {
			exprs = append(exprs, schema.Expr{Name: "payload", Base: "transport", Offset: uint32(i), Len: 2, DReg: 1}, schema.Expr{Name: "counter"})
		}
		b, err := (&encoder{}).expressions(exprs)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	shared := &ruleDecoder{family: "inet"}
	for i := range 200 {
		raw := list(1 + i*7%90)
		got, want := &schema.Rule{}, &schema.Rule{}
		if err := errors.Join(shared.expressions(got, raw), (&ruleDecoder{family: "inet"}).expressions(want, raw)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Exprs, want.Exprs) {
			t.Fatalf("rule %d of %d expressions is another one after its neighbours", i, len(want.Exprs))
		}
	}
}
