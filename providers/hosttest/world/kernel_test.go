package world_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/ruleset"
)

// load writes tables into the network namespace of the calling thread, reads them back, and insists that they are the same.
func load(ctx context.Context, tables []*schema.Table) (err error) {
	p, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() {
		if e := p.Close(); err == nil {
			err = e
		}
	}()
	for _, t := range tables {
		if err := p.Do(ctx, schema.Change{Ref: t.Ref(), After: t}); err != nil {
			return err
		}
	}
	return same(ctx, p, tables)
}

func same(ctx context.Context, p *nft.Provider, tables []*schema.Table) error {
	objects, err := p.Read(ctx)
	if err != nil {
		return err
	}
	live := schema.NewState(objects...)
	for _, want := range tables {
		have := live.Get(want.Ref())
		if have == nil {
			return fmt.Errorf("%s is not there", want.Ref())
		}
		if d := append(schema.Compare(have, want), schema.Compare(want, have)...); len(d) > 0 {
			return fmt.Errorf("%s is not as written: %v", want.Ref(), d)
		}
	}
	return nil
}

// A person would write testdata/town.nft for this configuration; nft(8) compiles it, and the kernel gives back what we make.
func TestSameAsNFT(t *testing.T) {
	t.Parallel()
	networks := []schema.Network{
		{Address: "nat.lab", Mode: "nat", Device: "virbr-lab", Subnets: prefixes("10.20.0.0/24", "fd20::/64")},
		{Address: "nat.shop", Mode: "nat", Device: "virbr-shop", Subnets: prefixes("10.21.0.0/24", "fd21::/64"), Uplink: "br0"},
		{Address: "host_only.build", Mode: "host_only", Device: "virbr-build", Subnets: prefixes("10.30.0.0/24")},
		{Address: "bridge.lan", Mode: "bridge", Device: "br0", Subnets: prefixes("192.0.2.0/24", "2001:db8:2::/64")},
	}
	w := &town{networks: networks}
	w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11", "fd20::11")
	w.forward("tcp", 8080, "bridge.lan", "l", 80, "192.0.2.51")
	w.forward("udp", 5000, "nat.lab", "a", 6000, "10.20.0.11")
	w.forwards[2].Ports.Last = 5001
	tables := ruleset.Tables(w.networks, w.forwards, []ruleset.Policy{
		{
			Address: "firewall.tiers", Allow: true,
			From:    ends{network(w, "nat.shop"), network(w, "host_only.build")},
			To:      ends{guestEnd("a", "virbr-lab", "10.20.0.11", "fd20::11"), guestEnd("b", "virbr-lab", "10.20.0.12")},
			Service: []schema.Service{{Proto: "tcp", Ports: []schema.PortRange{{First: 8000, Last: 8100}, {First: 80, Last: 80}}}},
		},
		{
			Address: "firewall.tiers", From: ends{{Kind: "outside"}}, To: ends{{Kind: "host"}},
			Service: []schema.Service{service("icmp"), {Proto: "tcp", Ports: []schema.PortRange{{First: 80, Last: 90}}}},
		},
		{Address: "firewall.tiers", From: ends{network(w, "nat.lab")}, To: ends{prefixEnd("10.0.0.0/8", "172.16.0.0/12", "10.1.0.0/16")}},
		{Address: "firewall.tiers", From: ends{{Kind: "host"}}, To: ends{prefixEnd("203.0.113.16/28")}},
	})
	if len(tables) != 1 {
		t.Fatalf("got %d tables, want one", len(tables))
	}
	world.InNewHost(t, func() {
		out, err := exec.CommandContext(t.Context(), "nft", "-f", "testdata/town.nft").CombinedOutput()
		if err != nil {
			t.Fatalf("nft -f: %v\n%s(this test needs nft(8), package nftables)", err, out)
		}
		p, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		objects, err := p.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		theirs := schema.NewState(objects...).Get(tables[0].Ref()).(*schema.Table)
		for _, s := range theirs.Sets { // nft(8) before 1.0.7 marks concatenations only where they hold intervals
			if len(s.Fields) > 1 {
				s.Flags |= schema.SetConcat
			}
		}
		for _, d := range append(schema.Compare(theirs, tables[0]), schema.Compare(tables[0], theirs)...) {
			t.Errorf("not as nft(8) compiles it: %v", d)
		}
		compareRules(t, theirs, tables[0])
	})
}

// compareRules shows the rules that differ.
func compareRules(t *testing.T, theirs, ours *schema.Table) {
	t.Helper()
	for _, c := range ours.Chains {
		have := theirs.Chain(c.Name)
		if have == nil {
			continue
		}
		for i := range min(len(c.Rules), len(have.Rules)) {
			if !schema.RulesEqual(c.Rules[i], have.Rules[i]) {
				t.Errorf("chain %s rule %d:\n%s", c.Name, i, gocmp.Diff(have.Rules[i].Exprs, c.Rules[i].Exprs))
			}
		}
	}
}

