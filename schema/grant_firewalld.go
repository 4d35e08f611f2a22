package schema

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
)

// The words of firewalld.policies(5) for what is no zone.
const (
	ZoneAny  = "ANY"
	ZoneHost = "HOST"
)

// zoneNameMax is how long firewalld lets the name of a zone be (functions.py, max_zone_name_len), policyNameMax the same for
// a policy: chains of iptables are named after them.
const (
	zoneNameMax   = 17
	policyNameMax = 18
)

// firewalldPrefix begins the names of the zones and policies that are ours.
const firewalldPrefix = "vmnet-"

// FirewalldZone is the name of the zone that holds one interface only, for a network of ours: "vmnet-virbr-lab".
func FirewalldZone(device string) string {
	if name := firewalldPrefix + device; len(name) <= zoneNameMax && name == firewalldPrefix+firewalldName(device) {
		return name
	}
	return fmt.Sprintf("%s%08x", firewalldPrefix, hash(device))
}

// OwnFirewalldZone tells whether a zone is one that FirewalldZone names.
func OwnFirewalldZone(zone string) bool { return strings.HasPrefix(zone, firewalldPrefix) }

// firewalldName is what firewalld takes of a name: letters, digits and "_-" (io_object.py, check_name).
func firewalldName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '-'
	}, s)
}

func hash(words ...string) uint32 {
	h := fnv.New32a()
	for _, w := range words {
		h.Write([]byte(w + "\x00"))
	}
	return h.Sum32()
}

// Policy is the name of the policy of firewalld that holds the grant, "vmnet-lab-3fa2": one for all grants of a block that
// lead from one zone to another.
func (g *Grant) Policy() string {
	label := firewalldName(g.Address[strings.LastIndexByte(g.Address, '.')+1:])
	label = label[:min(len(label), policyNameMax-len(firewalldPrefix)-len("-0000"))]
	return fmt.Sprintf("%s%s-%04x", firewalldPrefix, label, hash(g.Address, g.Zone, g.ToZone)&0xffff)
}

// RichRule is the grant as firewalld prints it, firewalld.richlanguage(5): rule family="ipv4" source
// address="10.20.0.0/24" accept.
func (g *Grant) RichRule() string {
	var w strings.Builder
	w.WriteString("rule")
	if f := map[string]string{"ip": "ipv4", "ip6": "ipv6"}[g.Family]; f != "" {
		fmt.Fprintf(&w, " family=%q", f)
	}
	src := g.Src
	if !src.IsValid() && !g.Dst.IsValid() && g.Proto == "" { // firewalld takes no rule without any match
		src = map[string]netip.Prefix{"ip": netip.PrefixFrom(netip.IPv4Unspecified(), 0), "ip6": netip.PrefixFrom(netip.IPv6Unspecified(), 0)}[g.Family]
	}
	for _, end := range []struct {
		word   string
		prefix netip.Prefix
	}{{"source", src}, {"destination", g.Dst}} {
		if end.prefix.IsValid() {
			fmt.Fprintf(&w, " %s address=%q", end.word, g.end(end.prefix))
		}
	}
	switch {
	case g.Ports != (PortRange{}):
		fmt.Fprintf(&w, " port port=%q protocol=%q", g.Ports, g.Proto)
	case g.Proto == "icmp" && g.Family == "ip6":
		w.WriteString(` protocol value="ipv6-icmp"`)
	case g.Proto != "":
		fmt.Fprintf(&w, " protocol value=%q", g.Proto)
	}
	w.WriteString(" accept")
	return w.String()
}

// firewallCmd prints what a person would type for a policy that is there.
func (g *Grant) firewallCmd(verb string) string {
	return fmt.Sprintf("firewall-cmd --permanent --policy=%s --%s-rich-rule='%s'", g.Policy(), verb, g.RichRule())
}
