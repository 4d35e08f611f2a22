package endtoend_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// session opens a connection to a server on the host from an address of the LAN's machine, and tells what vmnet would know of it.
func (b *bed) session(from, to netip.Addr) (*world.Conn, schema.Session) {
	b.Helper()
	if err := b.Host().Serve(22); err != nil {
		b.Fatal(err)
	}
	return b.connect(from, to)
}

func (b *bed) connect(from, to netip.Addr) (*world.Conn, schema.Session) {
	b.Helper()
	local := netip.AddrPortFrom(to, 22)
	conn, err := b.LAN().From(from).Dial(local)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn, schema.Session{Proto: "tcp", Local: local, Peer: conn.Answer.From, Own: true, Server: "sshd", Certain: true}
}

// changes are the steps that lead from one state to another, as far as a plan could make them.
func changes(t *testing.T, before, after *schema.State) []plan.Step {
	t.Helper()
	var out []plan.Step
	cur := before.Clone()
	do := func(o, want schema.Object) {
		ref := o.Ref()
		have := cur.Stored(ref)
		if have == nil && want == nil || have != nil && want != nil && schema.Equal(have, want) {
			return
		}
		if l, ok := want.(*schema.Link); ok && have != nil {
			l = schema.Clone(l).(*schema.Link)
			l.Port = nil
			want = l
			h := schema.Clone(have).(*schema.Link)
			h.Port = nil
			have = h
		}
		c := schema.Change{Ref: ref, Before: have, After: want}
		if rt, ok := object(have, want).(*schema.Route); ok && (rt.Table == schema.TableLocal || rt.KernelMade()) {
			return // comes and goes with its address
		}
		if err := sim.Do(cur, c); err != nil && !errors.Is(err, sim.ErrUnmodelled) {
			t.Fatalf("make a step of %s: %v", c, err)
		}
		out = append(out, plan.Step{ID: len(out) + 1, Change: c})
	}
	for _, kind := range []schema.Kind{schema.KindLink, schema.KindAddress, schema.KindRoute, schema.KindPolicyRule, schema.KindSysctl, schema.KindTable, schema.KindXTable} {
		for _, ref := range after.Refs(kind) {
			do(after.Stored(ref), after.Stored(ref))
		}
		for _, ref := range before.Refs(kind) {
			if after.Stored(ref) == nil {
				do(before.Stored(ref), nil)
			}
		}
	}
	return out
}

func object(before, after schema.Object) schema.Object {
	if after != nil {
		return after
	}
	return before
}

func verdict(all []plan.Guarded, kind string) *plan.Guarded {
	for i := range all {
		if all[i].Kind == kind {
			return &all[i]
		}
	}
	return &plan.Guarded{Verdict: "none"}
}

