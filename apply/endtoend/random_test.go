package endtoend_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vmnet/vmnet/plan"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

var (
	strangerSeed = flag.Uint64("strangers.seed", 0, "begin with this world of random foreign rules; 0 for one by the clock")
	strangerTime = flag.Duration("strangers.time", 18*time.Second, "how long worlds of random foreign rules are tried")
)

// TestRandomStrangers: whatever foreign rules lie on a host, and whatever of a few files it is to be like, what the file asks for
// passes after an apply, or the rule that stops it is named with the reason why it stands; nothing opens that nobody asked for; a
// second plan is empty; and without its blocks every foreign rule is as it was, but for those that were deleted.
func TestRandomStrangers(t *testing.T) {
	first := *strangerSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	end := time.Now().Add(*strangerTime)
	for seed := first; time.Now().Before(end); seed += 2 {
		// Two at a time, as there are processors.
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for _, s := range []uint64{seed, seed + 1} {
				t.Run(fmt.Sprint(s), func(t *testing.T) {
					r := &strangers{Rand: rand.New(rand.NewPCG(s, 9))}
					r.IPv6 = r.IntN(3) == 0
					on(t, dualGuests(), func(b *bed) { b.amongStrangers(r) })
				})
			}
		})
		if t.Failed() {
			return
		}
	}
}

// dualGuests are the two guests with an IPv6 address each.
func dualGuests() world.Spec {
	spec := twoGuests()
	for i, a := range []string{"fd00:20::11", "fd00:20::12"} {
		g := &spec.Guests[i]
		g.Addrs, g.Gateways = append(g.Addrs, prefix(a+"/64")), append(g.Gateways, addr("fd00:20::1"))
	}
	return spec
}

func (b *bed) amongStrangers(r *strangers) {
	b.Helper()
	file := r.file()
	b.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding") // what a host that does not forward opens by it is another matter
	healthy := r.IntN(2) == 0
	if healthy {
		b.apply(file)
	}
	r.settled = healthy
	script := r.script()
	b.loosely(script)
	defer func() {
		if b.Failed() {
			b.Logf("healthy before: %v\n%s\n%s", healthy, script, file)
		}
	}()
	before := b.foreignRules()
	p := b.plan(file)
	if len(p.Unrequested) > 0 {
		b.Errorf("newly reachable and not asked for: %q\n%s", p.Unrequested, steps(p))
	}
	b.named(p)
	if _, err := b.carryOut(b.host, p); err != nil {
		b.Fatalf("apply: %v\n%s", err, steps(p))
	}
	again := b.plan(file)
	if !again.Empty() {
		b.Errorf("a second plan is not empty:\n%s\nafter\n%s", steps(again), steps(p))
	}
	for i, c := range again.Checks {
		if c.Before.Status != p.Checks[i].After.Status {
			b.Errorf("%q is %s, and was to be %s: %s", c.Goal.Name, c.Before.Status, p.Checks[i].After.Status, c.Before.Why)
		}
	}
	b.hold(again, r.IPv6)
	if _, err := b.carryOut(b.host, b.plan("")); err != nil {
		b.Fatalf("apply without blocks: %v", err)
	}
	b.asBefore(before, p)
}

// file is one of a few.
func (r *strangers) file() string {
	out := natLab
	if r.IPv6 {
		out = strings.Replace(out, "subnet = \"10.20.0.0/24\"", "subnet = \"10.20.0.0/24\"\n  subnet6 = \"fd00:20::/64\"", 1)
	}
	if r.IntN(2) == 0 {
		out += "firewall \"lab\" {\n  allow {\n    from = nat.lab\n    to   = host\n    tcp  = 8080\n  }\n}\n"
	}
	if r.IntN(2) == 0 {
		out += "expect \"updates\" {\n  from  = guest.db1\n  to    = \"203.0.113.10\"\n  tcp   = 443\n  allow = true\n}\n"
	}
	if r.IntN(2) == 0 {
		out += "firewall \"away\" {\n  deny {\n    from = nat.lab\n    to   = \"198.51.100.0/24\"\n  }\n}\n"
	}
	if r.IntN(2) == 0 {
		out += "expect \"closed\" {\n  from  = outside\n  to    = guest.db1\n  tcp   = 80\n  allow = false\n}\n"
	}
	return out
}

// loosely runs each line whether or not those before it succeed.
func (b *bed) loosely(script string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "sh", "-c", script)
	cmd.Env = append(cmd.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LOCKFILE=/run/xtables.lock")
	if out, err := cmd.CombinedOutput(); err != nil && testing.Verbose() {
		b.Logf("%v\n%s", err, out)
	}
}

// named insists that every goal that will not hold has a finding that says why nothing is done about what stops it.
func (b *bed) named(p *plan.Plan) {
	b.Helper()
	for _, c := range p.Checks {
		if c.After.Status == "ok" || !c.Goal.Allow {
			continue
		}
		why := ""
		for _, f := range p.Findings {
			if f.Code != "VN410" && f.Code != "VN411" && f.Code != "VN412" && f.Code != "VN404" {
				continue
			}
			for _, name := range f.Breaks {
				if name == c.Goal.Name && (f.Code == "VN412" || len(f.Fixes) > 0) {
					why = f.Title
				}
			}
		}
		if why == "" {
			b.Errorf("%q will be %s (%s) and no finding says so:\n%s", c.Goal.Name, c.After.Status, c.After.Why, steps(p))
		}
	}
}

