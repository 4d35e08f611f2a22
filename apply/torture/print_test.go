package torture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// prints is what everybody's own tools say of a host, a line for each thing: a judge that shares no code with vmnet.
type prints []string

const asked = `
echo '== rules'; nft list ruleset
echo '== legacy'; iptables-legacy-save; ip6tables-legacy-save
echo '== settings'; cd /proc/sys/net
grep -H . ipv4/ip_forward ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/route_localnet ipv4/conf/*/arp_filter \
	ipv4/conf/*/proxy_arp ipv6/conf/*/forwarding ipv6/conf/*/disable_ipv6 ipv6/conf/*/accept_ra
echo '== files'; cd $ROOT && find . -type f -printf '%p %m ' -exec sha256sum {} \; | sort
`

var counted = regexp.MustCompile(`counter packets \d+ bytes \d+|\[\d+:\d+\]|^#.*$`)

// look asks the tools. It must be called on the host's thread.
func look(t *testing.T, root string) prints {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", asked)
	cmd.Env = append(cmd.Environ(), "ROOT="+root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ask the tools: %v\n%s", err, out)
	}
	p := sections(string(out))
	p = append(p, lookIP(t, "link", []string{"-d", "link"}, linkLine)...)
	p = append(p, lookIP(t, "route", []string{"-4", "-N", "route", "show", "table", "all"}, routeLine)...)
	p = append(p, lookIP(t, "route6", []string{"-6", "-N", "route", "show", "table", "all"}, routeLine)...)
	p = append(p, lookIP(t, "rule", []string{"-4", "rule"}, flat)...)
	p = append(p, lookIP(t, "rule6", []string{"-6", "rule"}, flat)...)
	return append(p, lookIP(t, "address", []string{"-N", "address"}, addressLines)...)
}

// sections is the output of asked, each rule with its chain and its place in it: their order counts, that of tables does not.
func sections(out string) prints {
	var p prints
	section, place := "", 0
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(counted.ReplaceAllString(strings.TrimSpace(line), ""))
		name, header := strings.CutPrefix(line, "== ")
		first, _, _ := strings.Cut(section, " ")
		switch {
		case header:
			section = name
		case line == "" || line == "}":
		case first == "rules" && strings.HasPrefix(line, "table "):
			section, place = "rules "+line, 0
		case first == "rules" && strings.HasSuffix(line, "{") && !strings.Contains(line, "="):
			section, place = strings.Join(strings.Fields(section)[:4], " ")+" "+line, 0
			p = append(p, section)
		case first == "legacy" && strings.HasPrefix(line, "*"):
			section, place = "legacy "+line, 0
		case first == "rules" || first == "legacy":
			place++
			p = append(p, fmt.Sprintf("%s %d %s", section, place, line))
		default:
			p = append(p, section+" "+line)
		}
	}
	return p
}

func lookIP(t *testing.T, section string, args []string, line func(map[string]any) string) prints {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", append([]string{"-j"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
	var list []map[string]any
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
	var p prints
	for _, o := range list {
		for text := range strings.Lines(line(o)) {
			p = append(p, section+" "+strings.TrimSpace(text))
		}
	}
	slices.Sort(p) // nobody promises an order
	return p
}

// flat is an object of ip(8) with its keys sorted, but for some.
func flat(o map[string]any) string { return only(o, slices.Sorted(maps.Keys(o))...) }

func only(o map[string]any, keys ...string) string {
	var parts []string
	for _, k := range keys {
		if v, ok := o[k]; ok {
			parts = append(parts, fmt.Sprintf("%s=%v", k, v))
		}
	}
	return strings.Join(parts, " ")
}

// linkLine has what is set on a link, not what the kernel counts and elects.
func linkLine(o map[string]any) string {
	up := strings.Contains(fmt.Sprint(o["flags"]), "UP") && slices.Contains(strings.Fields(strings.Trim(fmt.Sprint(o["flags"]), "[]")), "UP")
	text := only(o, "ifname", "mtu", "master", "address", "ifalias", "txqlen") + fmt.Sprintf(" up=%v", up)
	info, _ := o["linkinfo"].(map[string]any)
	data, _ := info["info_data"].(map[string]any)
	slave, _ := info["info_slave_data"].(map[string]any)
	return text + " " + only(info, "info_kind", "info_slave_kind") +
		" " + only(data, "forward_delay", "hello_time", "ageing_time", "stp_state", "priority", "vlan_filtering", "mcast_snooping", "mcast_querier") +
		" " + only(slave, "priority", "cost", "hairpin", "guard", "root_block", "learning", "flood", "isolated", "mcast_flood", "bcast_flood", "neigh_suppress")
}

// routeLine leaves out what comes and goes with the carrier of a link: link-local and multicast routes of IPv6, and flags.
func routeLine(o map[string]any) string {
	dst := fmt.Sprint(o["dst"])
	if strings.HasPrefix(dst, "fe80:") || strings.HasPrefix(dst, "ff00:") || strings.Contains(fmt.Sprint(o["type"]), "anycast") {
		return ""
	}
	return only(o, "type", "dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric", "metrics", "nexthops", "onlink")
}

func addressLines(o map[string]any) string {
	var b strings.Builder
	list, _ := o["addr_info"].([]any)
	for _, a := range list {
		info, _ := a.(map[string]any)
		if strings.HasPrefix(fmt.Sprint(info["local"]), "fe80:") {
			continue
		}
		fmt.Fprintf(&b, "%v %s\n", o["ifname"], only(info, "local", "prefixlen", "scope", "protocol", "label", "broadcast", "noprefixroute"))
	}
	return b.String()
}

// differ lists the lines that are not in both, with - and +; two hosts that are the same have none.
func (p prints) differ(now prints) []string {
	count := map[string]int{}
	for _, l := range p {
		count[l]++
	}
	for _, l := range now {
		count[l]--
	}
	var out []string
	for _, l := range slices.Sorted(maps.Keys(count)) {
		switch n := count[l]; {
		case n > 0:
			out = append(out, "- "+l)
		case n < 0:
			out = append(out, "+ "+l)
		}
	}
	return out
}