// TestGuardAgreesWithTheKernel: for many things that can be done to a host, what the guard says of a session and of new logins is
// what becomes of a living connection and of a new one.
func TestGuardAgreesWithTheKernel(t *testing.T) {
	const tracked = `nft 'table inet f { chain in { type filter hook input priority 0; policy drop; ct state established accept; tcp dport 22 accept; icmp type echo-request accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }; }'`
	const strange = `nft 'table inet f { chain in { type filter hook input priority 0; ct state invalid drop; ct state established accept; tcp dport 22 accept; }; }'`
	for name, c := range map[string]struct {
		before, fault  string
		session, login string
		onLink         bool
	}{
		"nothing":                           {"", "", "survives", "survives", false},
		"a drop of the peer":                {"", "nft 'table inet g { chain in { type filter hook input priority 0; ip saddr 203.0.113.10 drop; }; }'", "cut", "cut", false},
		"a drop of somebody else":           {"", "nft 'table inet g { chain in { type filter hook input priority 0; ip saddr 203.0.113.11 drop; }; }'", "survives", "survives", false},
		"a drop of the answers":             {"", "nft 'table ip g { chain out { type filter hook output priority 0; tcp sport 22 drop; }; }'", "cut", "cut", false},
		"what is new is dropped":            {tracked, "nft insert rule inet f in tcp flags syn / syn,ack drop", "survives", "cut", false},
		"what is established is dropped":    {tracked, "nft insert rule inet f in ct state established drop", "cut", "cut", false},
		"what is established is not let in": {tracked, "nft flush chain inet f in; nft 'add rule inet f in ct state new tcp dport 22 accept'", "cut", "cut", false},
		"only what is established passes":   {tracked, "nft flush chain inet f in; nft 'add rule inet f in ct state established accept'", "survives", "cut", false},
		"a policy of drop":                  {"nft 'table inet f { chain in { type filter hook input priority 0; }; }'", "nft 'add chain inet f in { policy drop ; }'", "cut", "cut", false},
		"legacy":                            {"", "iptables-legacy -I INPUT -p tcp --dport 22 -j DROP", "depends", "depends", false},
		"a reject with reset":               {"", "nft 'table inet g { chain in { type filter hook input priority 0; tcp dport 22 reject with tcp reset; }; }'", "cut", "cut", false},
		"a limit":                           {"", "nft 'table inet g { chain in { type filter hook input priority 0; tcp dport 22 limit rate 1000/second accept; tcp dport 22 drop; }; }'", "depends", "depends", false},
		"the address goes":                  {"", "ip addr del 192.0.2.10/24 dev eno1", "cut", "cut", false},
		"the default route goes":            {"", "ip route del default", "cut", "cut", false},
		"a host on the link needs none":     {"", "ip route del default", "survives", "survives", true},
		"a blackhole in the way back":       {"", "ip route add blackhole 203.0.113.0/24", "cut", "cut", false},
		"a policy rule leads elsewhere":     {"", "ip route add unreachable default table 77; ip rule add from 192.0.2.10 lookup 77 priority 100", "cut", "cut", false},
		"a policy rule leads the same way":  {"", "ip route add default via 192.0.2.1 table 77; ip rule add from 192.0.2.10 lookup 77 priority 100", "survives", "survives", false},
		"rp_filter and a route elsewhere":   {"ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up; ip addr add 198.18.0.1/24 dev d0", "echo 1 > /proc/sys/net/ipv4/conf/eno1/rp_filter; ip route add 203.0.113.0/24 dev d0", "depends", "depends", false},
		"the link goes down":                {"", "ip link set eno1 down", "cut", "cut", false},
		"the NIC becomes a bare port":       {"ip link add br9 type bridge; ip link set br9 up", "ip link set eno1 master br9", "depends", "depends", false},
		"another link goes down":            {"ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up; ip addr add 198.18.0.1/24 dev d0", "ip link set d0 down", "survives", "survives", false},
		"conntrack begins to look":          {"", strange, "survives", "survives", false},
		"it begins, and is strict":          {"echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose", strange, "depends", "survives", false},
		"an address more":                   {"", "ip addr add 192.0.2.200/24 dev eno1", "survives", "survives", false},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, world.Spec{}, func(b *bed) {
				if c.before != "" {
					b.sh(c.before)
				}
				peer := b.Server4
				if c.onLink {
					peer = b.Router4
				}
				conn, s := b.session(peer, addr("192.0.2.10"))
				b.passes("the connection before", conn.Within(3*time.Second).Echo([]byte("hello")))
				before := b.read()
				if c.fault != "" {
					b.sh(c.fault)
				}
				steps := changes(b.T, before, b.read())
				got := plan.Guard(before, &schema.Desired{State: schema.NewState()}, steps, []schema.Session{s})
				session, login := verdict(got, "session"), verdict(got, "login")
				if session.Before != "pass" || login.Before != "pass" {
					b.Errorf("before: session %s (%s), login %s (%s), want pass", session.Before, session.Why, login.Before, login.Why)
				}
				if session.Verdict != c.session || login.Verdict != c.login {
					b.Errorf("session %s (%s), login %s (%s); want %s and %s", session.Verdict, session.Why, login.Verdict, login.Why, c.session, c.login)
				}
				b.kernelSays("the session", session.Verdict, conn.Within(time.Second).Echo([]byte("still here")))
				fresh, err := b.LAN().From(peer).Within(time.Second).Dial(s.Local)
				if err == nil {
					_ = fresh.Close()
				}
				b.kernelSays("a new login", login.Verdict, err)
			})
		})
	}
}

func (b *bed) kernelSays(what, verdict string, err error) {
	b.Helper()
	switch {
	case verdict == plan.Depending:
	case (err == nil) != (verdict == plan.Survives):
		b.Errorf("%s: the guard says %q, the kernel %v", what, verdict, err)
	}
}

