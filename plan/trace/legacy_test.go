package trace_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// TestOracleIPTables is TestOracle for rules of iptables: in the legacy tables, in iptables-nft's, or in both.
func TestOracleIPTables(t *testing.T) {
	t.Parallel()
	seed := *oracleSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./plan/trace -run TestOracleIPTables -oracle.seed=%d -oracle.rulesets=%d -oracle.packets=%d", seed, *oracleSets, *oraclePacks)
	world.InNewHost(t, func() {
		b := newBed(t)
		defer func() {
			if err := b.close(); err != nil {
				t.Error(err)
			}
		}()
		tally := map[string]int{}
		for i := range *oracleSets {
			g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i)))}
			if iptablesRound(t, b, g, fmt.Sprintf("seed %d, ruleset %d", seed, i), tally); t.Failed() {
				return
			}
		}
		t.Logf("connections by verdict: %v", tally)
	})
}

// emptyTables takes the rules away and names the policies, which iptables-restore leaves alone otherwise.
const emptyTables = "*raw\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n" +
	"*mangle\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n" +
	"*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n" +
	"*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n" +
	"*security\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"

func iptablesRound(t *testing.T, b *bed, g *generator, about string, tally map[string]int) {
	t.Helper()
	if err := errors.Join(b.reset(), runInput(emptyTables, "iptables-legacy-restore")); err != nil {
		t.Fatal(err)
	}
	legacy, native := "", ""
	switch g.r.IntN(3) {
	case 0:
		legacy = g.save()
	case 1:
		native = g.save()
	default:
		legacy, native = g.save(), g.save()
	}
	for tool, text := range map[string]string{"iptables-legacy-restore": legacy, "iptables-nft-restore": native} {
		if text == "" {
			continue
		}
		if err := runInput(text, tool); err != nil {
			t.Fatalf("%s: %v", about, err)
		}
	}
	s, err := b.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	probes := g.probes(b, *oraclePacks)
	wrong, results, got, err := b.judge(trace.New(s).Acquainted(), probes)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range results {
		switch {
		case res.Verdict != trace.Depends:
			tally[verdictOf(res)]++
		case legacy != "" && native != "": // two NAT tables of equal priority: which maps first is not to be known
			tally["order not known"]++
		default:
			t.Errorf("%s\nlegacy:\n%s\nnft:\n%s\nnothing here is unknown, yet vmnet says %s\n%s", about, legacy, native, say(res), show(res))
			return
		}
	}
	if len(wrong) > 0 {
		pr := wrong[0]
		res := results[pr.p.tag]
		t.Errorf("%s\nlegacy:\n%s\nnft:\n%s\n%+v from %s, seen %+v\nthe kernel says %q, vmnet %q: %s\n%s", about, legacy, native, pr.p, pr.from, b.seen[pr.p.tag],
			got[pr.p.tag], verdictOf(res), say(res), show(res))
	}
}

