package managers

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// tuple is one rule as ufw keeps it (backend_iptables.py, _read_rules):
//
//	### tuple ### [route:]action[_log] proto dport dst sport src [dapp sapp] [direction] [comment=hex]
//
// where direction is "in", "out", "in_IF", "out_IF" or "in_IF!out_IF". The rule as iptables takes it follows in the lines
// after it.
type tuple struct {
	line   string
	action string
	sport  string
	dport  string
	dir    string // "in" or "out"
	app    bool   // made of an application profile
	mark   string // our address, "" for none
	known  bool   // nothing in it was strange
	flow   schema.Grant
}

const tupleMark = "### tuple ###"

// parseTuples reads the rules out of one of ufw's files. Lines that ufw itself would pass over are passed over.
func parseTuples(content, family, chain string) []tuple {
	var out []tuple
	places := map[string]int{} // rules so far, by chain
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, tupleMark); ok {
			t, ok := parseTuple(strings.TrimSpace(rest), family)
			if !ok {
				continue
			}
			t.flow.Index = len(out) + 1
			t.flow.Place = places[chain+map[bool]string{true: "forward", false: "input"}[t.flow.Forward]]
			out = append(out, t)
			continue
		}
		if words := strings.Fields(line); len(words) > 1 && words[0] == "-A" {
			places[words[1]]++
		}
	}
	return out
}

func parseTuple(text, family string) (tuple, bool) {
	t := tuple{line: text, dir: "in", known: true, flow: schema.Grant{Manager: schema.ManagerUFW, Family: family}}
	body, comment, _ := strings.Cut(text, " comment=")
	f := strings.Fields(body)
	if len(f) < 6 || len(f) > 9 {
		return t, false
	}
	if action, ok := strings.CutPrefix(f[0], "route:"); ok {
		t.flow.Forward, t.action = true, action
	} else {
		t.action = f[0]
	}
	if len(f) == 7 || len(f) == 9 {
		t.direction(f[len(f)-1])
	}
	t.app = len(f) >= 8
	if f[1] != "any" {
		t.flow.Proto = f[1]
	}
	t.dport, t.sport = f[2], f[4]
	t.flow.Dst, t.flow.Src = t.prefix(f[3]), t.prefix(f[5])
	t.flow.Ports = t.ports(f[2])
	if b, err := hex.DecodeString(strings.TrimSpace(comment)); err == nil {
		t.mark, _ = schema.Mark(string(b))
	}
	return t, true
}

func (t *tuple) direction(word string) {
	dir, name, hasName := strings.Cut(word, "_")
	t.dir = dir
	switch {
	case !hasName:
	case dir == "out":
		t.flow.Out = name
	case dir == "in":
		in, rest, both := strings.Cut(name, "!out_")
		t.flow.In = in
		if both {
			t.flow.Out = rest
		}
	default:
		t.known = false
	}
}

func (t *tuple) prefix(word string) netip.Prefix {
	p, err := netip.ParsePrefix(word)
	if err != nil {
		a, err := netip.ParseAddr(word)
		if err != nil {
			t.known = false
			return netip.Prefix{}
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func (t *tuple) ports(word string) schema.PortRange {
	if word == "any" {
		return schema.PortRange{}
	}
	from, to, isRange := strings.Cut(word, ":")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil {
		t.known = false // a list
		return schema.PortRange{}
	}
	return schema.PortRange{First: uint16(first), Last: uint16(last)}
}

// plain tells whether a Grant can say all that the rule matches.
func (t *tuple) plain() bool { return t.known && !t.app && t.sport == "any" && t.dir == "in" }

// grant is the rule as an object of ours; nil for every other.
func (t *tuple) grant() *schema.Grant {
	if t.mark == "" || t.action != "allow" || !t.plain() {
		return nil
	}
	g := t.flow
	g.Address = t.mark
	return &g
}

// sameFlow tells whether ufw takes two rules to be one (common.py, UFWRule.match): by all they match, whatever they do.
func sameFlow(a, b schema.Grant) bool {
	return a.Family == b.Family && a.Forward == b.Forward && a.In == b.In && a.Out == b.Out &&
		a.Src == b.Src && a.Dst == b.Dst && a.Proto == b.Proto && a.Ports == b.Ports
}