// Writing our table over another form of itself, and taking it away, is one transaction each.
func TestTableChanges(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		w := &town{networks: []schema.Network{
			{Address: "nat.lab", Mode: "nat", Device: "virbr-lab", Subnets: prefixes("10.20.0.0/24")},
		}}
		small := ruleset.Tables(w.networks, nil, nil)
		w.networks = append(w.networks, schema.Network{Address: "host_only.build", Mode: "host_only", Device: "virbr-build", Subnets: prefixes("10.30.0.0/24", "fd30::/64")})
		w.forward("tcp", 2222, "nat.lab", "a", 22, "10.20.0.11", "fd20::11")
		large := ruleset.Tables(w.networks, w.forwards, []ruleset.Policy{{Address: "firewall.x", From: ends{{Kind: "outside"}}, To: ends{{Kind: "host"}}}})
		p, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, to := range [][]*schema.Table{small, large, small, nil, large} {
			change := schema.Change{Ref: schema.TableRef("inet", "vmnet")}
			objects, err := p.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			change.Before = schema.NewState(objects...).Get(change.Ref)
			if to != nil {
				change.After = to[0]
			}
			if err := p.Do(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if err := same(t.Context(), p, to); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever a file holds, the kernel takes it and gives it back the same: overlapping prefixes, ranges that touch, whole
// families, many ends of all kinds.
func TestRandomTables(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		p, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for seed := range uint64(60) {
			r := random{rand.New(rand.NewPCG(seed, 0))}
			w := r.town()
			var policies []ruleset.Policy
			for i := range r.IntN(6) {
				policies = append(policies, ruleset.Policy{
					Address: fmt.Sprintf("firewall.f%d", i/2), Allow: r.IntN(2) == 0, From: r.ends(w), To: r.ends(w), Service: r.services(),
				})
			}
			tables := ruleset.Tables(w.networks, w.forwards, policies)
			if len(tables) == 0 {
				continue
			}
			ref := tables[0].Ref()
			if err := p.Do(t.Context(), schema.Change{Ref: ref, After: tables[0]}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := same(t.Context(), p, tables); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := p.Do(t.Context(), schema.Change{Ref: ref, Before: tables[0]}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	})
}

type random struct{ *rand.Rand }

func (r random) town() *town {
	w := &town{}
	for i := range r.IntN(5) {
		n := schema.Network{Device: fmt.Sprintf("br%d", i), Subnets: prefixes(fmt.Sprintf("10.%d.0.0/%d", i, 20+r.IntN(6)))}
		n.Mode = []string{"nat", "host_only", "bridge"}[r.IntN(3)]
		n.Address = fmt.Sprintf("%s.n%d", n.Mode, i)
		if r.IntN(2) == 0 {
			n.Subnets = append(n.Subnets, prefixes(fmt.Sprintf("fd%02x::/64", i))...)
		}
		if n.Mode == "nat" && r.IntN(2) == 0 {
			n.Uplink = "eno1"
		}
		n.Isolate = n.Mode == "host_only" && r.IntN(2) == 0
		w.networks = append(w.networks, n)
		if r.IntN(2) == 0 {
			w.forward([]string{"tcp", "udp"}[r.IntN(2)], uint16(2000+100*i), n.Address, "g", uint16(1+r.IntN(65000)), fmt.Sprintf("10.%d.0.9", i), fmt.Sprintf("fd%02x::9", i))
			w.forwards[len(w.forwards)-1].Ports.Last += uint16(r.IntN(50))
		}
	}
	return w
}

func (r random) ends(w *town) ends {
	var out ends
	for range r.IntN(5) {
		switch kind := r.IntN(6); {
		case kind == 0:
			out = append(out, schema.Endpoint{Kind: []string{"host", "outside", "any"}[r.IntN(3)]})
		case kind < 3 && len(w.networks) > 0:
			out = append(out, network(w, w.networks[r.IntN(len(w.networks))].Address))
		case kind == 3:
			out = append(out, guestEnd("g", fmt.Sprintf("br%d", r.IntN(5)), fmt.Sprintf("10.%d.0.%d", r.IntN(5), r.IntN(4)), fmt.Sprintf("fd%02x::%x", r.IntN(5), r.IntN(4))))
		default:
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(r.IntN(4))}), r.IntN(33))
			if kind == 5 {
				p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(r.IntN(2)), 15: byte(r.IntN(4))}), r.IntN(129))
			}
			out = append(out, schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{p.Masked()}})
		}
	}
	return out
}

func (r random) services() []schema.Service {
	var out []schema.Service
	for range r.IntN(4) {
		s := schema.Service{Proto: []string{"tcp", "udp", "icmp"}[r.IntN(3)]}
		if s.Proto != "icmp" {
			for range r.IntN(4) {
				first := r.IntN(1 << 16)
				s.Ports = append(s.Ports, schema.PortRange{First: uint16(first), Last: uint16(min(first+r.IntN(3)*20000, 1<<16-1))})
			}
		}
		out = append(out, s)
	}
	return out
}
