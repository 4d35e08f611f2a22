package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
	"github.com/vmnet/vmnet/schema/nftconf"
)

// Saved rules are read in order, for what an earlier one lets through a later one does not stop. A rule that is not
// understood ends the reading of its chain: what comes after it is not judged.

// savedLines reads the rules of the filter table's builtin chains in the text of iptables-save. Those that drop and are
// live are left out: they are looked at with the live rules.
func savedLines(f *schema.File, family string, live map[string]bool) []savedRule {
	var out []savedRule
	clouded := map[string]bool{}
	table := ""
	for i, l := range strings.Split(f.Content, "\n") {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "*"); ok {
			table = name
		}
		if _, rest, ok := strings.Cut(l, "] "); ok && strings.HasPrefix(l, "[") {
			l = rest // iptables-save -c puts counters in front
		}
		rest, ok := strings.CutPrefix(l, "-A ")
		chain, text, _ := strings.Cut(rest, " ")
		if !ok || table != "filter" || clouded[chain] || !slices.Contains([]string{"INPUT", "FORWARD", "OUTPUT"}, chain) {
			continue
		}
		s := savedRule{file: f, line: i, family: family, table: table, chain: chain, hook: strings.ToLower(chain), text: strings.TrimSpace(text), alone: true}
		isLive := live[place(family, table, chain, s.text)]
		if isLive && strings.Contains(s.text, "-j DROP") {
			continue
		}
		words, err := iptspec.Split(s.text)
		exprs, verdict := savedMatch(words, family)
		switch {
		case err != nil || verdict == "":
			clouded[chain] = !isLive || !strings.Contains(s.text, "-j REJECT")
		case verdict == "continue" || isLive && verdict == "drop":
		default:
			s.done(exprs, verdict)
			out = append(out, s)
		}
	}
	return out
}

// done gives a rule its bytecode.
func (s *savedRule) done(exprs []schema.Expr, verdict string) {
	s.drops = verdict == "drop"
	s.rule = schema.Rule{Text: s.text, Exprs: append(exprs, schema.Expr{Name: "immediate", Verdict: &schema.Verdict{Kind: verdict}})}
}

// savedNft reads the rules of base chains of type filter in the files of nft(8), where they are written in words that
// savedMatch has its like of. Rules that are live are left out.
func savedNft(s *schema.State) []savedRule {
	files := nftFiles(s)
	defs := definesOf(files)
	hooks := map[string]string{}
	for _, f := range files {
		for _, b := range nftconf.Bases(f.Content) {
			if b.Type == "filter" {
				hooks[b.Family+" "+b.Table+" "+b.Chain] = b.Hook
			}
		}
	}
	var out []savedRule
	clouded := map[string]bool{}
	for _, f := range files {
		for _, r := range nftconf.Rules(f.Content, defs) {
			where := r.Family + " " + r.Table + " " + r.Chain
			hook := hooks[where]
			if clouded[where] || !slices.Contains([]string{"input", "forward", "output"}, hook) || !slices.Contains([]string{"ip", "ip6", "inet"}, r.Family) {
				continue
			}
			n := savedRule{file: f, line: r.Line, family: r.Family, table: r.Table, chain: r.Chain, hook: hook, text: r.Text, alone: r.Alone, nft: true}
			exprs, verdict := savedNftMatch(r.Family, r.Text)
			switch {
			case verdict == "" || strings.HasPrefix(strings.TrimSpace(r.Lead), "insert"):
				clouded[where] = true
			case verdict == "drop" && liveNft(s, r):
			default:
				n.done(exprs, verdict)
				out = append(out, n)
			}
		}
	}
	return out
}

// liveNft tells whether a rule of a file is live, in whatever words.
func liveNft(s *schema.State, r nftconf.Rule) bool {
	t, _ := s.Get(schema.TableRef(r.Family, r.Table)).(*schema.Table)
	if t == nil || t.Chain(r.Chain) == nil {
		return false
	}
	want := nftconf.Normal(r.Family, r.Text)
	return slices.ContainsFunc(t.Chain(r.Chain).Rules, func(l *schema.Rule) bool { return nftconf.Normal(r.Family, l.Text) == want })
}

