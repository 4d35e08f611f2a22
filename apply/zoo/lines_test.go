package zoo_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// look prints what a host is, by the programs that administrators use: so it is not vmnet that says what vmnet did.
// nft(8) does not print the comments of iptables' rules: where iptables-nft-save(8) can print a table, it does.
const look = `nft -s list ruleset 2>/dev/null || true
for t in ip ip6; do for n in filter nat mangle raw security; do
  if nft list table $t $n >/dev/null 2>&1 && s=$(${t}tables-nft-save -t $n 2>/dev/null); then echo "iptables $t $n {"; echo "$s"; echo "}"; fi; done; done
for t in ip ip6; do if [ -s /proc/net/${t}_tables_names ]; then for n in $(cat /proc/net/${t}_tables_names); do
  echo "legacy $t {"; ${t}tables-legacy-save -t $n; echo "}"; done; fi; done
echo "links {"; ip -o link; echo "}"
echo "ports {"; bridge -o -d link; echo "}"
echo "addresses {"; ip -o addr; echo "}"
echo "routes {"; ip -o route show table all; ip -o -6 route show table all; echo "}"
echo "rules {"; ip rule; ip -6 rule; echo "}"
echo "fdb {"; bridge fdb | grep static || true; echo "}"
echo "queues {"; tc qdisc; echo "}"
echo "settings {"; cd /proc/sys/net; grep -sH . ipv4/ip_forward ipv4/icmp_echo_ignore_all bridge/bridge-nf-call-* ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6 \
  ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/arp_ignore ipv4/conf/*/arp_filter ipv4/conf/*/proxy_arp ipv4/conf/*/route_localnet; echo "}"
`

// fleeting is what changes by itself: counters, indexes, states, lifetimes, and what the kernel makes of a link that is up.
var fleeting = regexp.MustCompile(`\[\d+:\d+\]|^\d+: |state [A-Z]+|\b(NO-CARRIER|LOWER_UP|linkdown|tentative|dadfailed|DORMANT|M-DOWN|UP)\b,?|valid_lft.*|expires \S+|pref medium|` +
	`group default|qlen \d+|root refcnt \d+|counter packets \d+ bytes \d+|link-netnsid \d+|@if\d+|\s+\\`)

// noise are lines that nobody decides.
var noise = regexp.MustCompile(`fe80::|ff00::|^# |multicast|^anycast`)

// lines are what the host is, each with where it stands: "table inet filter / chain forward / tcp dport 22 drop".
func (b *bed) lines() map[string]int {
	b.Helper()
	out := map[string]int{}
	var at []string
	for l := range strings.Lines(b.sh(look)) {
		l = strings.Join(strings.Fields(fleeting.ReplaceAllString(strings.TrimSpace(l), "")), " ")
		switch {
		case l == "" || noise.MatchString(l):
		case l == "}" && len(at) > 0:
			at = at[:len(at)-1]
		case strings.HasSuffix(l, " {"):
			at = append(at, strings.TrimSuffix(l, " {"))
			out[strings.Join(at, " / ")]++
		default:
			out[strings.Join(append(slices.Clone(at), l), " / ")]++
		}
	}
	for l := range out {
		if t, ok := strings.CutPrefix(l, "iptables "); ok && !strings.Contains(t, " / ") {
			maps.DeleteFunc(out, func(k string, _ int) bool { return strings.HasPrefix(k, "table "+t+" /") })
		}
	}
	b.fileLines(out)
	return out
}

// fileLines are those of the host's own files.
func (b *bed) fileLines(out map[string]int) {
	b.Helper()
	for _, dir := range []string{"etc/iptables", "etc/nftables.d", "etc/ufw", "etc/firewalld", "etc/sysctl.d", "etc/libvirt/qemu", "etc/docker"} {
		err := filepath.WalkDir(filepath.Join(b.root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Contains(path, ".vmnet-") || strings.HasSuffix(path, ".old") {
				return nil //nolint:nilerr // what is not there has no lines
			}
			return b.fileAt(path, out)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := b.fileAt(filepath.Join(b.root, "etc/nftables.conf"), out); err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
}

func (b *bed) fileAt(path string, out map[string]int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(text)) {
		out["file "+strings.TrimPrefix(path, b.root)+" / "+strings.TrimSpace(l)]++
	}
	return nil
}

// ours tells whether a line bears our mark.
func ours(line string) bool {
	return strings.Contains(line, "vmnet") || strings.Contains(line, fmt.Sprintf("proto %d", schema.ProtoVMNET))
}

// between lists what of now is neither as before the fault nor as after it, and not ours: "+1 line", "-1 line".
func between(healthy, broken, now map[string]int, unlike *regexp.Regexp) (out []string) {
	for l := range union(healthy, broken, now) {
		low, high := min(healthy[l], broken[l]), max(healthy[l], broken[l])
		switch n := now[l]; {
		case ours(l) || unlike != nil && unlike.MatchString(l):
		case n < low:
			out = append(out, "- "+l)
		case n > high:
			out = append(out, "+ "+l)
		}
	}
	slices.Sort(out)
	return out
}

func union(all ...map[string]int) map[string]bool {
	out := map[string]bool{}
	for _, m := range all {
		for l := range m {
			out[l] = true
		}
	}
	return out
}

// left lists how a host without a configuration differs from what it was before vmnet came, but for what the fault did. A
// setting bears no mark and is never taken back.
func left(before, healthy, broken, now map[string]int, leaves *regexp.Regexp) (out []string) {
	for l := range union(before, now) {
		fault := broken[l] - healthy[l]
		low, high := min(before[l], before[l]+fault), max(before[l], before[l]+fault)
		switch n := now[l]; {
		case strings.HasPrefix(l, "settings /") || leaves != nil && leaves.MatchString(l):
		case n < low:
			out = append(out, "- "+l)
		case n > high:
			out = append(out, "+ "+l)
		}
	}
	slices.Sort(out)
	return out
}
