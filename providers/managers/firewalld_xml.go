package managers

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// policyXML is a file of /etc/firewalld/policies, firewalld.policy(5), as far as a policy of ours goes.
type policyXML struct {
	XMLName     xml.Name  `xml:"policy"`
	Target      string    `xml:"target,attr"`
	Priority    int       `xml:"priority,attr"`
	Short       string    `xml:"short"`
	Description string    `xml:"description"`
	Ingress     []nameXML `xml:"ingress-zone"`
	Egress      []nameXML `xml:"egress-zone"`
	Rules       []ruleXML `xml:"rule"`
}

type nameXML struct {
	Name string `xml:"name,attr"`
}

// ruleXML is a rich rule, firewalld.richlanguage(5).
type ruleXML struct {
	Family      string     `xml:"family,attr,omitempty"`
	Priority    int        `xml:"priority,attr,omitempty"`
	Source      *endXML    `xml:"source"`
	Destination *endXML    `xml:"destination"`
	Port        *portXML   `xml:"port"`
	Protocol    *valueXML  `xml:"protocol"`
	Accept      *acceptXML `xml:"accept"`
	Others      []otherXML `xml:",any"`
}

type endXML struct {
	Address string   `xml:"address,attr"`
	Others  []string `xml:",any,attr"`
}

type portXML struct {
	Port     string `xml:"port,attr"`
	Protocol string `xml:"protocol,attr"`
}

type valueXML struct {
	Value string `xml:"value,attr"`
}

type acceptXML struct {
	Others []otherXML `xml:",any"` // a limit
}

type otherXML struct{ XMLName xml.Name }

// policyPriority puts a policy of ours in front of those of others (their default is -1), and behind what firewalld itself
// needs for IPv6 (-15000). Policies below 0 come before the rules of zones.
const policyPriority = -100

// newPolicy is the file of a policy that holds one grant.
func newPolicy(g *schema.Grant) ([]byte, error) {
	p := policyXML{
		Target: "CONTINUE", Priority: policyPriority, Short: g.Mark(), Description: describePolicy(g),
		Ingress: []nameXML{{g.Zone}}, Egress: []nameXML{{g.ToZone}},
	}
	b, err := xml.MarshalIndent(p, "", "  ")
	return append([]byte(xml.Header), b...), err
}

// describePolicy says for people what the policy is, and for reading it back which interfaces its zones stand for.
func describePolicy(g *schema.Grant) string {
	return fmt.Sprintf("What %s asks for. in=%s out=%s", g.Address, g.In, g.Out)
}

// grants are the rules of a policy of ours, each with its text as firewalld prints it.
func (p *policyXML) grants() []*schema.Grant {
	address, ours := schema.Mark(p.Short)
	if !ours || len(p.Ingress) != 1 || len(p.Egress) != 1 || p.Target != "CONTINUE" {
		return nil
	}
	from := schema.Grant{Manager: schema.ManagerFirewalld, Address: address, Zone: p.Ingress[0].Name, ToZone: p.Egress[0].Name}
	for word := range strings.FieldsSeq(p.Description) {
		if name, ok := strings.CutPrefix(word, "in="); ok {
			from.In = name
		}
		if name, ok := strings.CutPrefix(word, "out="); ok {
			from.Out = name
		}
	}
	from.Forward = from.Zone != schema.ZoneHost && from.ToZone != schema.ZoneHost
	var out []*schema.Grant
	for _, r := range p.Rules {
		if g := from; r.into(&g) {
			out = append(out, &g)
		}
	}
	return out
}

// into fills in what a rule matches; false for one that no grant is.
func (r *ruleXML) into(g *schema.Grant) bool {
	if r.Accept == nil || len(r.Accept.Others) > 0 || len(r.Others) > 0 || r.Priority != 0 {
		return false
	}
	family, ok := map[string]string{"": "", "ipv4": "ip", "ipv6": "ip6"}[r.Family]
	if !ok {
		return false
	}
	g.Family = family
	if g.Src, ok = r.Source.prefix(); !ok {
		return false
	}
	if g.Dst, ok = r.Destination.prefix(); !ok {
		return false
	}
	switch {
	case r.Port != nil && r.Protocol != nil:
		return false
	case r.Port != nil:
		g.Proto = r.Port.Protocol
		g.Ports, ok = portRange(r.Port.Port)
		return ok
	case r.Protocol != nil:
		g.Proto = strings.TrimPrefix(r.Protocol.Value, "ipv6-")
	}
	return true
}

// prefix is the address of one end; the zero Prefix for any. false: it is told by something else.
func (e *endXML) prefix() (netip.Prefix, bool) {
	if e == nil {
		return netip.Prefix{}, true
	}
	if e.Address == "" || len(e.Others) > 0 {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(e.Address)
	if err != nil {
		a, err := netip.ParseAddr(e.Address)
		if err != nil {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Bits() == 0 {
		return netip.Prefix{}, true
	}
	return p.Masked(), true
}

func portRange(text string) (schema.PortRange, bool) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	return schema.PortRange{First: uint16(first), Last: uint16(last)}, err1 == nil && err2 == nil && first > 0
}

// zoneXML is a file of zones, firewalld.zone(5), kept as it is but for what is ours to say.
type zoneXML struct {
	XMLName    xml.Name   `xml:"zone"`
	Attrs      []xml.Attr `xml:",any,attr"`
	Short      string     `xml:"short"`
	Descr      string     `xml:"description"`
	Interfaces []nameXML  `xml:"interface"`
	Sources    []rawXML   `xml:"source"`
	Forward    *struct{}  `xml:"forward"`
	Rest       []rawXML   `xml:",any"`
}

// rawXML is an element that is passed on.
type rawXML struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Inner   string     `xml:",innerxml"`
}

// zoneFor makes of the zone that an interface falls into one for it alone: the same in all that the host may be asked, but
// for packets from one interface of the zone to another.
func zoneFor(file []byte, device string) ([]byte, error) {
	var z zoneXML
	if err := xml.Unmarshal(file, &z); err != nil {
		return nil, fmt.Errorf("read zone: %w", err)
	}
	z.Descr = fmt.Sprintf("A copy of %s for %s alone, made by vmnet; it goes with the last policy that needs it.", z.Short, device)
	z.Short = schema.AliasFor(device)
	z.Interfaces, z.Sources, z.Forward = []nameXML{{device}}, nil, nil
	b, err := xml.MarshalIndent(z, "", "  ")
	return append([]byte(xml.Header), b...), err
}
