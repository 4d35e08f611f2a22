package schema

import (
	"net/netip"
	"strings"
)

// The managers that a Grant can be asked of.
const (
	ManagerUFW       = "ufw"       // ufw(8)
	ManagerFirewalld = "firewalld" // firewalld(1)
)

// Grant is a permission asked of a firewall manager in its own words, so that it lasts as long as the manager's own rules
// do: it is there or not, nothing in it changes. The manager turns it into rules of its tables; those are not objects of
// their own, plan/sim foresees them. Only grants that bear our mark are objects of a live state: all others are the
// manager's business.
type Grant struct {
	Manager string `json:"manager"` // ManagerUFW or ManagerFirewalld
	// Address is the block it serves, "nat.lab". It is the mark: the manager keeps it as the comment "vmnet:nat.lab".
	Address string `json:"address"`
	// Family is "ip" or "ip6"; "" for both. ufw keeps one rule for each family: there it is always set.
	Family string `json:"family,omitempty"`
	// Forward is true for routed packets, false for packets to the host itself; or, with Out, for those it sends.
	Forward bool   `json:"forward,omitempty"`
	In      string `json:"in,omitempty"` // interfaces as layer 3 sees them; "" for any. They need not exist
	Out     string `json:"out,omitempty"`
	// Zone and ToZone are firewalld's zones that its packets come from and go to, or ZoneAny, ZoneHost. A zone of ours
	// (FirewalldZone) is made with the first grant that needs it, and goes with the last. "" for ufw.
	Zone   string `json:"zone,omitempty"`
	ToZone string `json:"to_zone,omitempty"`
	// Src and Dst narrow it; the zero Prefix is any address of the family.
	Src netip.Prefix `json:"src,omitzero"`
	Dst netip.Prefix `json:"dst,omitzero"`
	// Proto is "tcp", "udp", "icmp" (ICMPv6 in IPv6), or "" for any; ufw knows no icmp.
	Proto string `json:"proto,omitempty"`
	// Ports are of the destination, with tcp or udp; zero for all.
	Ports PortRange `json:"ports,omitzero"`
	// Index is its place among all rules of the manager for the family, counting from 1: where to make it. 0 is the end.
	// Place is the same in the kernel's chain, counting from 0, where Index is above 1. Neither is compared.
	Index int `json:"index,omitempty"`
	Place int `json:"place,omitempty"`
}

// Ref implements Object: "grant/ufw route allow in on virbr-lab from 10.20.0.0/24 to 0.0.0.0/0 comment vmnet:nat.lab".
func (g *Grant) Ref() Ref {
	return Ref{KindGrant, strings.Join(append([]string{g.Manager}, g.words("allow")...), " ")}
}

// Requires implements Object: nothing. A manager takes interfaces that are not there yet, and keeps rules while it is off.
func (g *Grant) Requires() []Ref { return nil }

// String prints what a person would type: "ufw route allow in on virbr-lab from 10.20.0.0/24 to 0.0.0.0/0 comment
// 'vmnet:nat.lab'".
func (g *Grant) String() string {
	if g.Manager == ManagerFirewalld {
		return g.firewallCmd("add")
	}
	return g.typed(g.Add())
}

// Undo prints what a person would type to take it away.
func (g *Grant) Undo() string {
	if g.Manager == ManagerFirewalld {
		return g.firewallCmd("remove")
	}
	return g.typed(g.Remove())
}

func (g *Grant) typed(words []string) string {
	words[len(words)-1] = "'" + words[len(words)-1] + "'"
	return g.Manager + " " + strings.Join(words, " ")
}

// Mark is its comment: "vmnet:nat.lab".
func (g *Grant) Mark() string { return AliasFor(g.Address) }

// Add are the words that ask for it, one by one, without the manager's name (ufw(8), RULE SYNTAX). The last is the
// comment. An Index above 1 is not said: the number ufw wants depends on how many rules of the other family it has.
func (g *Grant) Add() []string {
	if g.Index == 1 {
		return g.words("prepend", "allow")
	}
	return g.words("allow")
}

// Hook is where its packets are let through: "forward", "input" or "output".
func (g *Grant) Hook() string {
	switch {
	case g.Forward:
		return "forward"
	case g.Out != "":
		return "output"
	}
	return "input"
}

// Insert are the words of Add that put it at a place.
func (g *Grant) Insert(number string) []string { return g.words("insert", number, "allow") }

// Remove are the words that take it away again.
func (g *Grant) Remove() []string { return g.words("delete", "allow") }

func (g *Grant) words(verb ...string) []string {
	var w []string
	if g.Forward {
		w = append(w, "route")
	}
	w = append(w, verb...)
	if g.In != "" {
		w = append(w, "in", "on", g.In)
	}
	if g.Out != "" {
		w = append(w, "out", "on", g.Out)
	}
	if g.Proto != "" {
		w = append(w, "proto", g.Proto)
	}
	w = append(w, "from", g.end(g.Src), "to", g.end(g.Dst))
	if g.Ports != (PortRange{}) {
		w = append(w, "port", strings.ReplaceAll(g.Ports.String(), "-", ":"))
	}
	return append(w, "comment", g.Mark())
}

// end names one side. The prefix of length 0 says the family: "any" would be both.
func (g *Grant) end(p netip.Prefix) string {
	switch {
	case p.IsValid() && p.IsSingleIP():
		return p.Addr().String()
	case p.IsValid():
		return p.String()
	case g.Family == "ip":
		return "0.0.0.0/0"
	case g.Family == "ip6":
		return "::/0"
	}
	return "any"
}

func (*Grant) object() {}