// hold asks with real packets for what is said to hold.
func (b *bed) hold(p *plan.Plan, v6 bool) {
	b.Helper()
	ok := map[string]bool{}
	for _, c := range p.Checks {
		ok[c.Goal.Name] = c.Before.Status == "ok"
	}
	db, web, lan, host := patient(b.Guest("db1")), patient(b.Guest("web1")), patient(b.LAN()), patient(b.Host())
	for _, n := range []*world.Node{db, web, lan} {
		if err := n.Serve(22, 80, 443); err != nil {
			b.Fatal(err)
		}
	}
	if err := host.Serve(8080); err != nil {
		b.Fatal(err)
	}
	for goal, asks := range map[string]func(){
		"guests of nat.lab reach each other": func() {
			b.passes("guest to guest by TCP", tcp(db, addr("10.20.0.12"), 22))
			b.passes("guest to guest by UDP", udp(web, addr("10.20.0.11"), 80))
			b.passes("guest to guest by ICMP", web.Ping(addr("10.20.0.11")))
		},
		"the host reaches guests of nat.lab": func() {
			b.passes("host to guest by TCP", tcp(host, addr("10.20.0.11"), 22))
			b.passes("host to guest by UDP", udp(host, addr("10.20.0.12"), 80))
			b.passes("host to guest by ICMP", host.Ping(addr("10.20.0.11")))
		},
		"guests of nat.lab ping the host": func() { b.passes("guest to its gateway", db.Ping(addr("10.20.0.1"))) },
		"guests of nat.lab reach the outside": func() {
			b.passes("guest to the internet by TCP", tcp(db, b.Server4, 80))
			b.passes("guest to the internet by UDP", udp(web, b.Server4, 80))
			b.passes("guest to the internet by ICMP", db.Ping(b.Server4))
		},
		"outside reaches guest.db1 through tcp port 2222 of the host": func() { b.passes("the forward from outside", tcp(lan, b.Host4.Addr(), 2222)) },
		"host reaches guest.db1 through tcp port 2222 of the host":    func() { b.passes("the forward from the host", tcp(host, b.Host4.Addr(), 2222)) },
		"nat.lab reaches host by tcp/8080":                            func() { b.passes("guest to a port of the host", tcp(web, addr("10.20.0.1"), 8080)) },
	} {
		if ok[goal] {
			asks()
		}
	}
	if !v6 {
		return
	}
	for goal, asks := range map[string]func(){
		"guests of nat.lab reach each other": func() {
			b.passes("guest to guest by TCP over IPv6", tcp(db, addr("fd00:20::12"), 22))
			b.passes("guest to guest by ICMPv6", web.Ping(addr("fd00:20::11")))
		},
		"the host reaches guests of nat.lab":  func() { b.passes("host to guest by TCP over IPv6", tcp(host, addr("fd00:20::12"), 22)) },
		"guests of nat.lab ping the host":     func() { b.passes("guest to its gateway by ICMPv6", db.Ping(addr("fd00:20::1"))) },
		"guests of nat.lab reach the outside": func() { b.passes("guest to the internet by TCP over IPv6", tcp(db, b.Server6, 80)) },
	} {
		if ok[goal] {
			asks()
		}
	}
}

// foreignRules are everybody's rules but those of our own tables.
func (b *bed) foreignRules() string {
	b.Helper()
	return b.sh(`nft -s list tables | grep -v " vmnet$" | while read -r _ f n; do nft -s list table $f $n; done; for t in $(cat /proc/net/ip_tables_names); do echo legacy $t; iptables-legacy -t $t -S; done; for t in $(cat /proc/net/ip6_tables_names); do echo legacy ip6 $t; ip6tables-legacy -t $t -S; done`)
}

// asBefore compares the rules of others with what they were before a plan that deleted some.
func (b *bed) asBefore(before string, p *plan.Plan) {
	b.Helper()
	deleted := 0
	for _, s := range p.Steps {
		if f, ok := s.Change.Before.(*schema.ForeignRule); ok && s.Change.After == nil && !strings.HasPrefix(f.Rule.Comment, "vmnet:") {
			deleted++
		}
	}
	after := b.foreignRules()
	if strings.Contains(after, "vmnet:") {
		b.Errorf("rules of ours are left:\n%s", after)
	}
	d := strings.TrimSpace(differ(before, after))
	lost := 0
	for line := range strings.Lines(d) {
		if strings.HasPrefix(line, "-1 ") {
			lost++
		} else {
			lost = 1000
		}
	}
	if d != "" && lost != deleted {
		b.Errorf("%d rules were deleted, and the rest is not as before:\n%s\n%s", deleted, d, steps(p))
	}
}