// TestBridgeMoveKeepsTheSession: an operator beyond the router stays logged in through the move, as the guard says; the order in
// which one would do it by hand loses the default route, and the guard says so too.
func TestBridgeMoveKeepsTheSession(t *testing.T) {
	spec := world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0", Addrs: []netip.Prefix{prefix("192.0.2.21/24")}}}}
	on(t, spec, func(b *bed) {
		conn, s := b.session(b.Server4, addr("192.0.2.10"))
		desired := b.load(bridgeLAN)
		live := b.read()
		p, err := plan.New(live, desired, plan.Options{Now: time.Now(), ID: "test", Sessions: []schema.Session{s}})
		if err != nil {
			b.Fatal(err)
		}
		for _, g := range p.Guarded {
			b.Logf("%s %s: %s, at most %d ms at steps %v %s", g.Kind, g.Name, g.Verdict, g.MaxPauseMS, g.Steps, g.Why)
			if g.Verdict != plan.Survives && g.Verdict != plan.Interrupted || g.Worse || g.MaxPauseMS > 1000 {
				b.Errorf("%s %s is %s", g.Kind, g.Name, g.Verdict)
			}
		}
		if len(p.Guarded) < 3 {
			b.Errorf("guarded: %v, want a session, new logins and the gateways", p.Guarded)
		}
		naive := byHand(live, p.Steps)
		got := plan.Guard(live, desired, naive, []schema.Session{s})
		for _, kind := range []string{"session", "login", "gateway"} {
			if g := verdict(got, kind); g.Verdict != plan.Cut {
				b.Errorf("by hand: %s is %s (%s), want cut\n%s", kind, g.Verdict, g.Why, steps(&plan.Plan{Steps: naive}))
			}
		}
		bound := verdict(p.Guarded, "session").MaxPauseMS
		gap := b.talk(conn)
		if _, err := b.carryOut(b.host, p); err != nil {
			b.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		silence, err := gap()
		b.Logf("longest silence of the session: %v, promised at most %d ms", silence, bound)
		b.passes("the session over the move", err)
		b.passes("a new login", tcp(b.LAN().From(b.Server4), addr("192.0.2.10"), 22))
	})
}

// TestBridgeMoveByHandCutsTheSession: on a kernel the route is gone, and with it the operator.
func TestBridgeMoveByHandCutsTheSession(t *testing.T) {
	on(t, world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}}, func(b *bed) {
		conn, s := b.session(b.Server4, addr("192.0.2.10"))
		p, err := plan.New(b.read(), b.load(bridgeLAN), plan.Options{Now: time.Now(), ID: "test", Sessions: []schema.Session{s}})
		if err != nil {
			b.Fatal(err)
		}
		for _, st := range byHand(b.read(), p.Steps) {
			if err := b.host.Do(b.Context(), st.Change); err != nil {
				b.Fatalf("%s: %v", st.Change, err)
			}
		}
		b.blocked("the session after the move by hand", conn.Within(time.Second).Echo([]byte("lost")))
		b.blocked("a new login after the move by hand", tcp(b.LAN().From(b.Server4), addr("192.0.2.10"), 22))
	})
}

// byHand orders the steps of the move as one does who thinks of the address only: make the bridge, take the address off the
// NIC, enslave it, put the address on the bridge. Of the routes he does not think.
func byHand(live *schema.State, planned []plan.Step) []plan.Step {
	var rest, off, master, on []plan.Step
	for _, st := range planned {
		c := st.Change
		switch o := c.After.(type) {
		case *schema.Address:
			on = append(on, st)
			continue
		case *schema.Link:
			if o.Name == "eno1" {
				master = append(master, st)
				continue
			}
		}
		if _, old := c.Before.(*schema.Address); old {
			off = append(off, st)
			continue
		}
		if c.Ref.Kind != schema.KindRoute {
			rest = append(rest, st)
		}
	}
	var out []plan.Step
	cur := live.Clone()
	for _, part := range [][]plan.Step{rest, off, master, on} {
		for _, st := range part {
			if sim.Do(cur, st.Change) == nil {
				st.ID = len(out) + 1
				out = append(out, st)
			}
		}
	}
	return out
}

// talk sends over a connection without a pause until the returned func is called, which tells the longest silence.
func (b *bed) talk(conn *world.Conn) func() (time.Duration, error) {
	type result struct {
		gap time.Duration
		err error
	}
	stop, out := make(chan struct{}), make(chan result)
	go func() {
		var r result
		for i := 0; ; i++ {
			select {
			case <-stop:
				out <- r
				return
			default:
			}
			at := time.Now()
			if r.err = conn.Within(10 * time.Second).Echo(fmt.Append(nil, i)); r.err != nil {
				<-stop
				out <- r
				return
			}
			r.gap = max(r.gap, time.Since(at))
			time.Sleep(time.Millisecond)
		}
	}()
	return func() (time.Duration, error) { close(stop); r := <-out; return r.gap, r.err }
}

// TestGuardOfProtectBlocks: flows and interfaces of protect blocks are held through a plan.
func TestGuardOfProtectBlocks(t *testing.T) {
	on(t, world.Spec{Guests: []world.Guest{{Name: "db1", Device: "vnet0"}}}, func(b *bed) {
		p := b.plan(bridgeLAN + `
protect "management" {
  flow {
    from = "203.0.113.0/24"
    to   = host
    tcp  = 22
  }
  flow {
    from = outside
    to   = host
    tcp  = 22
  }
}
`)
		for _, g := range p.Guarded {
			if g.Kind == "flow" && g.Worse {
				b.Errorf("%s is %s: %s", g.Name, g.Verdict, g.Why)
			}
		}
		if verdict(p.Guarded, "flow").Verdict == "none" {
			b.Error("no flow is guarded")
		}
		p = b.plan(bridgeLAN + "\nprotect \"nic\" {\n  interface = \"eno1\"\n}\n")
		f := b.finding(p, "VN906")
		if f.Severity != "error" || !strings.Contains(f.Detail, "eno1") || p.Summary.WorstRisk != plan.RiskCut {
			b.Errorf("finding %+v, worst risk %v", f, p.Summary.WorstRisk)
		}
	})
}