// save is a random file for iptables-restore, in the part of its language that the notation of the tests has.
func (g *generator) save(without ...string) string {
	var b strings.Builder
	for _, table := range []string{"raw", "mangle", "nat", "filter"} {
		if !g.chance(60) || slices.Contains(without, table) {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		hooks := iptablesHooks[table]
		if table == "filter" && g.chance(30) {
			fmt.Fprintf(&b, ":%s DROP\n", pick(g, hooks...))
		}
		subs := []string{}
		for i := range g.r.IntN(3) {
			subs = append(subs, fmt.Sprintf("SUB%d", i))
			fmt.Fprintf(&b, ":SUB%d -\n", i)
		}
		for i, c := range append(slices.Clone(subs), hooks...) {
			to := subs
			if i < len(subs) {
				to = subs[:i]
			}
			for range g.r.IntN(4) {
				fmt.Fprintf(&b, "-A %s %s\n", c, g.iptablesRule(table, c, to))
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func (g *generator) iptablesRule(table, chain string, subs []string) string {
	var w []string
	not := func() string { return pick(g, "", "", "", "! ") }
	add := func(percent int, s string) {
		if g.chance(percent) {
			w = append(w, s)
		}
	}
	add(40, not()+"-s "+g.prefix4())
	add(40, not()+"-d "+g.prefix4())
	if chain == "PREROUTING" || chain == "INPUT" || chain == "FORWARD" {
		if g.chance(10) { // there it is known who has which
			w = append(w, "-i virbr-lab -m mac "+not()+"--mac-source "+pick(g, macA.String(), macB.String()))
		} else {
			add(25, not()+"-i "+pick(g, "virbr-lab", "eno1", "virbr+", "lo"))
		}
	}
	if chain == "OUTPUT" || chain == "POSTROUTING" || chain == "FORWARD" {
		add(25, not()+"-o "+pick(g, "virbr-lab", "eno1", "e+"))
	}
	proto := pick(g, "", "tcp", "udp", "udp", "icmp")
	if proto != "" {
		w = append(w, "-p "+proto)
	}
	if proto == "tcp" || proto == "udp" {
		add(60, not()+pick(g, "--sport ", "--dport ")+strings.ReplaceAll(g.ports(), "-", ":"))
	}
	add(25, "-m conntrack "+not()+"--ctstate "+pick(g, "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "NEW,ESTABLISHED"))
	if proto == "tcp" || proto == "udp" {
		add(15, "-m multiport "+not()+pick(g, "--dports ", "--sports ")+pick(g, "22,80,1000:2222", "53", "21:23,443"))
	}
	switch proto {
	case "tcp":
		add(20, pick(g, "--syn", "! --syn", "--tcp-flags SYN,ACK SYN", "--tcp-flags ALL SYN,ACK"))
	case "icmp":
		add(30, "--icmp-type "+pick(g, "echo-request", "echo-reply"))
	}
	add(10, "-m iprange "+not()+pick(g, "--src-range 10.20.0.9-10.20.0.12", "--dst-range 203.0.113.1-203.0.113.64"))
	add(10, "-m conntrack "+not()+"--ctstatus "+pick(g, "SEEN_REPLY", "CONFIRMED", "EXPECTED"))
	add(10, "-m conntrack --ctstate "+pick(g, "DNAT", "SNAT")) // negated or with others it is not lowered
	add(10, "-m conntrack --ctdir "+pick(g, "ORIGINAL", "REPLY"))
	add(10, "-m conntrack "+not()+pick(g, "--ctorigdst ", "--ctorigsrc ", "--ctreplsrc ")+g.prefix4())
	add(10, "-m connmark "+not()+"--mark "+pick(g, "0x0", "0x1/0x3"))
	add(10, "-m comment --comment \"a b\"")
	add(15, "-m mark "+not()+"--mark "+pick(g, "0x1", "0x2"))
	add(15, "-m addrtype "+not()+"--dst-type "+pick(g, "LOCAL", "UNICAST"))
	return strings.Join(append(w, g.iptablesTarget(table, chain, proto, subs)), " ")
}

func (g *generator) iptablesTarget(table, chain, proto string, subs []string) string {
	for {
		switch g.r.IntN(9) {
		case 0, 1:
			return "-j ACCEPT"
		case 2, 3:
			if table != "nat" {
				return "-j DROP"
			}
		case 4:
			return "-j RETURN"
		case 5:
			if len(subs) > 0 {
				return pick(g, "-j ", "-g ") + pick(g, subs...)
			}
		case 6:
			if table == "filter" {
				return "-j REJECT"
			}
		case 7:
			switch table {
			case "mangle":
				return "-j " + pick(g, "MARK --set-mark 0x1", "MARK --set-mark 0x2", "MARK --or-mark 0x2", "MARK --and-mark 0x1", "CONNMARK --set-mark 0x1", "CONNMARK --save-mark", "CONNMARK --restore-mark")
			case "raw":
				if !strings.HasPrefix(chain, "SUB") {
					return "-j CT --notrack"
				}
			}
		case 8:
			if table != "nat" {
				continue
			}
			switch chain {
			case "PREROUTING", "OUTPUT":
				to := pick(g, labHosts...)
				if proto == "tcp" || proto == "udp" {
					to += pick(g, "", ":22")
				}
				if proto == "udp" && g.chance(20) {
					return pick(g, "-j REDIRECT", "-j REDIRECT --to-ports 8080")
				}
				if g.chance(20) {
					return "-j NETMAP --to 10.20.0.8/30"
				}
				return "-j DNAT --to " + to
			case "POSTROUTING":
				return pick(g, "-j MASQUERADE", "-j SNAT --to 192.0.2.10", "-j SNAT --to 10.20.0.1")
			}
		}
	}
}
