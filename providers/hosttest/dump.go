package hosttest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Dump is a state as text: one object per line, its kind and then its JSON, sorted, with all it has. ParseDump reads it back.
// Lines that begin with # say in the words of ip(8) and nft(8) what follows.
//
//	# br0 type bridge mtu 1500 address 02:00:00:00:00:01 stp off up
//	link {"name":"br0","type":"bridge", …}
func Dump(s *schema.State) (string, error) {
	var b strings.Builder
	for o := range s.All() {
		text, err := json.Marshal(o)
		if err != nil {
			return "", fmt.Errorf("dump %s: %w", o.Ref(), err)
		}
		fmt.Fprintf(&b, "# %s\n%s %s\n", o, o.Ref().Kind, text)
	}
	return b.String(), nil
}

// ParseDump reads what Dump writes. Blank lines and lines that begin with # do not count; all wrong lines are named.
func ParseDump(text string) (*schema.State, error) {
	s := &schema.State{}
	var errs []error
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		kind, data, _ := strings.Cut(line, " ")
		o := schema.New(schema.Kind(kind))
		if o == nil {
			errs = append(errs, fmt.Errorf("line %d: unknown kind %q", n, kind))
			continue
		}
		if err := json.Unmarshal([]byte(data), o); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %s: %w", n, kind, err))
			continue
		}
		s.Put(o)
	}
	errs = append(errs, lines.Err())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// Brief is a state in the words of ip(8) and nft(8), one object per line, for the eye and for comparing: without facts,
// without the loopback and without what the kernel has by itself for a new namespace.
func Brief(s *schema.State) string {
	var b strings.Builder
	for o := range s.All() {
		switch v := o.(type) {
		case *schema.Sysctl, *schema.FDBEntry, *schema.Listener, *schema.PolicyRule:
			continue
		case *schema.Link:
			if v.Type == "loopback" {
				continue
			}
		case *schema.Address:
			if v.Link == "lo" {
				continue
			}
		case *schema.Route:
			if v.Link == "lo" {
				continue
			}
		}
		fmt.Fprintf(&b, "%s %s\n", o.Ref().Kind, o)
	}
	return b.String()
}
