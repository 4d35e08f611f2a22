package nftconf

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Defines are the values of files' "define NAME = value". A name with more than one value has none here: which of them a
// rule means is not looked into.
func Defines(contents ...string) map[string]string {
	out, twice := map[string]string{}, map[string]bool{}
	for _, content := range contents {
		for _, s := range statements(content) {
			rest, ok := strings.CutPrefix(s.text, "define ")
			if r, again := strings.CutPrefix(s.text, "redefine "); again {
				rest, ok = r, true
			}
			name, value, has := strings.Cut(rest, "=")
			name, value = strings.TrimSpace(name), strings.TrimSpace(value)
			if !ok || !has {
				continue
			}
			if old, known := out[name]; known && old != value {
				twice[name] = true
			}
			out[name] = value
		}
	}
	for name := range twice {
		delete(out, name)
	}
	return out
}

// longRule is the length from which on a rule is not looked into: defines of defines grow without end.
const longRule = 1 << 16

// expand puts defines in place; those of defines too, to a depth that no file of a person reaches.
func expand(text string, defs map[string]string) string {
	for range 8 {
		if !strings.Contains(text, "$") || len(text) > longRule {
			break
		}
		var b strings.Builder
		for text != "" {
			before, after, found := strings.Cut(text, "$")
			b.WriteString(before)
			if !found {
				break
			}
			n := 0
			for n < len(after) && isName(after[n]) {
				n++
			}
			if v, ok := defs[after[:n]]; ok && b.Len()+len(v) < longRule {
				b.WriteString(v)
			} else {
				b.WriteString("$" + after[:n])
			}
			text = after[n:]
		}
		text = b.String()
	}
	return text
}

func isName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Normal is a rule in one form for all its spellings that this package knows: without counters and comments, sets sorted and
// their intervals joined, sets of one as that one, prefixes as ranges, the best known ports as numbers.
func Normal(family, text string) string {
	w := words(text)
	w = without(w)
	w = lists(flags(sets(w)))
	for i := range w {
		w[i] = value(w, i)
	}
	w = slices.DeleteFunc(w, func(s string) bool { return s == "==" || s == "eq" || s == "" })
	return reject(family, strings.Join(w, " "))
}

// words cuts a rule at white space, commas and braces. Quotes only hold together.
func words(text string) []string {
	var out []string
	var b strings.Builder
	quoted := false
	end := func() {
		if b.Len() > 0 {
			out = append(out, b.String())
			b.Reset()
		}
	}
	for _, c := range []byte(text) {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
			b.WriteByte(c)
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			end()
		case c == '{' || c == '}' || c == ',' || c == '|' || c == '&' || c == '(' || c == ')':
			end()
			out = append(out, string(c))
		default:
			b.WriteByte(c)
		}
	}
	end()
	return out
}

// bare are keys of meta that may stand without the word (nft(8), META EXPRESSIONS).
var bare = []string{"iifname", "oifname", "iif", "oif", "iiftype", "oiftype", "iifgroup", "oifgroup", "mark", "pkttype", "skuid", "skgid", "cpu", "rtclassid"}

// without leaves out what does not change what a rule does to packets: counters and comments.
func without(w []string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		switch {
		case w[i] == "comment" && i+1 < len(w):
			i++
		case w[i] == "counter" && i+1 < len(w) && w[i+1] == "name":
			out = append(out, w[i])
		case w[i] == "counter":
			if i+4 < len(w) && w[i+1] == "packets" && w[i+3] == "bytes" {
				i += 4
			}
		case w[i] == "meta" && i+1 < len(w) && slices.Contains(bare, w[i+1]):
		default:
			out = append(out, w[i])
		}
	}
	return out
}

// sets sorts the elements of nameless sets, joins those that touch, and opens sets of one. Of maps it only sorts them.
func sets(w []string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		end := -1
		if w[i] == "{" {
			end = slices.Index(w[i:], "}")
		}
		if end < 0 || slices.Contains(w[i+1:i+end], "{") {
			out = append(out, w[i])
			continue
		}
		var elements []string
		for e := range strings.SplitSeq(strings.Join(w[i+1:i+end], " "), ",") {
			if e = strings.TrimSpace(e); e != "" {
				elements = append(elements, service(e))
			}
		}
		elements = joined(elements)
		if len(elements) == 1 && !strings.Contains(elements[0], " : ") {
			out = append(out, elements[0])
		} else {
			out = append(out, "{"+strings.Join(elements, ",")+"}")
		}
		i += end
	}
	return out
}

// lists sorts "established,related".
func lists(w []string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		if i+2 >= len(w) || w[i+1] != "," {
			out = append(out, w[i])
			continue
		}
		list := []string{w[i]}
		for i+2 < len(w) && w[i+1] == "," {
			list = append(list, w[i+2])
			i += 2
		}
		slices.Sort(list)
		out = append(out, strings.Join(list, ","))
	}
	return out
}

// value brings a prefix, a port, a mark or a MAC address into one form.
func value(w []string, i int) string {
	switch {
	case w[i] == "ne":
		return "!="
	case i > 0 && (w[i-1] == "dport" || w[i-1] == "sport" || w[i-1] == "!="):
		return service(w[i])
	case strings.HasPrefix(w[i], "0x"):
		if n, err := strconv.ParseUint(w[i], 0, 64); err == nil {
			return strconv.FormatUint(n, 10)
		}
	}
	if mac, err := net.ParseMAC(w[i]); err == nil {
		return mac.String()
	}
	return address(w[i])
}

