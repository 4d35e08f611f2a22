package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/schema"
)

// watches makes what is followed: sessions, own ones first, with new logins from the same places; protect blocks; default
// gateways.
func (g *guard) watches(sessions []schema.Session) {
	ordered := slices.Clone(sessions)
	slices.SortStableFunc(ordered, func(a, b schema.Session) int {
		switch {
		case a.Own == b.Own:
			return 0
		case a.Own:
			return -1
		}
		return 1
	})
	st := g.stage(g.live)
	for i := range ordered {
		g.session(st, &ordered[i])
	}
	g.protects()
	g.gateways()
}

func (g *guard) add(w *watch) {
	w.settle(g.live)
	g.watched = append(g.watched, w)
}

// spoken is what people call the connection: "ssh".
func spoken(s *schema.Session) string {
	if s.Server == "sshd" || s.Server == "sshd-session" || s.Server == "" && s.Proto == "tcp" && s.Local.Port() == 22 {
		return "ssh"
	}
	return cmp.Or(s.Server, s.Proto)
}

func (g *guard) session(st *stage, s *schema.Session) {
	local, peer := s.Local.Addr().Unmap().WithZone(""), s.Peer.Addr().Unmap().WithZone("")
	if !local.IsValid() {
		return
	}
	if !peer.IsValid() || local.IsUnspecified() {
		g.listening(s, local)
		return
	}
	from := g.entries(st, peer, local)
	r := reach{rules: true, from: from, addrs: append([]netip.Addr{peer, local}, g.hops(st, local, peer)...), local: local}
	flow := trace.Flow{Src: peer, Dst: local, Proto: s.Proto, SrcPort: s.Peer.Port(), DstPort: s.Local.Port(), Local: true}
	known := st.walker().Tracks(local.Is6())
	g.add(&watch{
		Guarded: Guarded{Kind: "session", Name: fmt.Sprintf("%s %s -> %s", spoken(s), netip.AddrPortFrom(peer, s.Peer.Port()), netip.AddrPortFrom(local, s.Local.Port())), Session: s},
		reach:   r,
		ask: alive(from, func(link string) func(*stage) sight {
			return func(st *stage) sight { return standing(st, flow, link, known) }
		}),
	})
	if s.Proto != "tcp" {
		return
	}
	name := fmt.Sprintf("new logins %s -> %s", peer, netip.AddrPortFrom(local, s.Local.Port()))
	if slices.ContainsFunc(g.watched, func(w *watch) bool { return w.Kind == "login" && w.Name == name }) {
		return // an own one comes first
	}
	g.add(&watch{
		Guarded: Guarded{Kind: "login", Name: name, Session: s}, reach: r,
		ask: alive(from, func(link string) func(*stage) sight {
			a := &answered{q: trace.Query{
				From: link, Src: peer, SrcSet: []netip.Prefix{netip.PrefixFrom(peer, peer.BitLen())}, Dst: local, Local: true,
				Service: schema.Service{Proto: "tcp", Ports: []schema.PortRange{{First: s.Local.Port(), Last: s.Local.Port()}}},
			}}
			return a.sight
		}),
	})
}

// listening guards a server whose client's address the kernel does not know: everybody outside must reach its port.
func (g *guard) listening(s *schema.Session, local netip.Addr) {
	to := schema.Endpoint{Kind: "host"}
	if !local.IsUnspecified() {
		to = schema.Endpoint{Kind: "prefix", Prefixes: []netip.Prefix{netip.PrefixFrom(local, local.BitLen())}}
	}
	goal := schema.Goal{From: schema.Endpoint{Kind: "outside"}, To: to, Allow: true, Service: schema.Service{
		Proto: s.Proto, Ports: []schema.PortRange{{First: s.Local.Port(), Last: s.Local.Port()}},
	}}
	g.goal(Guarded{Kind: "session", Name: fmt.Sprintf("%s at %s, from outside", spoken(s), s.Local), Session: s}, &goal)
}

// alive asks by every link that packets may come in by. What gets through now comes by one of those by which it can; where
// these differ later, it depends on which it is.
func alive(from []string, by func(link string) func(*stage) sight) func(*stage) sight {
	ways := make([]func(*stage) sight, len(from))
	for i, link := range from {
		ways[i] = by(link)
	}
	first := true
	return func(st *stage) sight {
		all := make([]sight, len(ways))
		for i, ask := range ways {
			all[i] = ask(st)
		}
		if passes := func(s sight) bool { return s.verdict == trace.Pass }; first && slices.ContainsFunc(all, passes) {
			n := 0
			kept := make([]string, 0, len(from))
			for i, s := range all {
				if passes(s) {
					all[n], ways[n] = s, ways[i]
					kept = append(kept, from[i])
					n++
				}
			}
			all, ways, from = all[:n], ways[:n], kept
		}
		first = false
		return together(from, all)
	}
}

// together makes one sight of those by several links.
func together(from []string, all []sight) sight {
	out := all[0]
	for i, s := range all {
		if s.verdict == out.verdict {
			continue
		}
		if s.verdict == trace.Pass {
			s.why = out.why
		}
		why := fmt.Sprintf("packets may come in by %s or %s: %s", orHost(from[0]), orHost(from[i]), s.why)
		return sight{verdict: trace.Depends, key: "link", why: why, via: out.via}
	}
	return out
}

func orHost(link string) string {
	if link == "" {
		return "the host itself"
	}
	return link
}

// standing is how a connection that exists fares. One that began before any rule asked conntrack is perhaps not known to it
// when a rule of the plan does.
func standing(st *stage, f trace.Flow, link string, known bool) sight {
	f.From = link
	w := st.walker()
	res := w.Standing(f)
	out := seen(st, res)
	if known || out.verdict != trace.Pass {
		return out
	}
	if f.Proto == "tcp" && w.Tracks(f.Dst.Is6()) && strictTCP(st.state) {
		const why = "conntrack did not see this connection begin, and " + tcpLoose + " is 0: its packets are invalid to it"
		return sight{verdict: trace.Depends, key: why, why: why, via: out.via}
	}
	if again := seen(st, w.PickedUp(f)); again.verdict != trace.Pass {
		why := "conntrack did not see this connection begin: as a new one, " + again.why
		return sight{verdict: trace.Depends, key: why, why: why, via: out.via}
	}
	return out
}

// tcpLoose is the setting that lets conntrack take up connections in their midst; it is on unless somebody set it to 0
// (Documentation/networking/nf_conntrack-sysctl.rst).
const tcpLoose = "net.netfilter.nf_conntrack_tcp_loose"

func strictTCP(s *schema.State) bool {
	o, ok := s.Get(schema.SysctlRef(tcpLoose)).(*schema.Sysctl)
	return ok && o.Value == "0"
}
