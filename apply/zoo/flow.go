package zoo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// When a flow passes.
const (
	OK     = "ok"     // always
	Broken = "broken" // not while the fault is there
	Never  = "never"  // at no time
	Unsure = "unsure" // as Broken, but not asked while the fault is there: there it hangs on who spoke last
)

// Any stands for every machine, or every protocol.
const Any = "*"

// Flow is a question that one machine of the world puts to another, and when it is answered.
type Flow struct {
	// From and To name a guest, "host", "lan", or, as To, "internet", "internet6" or an address.
	From, To string
	Proto    string // "tcp", "udp" or "icmp"
	Port     uint16
	As       string // the address that the server must see; "" for any
	Size     int    // bytes sent and sent back over a connection; 0 for a greeting only
	When     string
}

// parseFlows reads lines "FROM > TO [PROTO[/PORT]] [size BYTES] [as ADDRESS][: WHEN]".
func parseFlows(text string) (out []Flow, err error) {
	for line := range lines(text) {
		f := Flow{When: OK}
		if i := strings.LastIndex(line, ": "); i > 0 {
			f.When, line = strings.TrimSpace(line[i+2:]), line[:i]
		}
		words := strings.Fields(line)
		if len(words) == 3 {
			words = append(words, Any)
		}
		if len(words) < 4 || len(words)%2 != 0 || words[1] != ">" || !slices.Contains([]string{OK, Broken, Never, Unsure}, f.When) {
			return nil, fmt.Errorf("want FROM > TO PROTO/PORT: ok, broken, never or unsure, have %q", line)
		}
		f.From, f.To = words[0], words[2]
		proto, port, hasPort := strings.Cut(words[3], "/")
		f.Proto = proto
		if hasPort {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("port of %q: %w", line, err)
			}
			f.Port = uint16(n)
		}
		if hasPort && proto != "tcp" && proto != "udp" || !slices.Contains([]string{Any, "tcp", "udp", "icmp"}, proto) {
			return nil, fmt.Errorf("want tcp/PORT, udp/PORT or icmp, have %q", words[3])
		}
		for i := 4; i < len(words); i += 2 {
			switch words[i] {
			case "as":
				f.As = words[i+1]
			case "size":
				if f.Size, err = strconv.Atoi(words[i+1]); err != nil {
					return nil, fmt.Errorf("size of %q: %w", line, err)
				}
			default:
				return nil, fmt.Errorf("unknown word %q in %q", words[i], line)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// Fits tells whether what f says of a flow is said of g. Any fits everything, and so does a port, a size or an address that f
// does not name.
func (f Flow) Fits(g Flow) bool {
	return fits(f.From, g.From) && fits(f.To, g.To) && fits(f.Proto, g.Proto) && (f.Port == 0 || f.Port == g.Port) &&
		(f.Size == 0 || f.Size == g.Size) && (f.As == "" || f.As == g.As)
}

func fits(pattern, s string) bool { return pattern == Any || pattern == s }

// Pattern tells whether f speaks of other flows only, and asks nothing itself.
func (f Flow) Pattern() bool { return f.From == Any || f.To == Any || f.Proto != "icmp" && f.Port == 0 }

func (f Flow) String() string {
	s := f.From + " > " + f.To + " " + f.Proto
	if f.Port != 0 {
		s += "/" + strconv.Itoa(int(f.Port))
	}
	if f.Size != 0 {
		s += fmt.Sprintf(" size %d", f.Size)
	}
	if f.As != "" {
		s += " as " + f.As
	}
	return s
}
