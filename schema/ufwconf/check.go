package ufwconf

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// names are the characters of an interface name that ufw takes.
const names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.+,=%@"

// Check says why ufw would not take a grant (common.py, UFWRule; parser.py), or would take it for more than it says: both
// families, or both protocols. The error is fs.ErrInvalid.
func Check(g *schema.Grant) error {
	for _, name := range []string{g.In, g.Out} {
		if strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(names, r) }) || len(name) > 15 {
			return fmt.Errorf("ufw does not take the interface name %q: %w", name, fs.ErrInvalid)
		}
	}
	v6 := g.Family == "ip6"
	switch {
	case g.Family != "ip" && !v6:
		return fmt.Errorf("a grant of ufw is of one family: %w", fs.ErrInvalid)
	case (g.Src.IsValid() && g.Src.Addr().Is6() != v6) || (g.Dst.IsValid() && g.Dst.Addr().Is6() != v6):
		return fmt.Errorf("its addresses are not of family %s: %w", g.Family, fs.ErrInvalid)
	case g.Proto != "" && g.Proto != "tcp" && g.Proto != "udp":
		return fmt.Errorf("ufw has no rules for protocol %s: %w", g.Proto, fs.ErrInvalid)
	case g.Ports != (schema.PortRange{}) && (g.Proto == "" || g.Ports.First == 0 || g.Ports.Last < g.Ports.First):
		return fmt.Errorf("ufw does not take the ports %s of protocol %q: %w", g.Ports, g.Proto, fs.ErrInvalid)
	case g.Out != "" && g.In != "" && !g.Forward:
		return fmt.Errorf("only routed packets come in and leave by interfaces: %w", fs.ErrInvalid)
	case strings.ContainsAny(g.Address, "'\n"):
		return fmt.Errorf("ufw does not take a comment with a quote in it: %w", fs.ErrInvalid)
	}
	return nil
}