// savedNftMatch reads a rule of nft in the words in which most are written: interfaces, addresses, protocol, ports, and
// connection state. The verdict is "" when there is more to it.
func savedNftMatch(family, text string) ([]schema.Expr, string) {
	m := savedWords{family: family, inet: family == "inet"}
	w := strings.Fields(nftconf.Normal(family, text))
	for len(w) > 0 {
		switch w[0] {
		case "drop", "accept":
			if len(w) == 1 {
				return m.exprs, w[0]
			}
			return nil, ""
		case "reject":
			return m.exprs, "drop"
		}
		n := m.nft(w)
		if n == 0 {
			return nil, ""
		}
		w = w[n:]
	}
	return nil, ""
}

// nft reads one match, and tells how many words it took; 0 for one that is not known.
func (w *savedWords) nft(words []string) int {
	n := 1
	if slices.Contains([]string{"ip", "ip6", "tcp", "udp", "ct", "meta"}, words[0]) {
		n = 2
	}
	not := len(words) > n && words[n] == "!="
	value := n
	if not {
		value++
	}
	if len(words) <= value {
		return 0
	}
	v := words[value]
	ok := false
	switch strings.Join(words[:n], " ") {
	case "iifname", "oifname":
		ok = !strings.Contains(v, "{") && w.link(words[0], strings.Replace(v, "*", "+", 1), not)
	case "ip saddr", "ip6 saddr":
		ok = w.nftAddress(words[0], v, 12, 8, not)
	case "ip daddr", "ip6 daddr":
		ok = w.nftAddress(words[0], v, 16, 24, not)
	case "meta l4proto", "ip protocol":
		ok = !strings.Contains(v, "{") && w.protocol(v, not) && (words[0] == "meta" || w.speaks("ip"))
	case "tcp dport", "udp dport":
		ok = w.nftPorts(words[0], v, 2, not)
	case "tcp sport", "udp sport":
		ok = w.nftPorts(words[0], v, 0, not)
	case "ct state":
		ok = !strings.Contains(v, "{") && w.states(strings.ToUpper(v), not)
	}
	if !ok {
		return 0
	}
	return value + 1
}

// speaks narrows a rule of family inet to one of IPv4 and IPv6.
func (w *savedWords) speaks(family string) bool {
	if w.inet && w.family == "inet" {
		w.family = family
		number := map[string]byte{"ip": 2, "ip6": 10}[family] // NFPROTO_IPV4, NFPROTO_IPV6
		w.exprs = append(w.exprs, schema.Expr{Name: "meta", Key: "nfproto", DReg: reg1}, schema.Expr{Name: "cmp", SReg: reg1, Op: "eq", Data: []byte{number}})
	}
	return w.family == family
}

func (w *savedWords) nftAddress(family, value string, off4, off6 uint32, not bool) bool {
	if strings.ContainsAny(value, "{@$&") || !w.speaks(family) {
		return false
	}
	if p, ok := prefixBetween(value); ok {
		value = p.String()
	}
	if strings.Contains(value, "-") {
		return w.addresses(value, off4, off6, not)
	}
	return w.prefix(value, off4, off6, not)
}

// prefixBetween is the prefix that a range of addresses is, if it is one.
func prefixBetween(value string) (netip.Prefix, bool) {
	first, last, ranged := strings.Cut(value, "-")
	lo, errLo := netip.ParseAddr(first)
	hi, errHi := netip.ParseAddr(last)
	if !ranged || errLo != nil || errHi != nil {
		return netip.Prefix{}, false
	}
	for bits := lo.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(lo, bits)
		if p.Masked().Addr() != lo {
			return netip.Prefix{}, false
		}
		if p.Contains(hi) {
			return p, !p.Contains(hi.Next())
		}
	}
	return netip.Prefix{}, false
}

func (w *savedWords) nftPorts(proto, value string, off uint32, not bool) bool {
	if strings.ContainsAny(value, "@$&") || !w.protocol(proto, false) {
		return false
	}
	return w.ports(strings.ReplaceAll(strings.Trim(value, "{}"), "-", ":"), off, not)
}
