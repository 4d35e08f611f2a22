package trace

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// ruleText is a rule in the words of its tool: what the reader made of it, or, for a rule without a text, a short form in
// the manner of nft(8).
func ruleText(r *schema.Rule) string {
	if r.Text != "" {
		return r.Text
	}
	var words []string
	var t loaded
	for i := range r.Exprs {
		if w := t.read(&r.Exprs[i]); w != "" {
			words = append(words, w)
		}
	}
	if r.Comment != "" {
		words = append(words, "comment "+strconv.Quote(r.Comment))
	}
	return strings.Join(words, " ")
}

// loadText names what an expression loads: "ip saddr", "tcp dport", "iifname".
func loadText(e *schema.Expr) string {
	switch e.Name {
	case "payload":
		return payloadText(e)
	case "ct":
		return strings.TrimSpace("ct " + strings.TrimSpace(e.Dir+" "+e.Key))
	case "meta":
		switch e.Key {
		case "iifname", "oifname", "iif", "oif":
			return e.Key
		}
		return "meta " + e.Key
	case "fib":
		return "fib " + e.Key + " " + e.Op
	}
	return e.Name + " " + e.Key
}

func payloadText(e *schema.Expr) string {
	at := fmt.Sprintf("%s,%d,%d", e.Base, e.Offset*8, e.Len*8)
	names := map[string]string{
		"network,96,32": "ip saddr", "network,128,32": "ip daddr", "network,64,128": "ip6 saddr", "network,192,128": "ip6 daddr",
		"network,72,8": "ip protocol", "transport,0,16": "th sport", "transport,16,16": "th dport", "transport,0,8": "icmp type",
		"transport,104,8": "tcp flags", "link,48,48": "ether saddr", "link,0,48": "ether daddr", "link,96,16": "ether type",
	}
	if n := names[at]; n != "" {
		return n
	}
	switch {
	case e.Base == "network" && e.Offset == 12 && e.Len < 4:
		return "ip saddr"
	case e.Base == "network" && e.Offset == 16 && e.Len < 4:
		return "ip daddr"
	}
	return "@" + at
}

// dataText guesses from the load how a constant is written.
func dataText(b []byte, load string) string {
	switch {
	case strings.HasPrefix(load, "ip") && strings.HasSuffix(load, "addr"):
		return prefixText(b, load)
	case strings.HasSuffix(load, "port") && len(b) == 2:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	case strings.HasSuffix(load, "ifname"):
		name := strings.TrimRight(string(b), "\x00")
		if len(b) < 16 {
			name += "*"
		}
		return strconv.Quote(name)
	case load == "meta l4proto" && len(b) == 1:
		return protoName(b[0])
	case load == "ct state" && len(b) == 4:
		return stateName(binary.NativeEndian.Uint32(b))
	}
	return "0x" + hex.EncodeToString(b)
}

func prefixText(b []byte, load string) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	n := 4
	if strings.HasPrefix(load, "ip6") {
		n = 16
	}
	if len(b) > n {
		return "0x" + hex.EncodeToString(b)
	}
	a, _ := netip.AddrFromSlice(append(append([]byte(nil), b...), make([]byte, n-len(b))...))
	return netip.PrefixFrom(a, len(b)*8).String()
}
