package nftconf

import (
	"net/netip"
	"slices"
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

// Normal is a rule in one form for all its spellings that this package knows: without counters and comments, sets sorted,
// sets of one as that one, prefixes masked, the best known ports as numbers.
func Normal(family, text string) string {
	w := words(text)
	w = without(w)
	w = sets(w)
	w = lists(w)
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
		case c == '{' || c == '}' || c == ',':
			end()
			out = append(out, string(c))
		default:
			b.WriteByte(c)
		}
	}
	end()
	return out
}

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
		case w[i] == "meta" && i+1 < len(w) && slices.Contains([]string{"iifname", "oifname", "iif", "oif"}, w[i+1]):
		default:
			out = append(out, w[i])
		}
	}
	return out
}

// sets sorts the elements of nameless sets, and opens sets of one. Maps are left as they are.
func sets(w []string) []string {
	var out []string
	for i := 0; i < len(w); i++ {
		end := -1
		if w[i] == "{" {
			end = slices.Index(w[i:], "}")
		}
		if end < 0 || slices.Contains(w[i:i+end], ":") || slices.Contains(w[i+1:i+end], "{") {
			out = append(out, w[i])
			continue
		}
		var elements []string
		for e := range strings.SplitSeq(strings.Join(w[i+1:i+end], " "), ",") {
			if e = strings.TrimSpace(e); e != "" {
				elements = append(elements, service(e))
			}
		}
		slices.Sort(elements)
		if len(elements) == 1 {
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

// value brings a prefix or a port into the form in which nft lists it.
func value(w []string, i int) string {
	if i > 0 && (w[i-1] == "dport" || w[i-1] == "sport" || w[i-1] == "!=") {
		return service(w[i])
	}
	if w[i] == "ne" {
		return "!="
	}
	return address(w[i])
}

func address(s string) string {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return s
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.Masked().String()
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

// reject leaves out the answer that a reject of this family gives by itself, and the old word "type".
func reject(family, text string) string {
	for _, kind := range []string{"icmpx", "icmpv6", "icmp"} {
		text = strings.Replace(text, "reject with "+kind+" type ", "reject with "+kind+" ", 1)
	}
	own := map[string]string{"ip": "icmp", "ip6": "icmpv6", "inet": "icmpx", "bridge": "icmpx", "netdev": "icmpx"}[family]
	return strings.Replace(text, "reject with "+own+" port-unreachable", "reject", 1)
}