// address writes an address, a prefix or a range of addresses as a range.
func address(s string) string {
	if lo, hi, ok := ends(s); ok {
		return between(lo, hi)
	}
	return s
}

func between(lo, hi netip.Addr) string {
	if lo == hi {
		return lo.String()
	}
	return lo.String() + "-" + hi.String()
}

// ends are the first and the last address of an address, a prefix, or a range.
func ends(s string) (lo, hi netip.Addr, ok bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		b := p.Masked().Addr().AsSlice()
		for bit := p.Bits(); bit < len(b)*8; bit++ {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
		last, _ := netip.AddrFromSlice(b)
		return p.Masked().Addr(), last, true
	}
	first, rest, ranged := strings.Cut(s, "-")
	if !ranged {
		rest = first
	}
	lo, errLo := netip.ParseAddr(first)
	hi, errHi := netip.ParseAddr(rest)
	return lo, hi, errLo == nil && errHi == nil && lo.Is4() == hi.Is4() && !hi.Less(lo)
}

// span is an interval of addresses, or of ports, which then stand in the last two bytes of an IPv4 address.
type span struct {
	lo, hi netip.Addr
	port   bool
}

func spanOf(s string) (span, bool) {
	if lo, hi, ok := ends(s); ok {
		return span{lo, hi, false}, true
	}
	first, rest, ranged := strings.Cut(s, "-")
	if !ranged {
		rest = first
	}
	lo, errLo := strconv.ParseUint(first, 10, 16)
	hi, errHi := strconv.ParseUint(rest, 10, 16)
	asAddr := func(n uint64) netip.Addr { return netip.AddrFrom4([4]byte{0, 0, byte(n >> 8), byte(n)}) }
	return span{asAddr(lo), asAddr(hi), true}, errLo == nil && errHi == nil && lo <= hi
}

func (s span) String() string {
	if !s.port {
		return between(s.lo, s.hi)
	}
	number := func(a netip.Addr) string { b := a.As4(); return strconv.Itoa(int(b[2])<<8 | int(b[3])) }
	if s.lo == s.hi {
		return number(s.lo)
	}
	return number(s.lo) + "-" + number(s.hi)
}

// joined sorts elements; where all are intervals of addresses or ports, those that touch become one.
func joined(elements []string) []string {
	var spans []span
	for _, e := range elements {
		s, ok := spanOf(e)
		if !ok {
			slices.Sort(elements)
			return elements
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int { return a.lo.Compare(b.lo) })
	var out []span
	for _, s := range spans {
		if n := len(out) - 1; n >= 0 && out[n].port == s.port && out[n].lo.Is4() == s.lo.Is4() && (s.lo.Compare(out[n].hi) <= 0 || s.lo == out[n].hi.Next()) {
			if out[n].hi.Less(s.hi) {
				out[n].hi = s.hi
			}
			continue
		}
		out = append(out, s)
	}
	var text []string
	for _, s := range out {
		text = append(text, s.String())
	}
	return text
}

// services are the ports that people write by name (services(5)); nft lists numbers.
var services = map[string]string{
	"ftp": "21", "ssh": "22", "telnet": "23", "smtp": "25", "domain": "53", "bootps": "67", "bootpc": "68", "http": "80",
	"ntp": "123", "imap2": "143", "snmp": "161", "https": "443", "imaps": "993", "mysql": "3306", "postgresql": "5432",
}

func service(s string) string {
	if n, ok := services[s]; ok {
		return n
	}
	return address(s)
}

// flags writes "flags & (fin|syn) == syn" as "flags syn / fin,syn" (nft(8), TCP HEADER EXPRESSION).
func flags(w []string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		end := slices.Index(w[i:], ")")
		if i == 0 || w[i-1] != "flags" || w[i] != "&" || i+1 >= len(w) || w[i+1] != "(" || end < 0 || i+end+1 >= len(w) {
			out = append(out, w[i])
			continue
		}
		i += end + 1
		for w[i] == "==" && i+1 < len(w) {
			i++
		}
		mask := slices.DeleteFunc(slices.Clone(w[i-end:i]), func(s string) bool { return strings.Contains("&|()==", s) })
		slices.Sort(mask)
		out = append(out, w[i], "/", strings.Join(mask, ","))
	}
	return out
}

// reject leaves out the answer that a reject of this family gives by itself, the old word "type", and the protocol that a
// reset implies.
func reject(family, text string) string {
	if !strings.Contains(text, "reject with") {
		return text
	}
	for _, kind := range []string{"icmpx", "icmpv6", "icmp"} {
		text = strings.Replace(text, "reject with "+kind+" type ", "reject with "+kind+" ", 1)
	}
	if strings.HasSuffix(text, "reject with tcp reset") {
		return strings.Replace(text, "meta l4proto tcp ", "", 1)
	}
	own := []string{map[string]string{"ip": "icmp", "ip6": "icmpv6"}[family]}
	if family != "ip" && family != "ip6" { // what of the family the rule is narrowed to, nft lists as that family's own
		own = []string{"icmpx"}
		switch padded := " " + text; {
		case strings.Contains(padded, " ip6 "):
			own = append(own, "icmpv6")
		case strings.Contains(padded, " ip "):
			own = append(own, "icmp")
		}
	}
	for _, kind := range own {
		text = strings.Replace(text, "reject with "+kind+" port-unreachable", "reject", 1)
	}
	return text
}
