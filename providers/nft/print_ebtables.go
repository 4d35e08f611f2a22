package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// ebtables writes a rule as ebtables-nft-save does, behind "-A CHAIN ". ok is false for a rule that ebtables would not
// print, or would print wrongly. The options are those of ebtables-nft(8).
func (p *printer) ebtables(r *schema.Rule) (text string, ok bool) {
	w := &ebtWriter{specWriter: specWriter{exprs: r.Exprs, parts: slices.Clone(p.lowered[r])}}
	for w.i <= len(w.exprs) {
		if w.takeWords() {
			continue
		}
		if w.i == len(w.exprs) {
			break
		}
		if !w.take() {
			return "", false
		}
	}
	if w.vague {
		return "", false
	}
	return w.text(), true
}

// ebtWriter gathers the options of one rule.
type ebtWriter struct {
	specWriter
	bridgeIn, bridgeOut string
	vague               bool // a match or target has no words of ebtables
}

// takeWords takes a match or target of ebtables, with all it was lowered to.
func (w *ebtWriter) takeWords() bool {
	if len(w.parts) == 0 || w.parts[0].at != w.i {
		return false
	}
	p := &w.parts[0]
	text, words := strings.CutPrefix(p.text, "-m ")
	if words {
		_, text, words = strings.Cut(text, " ")
		text = afterOption(text)
	}
	w.vague = w.vague || !words && !(p.target && strings.HasPrefix(text, "mark "))
	p.text = text
	return w.takePart()
}

// afterOption puts each "!" where ebtables prints it: "--ip-src ! 192.0.2.1".
func afterOption(text string) string {
	words := strings.Fields(text)
	for i := len(words) - 2; i >= 0; i-- {
		if words[i] == "!" {
			words[i], words[i+1] = words[i+1], words[i]
		}
	}
	return strings.Join(words, " ")
}

// ebtOption is an option as ebtables prints it.
func ebtOption(not bool, name, value string) string {
	return afterOption(option(not, name, value))
}

// text puts the options in the order of ebtables-nft (nft-bridge.c, nft_bridge_save_rule).
func (w *ebtWriter) text() string {
	var words []string
	for _, s := range []string{w.proto, w.src, w.dst, w.in, w.bridgeIn, w.out, w.bridgeOut} {
		if s != "" {
			words = append(words, s)
		}
	}
	words = append(words, w.matches...)
	if w.target == "" {
		w.target = "-j CONTINUE"
	}
	return strings.Join(append(words, w.target), " ")
}

func (w *ebtWriter) take() bool {
	e := w.next(0)
	if e == nil {
		return false
	}
	switch e.Name {
	case "counter":
		w.i++
		return true
	case "immediate":
		return w.immediate(e)
	case "limit":
		w.i++
		return w.rate(e)
	case "meta":
		t, ok := w.tested(e)
		return ok && w.device(t)
	case "payload":
		return e.Base == "link" && w.header(e)
	}
	return false
}

// rate is the limit match, whose burst ebtables always prints.
func (w *ebtWriter) rate(e *schema.Expr) bool {
	if !w.limit(e) {
		return false
	}
	last := &w.matches[len(w.matches)-1]
	*last = strings.TrimPrefix(*last, "-m limit ")
	if !strings.Contains(*last, "--limit-burst") {
		*last += " --limit-burst 5"
	}
	return true
}

func (w *ebtWriter) device(t tested) bool {
	if t.mask != nil || t.to != nil {
		return false
	}
	name := linkPattern(t.from)
	switch t.load.Key {
	case "iifname":
		return set(&w.in, ebtOption(t.not, "-i", name))
	case "oifname":
		return set(&w.out, ebtOption(t.not, "-o", name))
	case "ibrname":
		return set(&w.bridgeIn, ebtOption(t.not, "--logical-in", name))
	case "obrname":
		return set(&w.bridgeOut, ebtOption(t.not, "--logical-out", name))
	}
	return false
}

// header tests the Ethernet header: destination, source, protocol.
func (w *ebtWriter) header(e *schema.Expr) bool {
	if c := w.next(1); e.Offset == 12 && c != nil && c.Name == "cmp" && c.Op == "lt" && bytes.Equal(c.Data, []byte{0x06, 0x00}) {
		w.i += 2 // what is below 1536 is the length of an 802.3 frame
		return set(&w.proto, "-p Length")
	}
	t, ok := w.tested(e)
	switch {
	case !ok || t.to != nil:
		return false
	case e.Offset == 12 && e.Len == 2 && t.mask == nil:
		return set(&w.proto, ebtOption(t.not, "-p", etherName(binary.BigEndian.Uint16(t.from))))
	case e.Offset == 6 && e.Len <= 6:
		return set(&w.src, ebtOption(t.not, "-s", etherAddress(t)))
	case e.Offset == 0 && e.Len <= 6:
		return set(&w.dst, ebtOption(t.not, "-d", etherAddress(t)))
	}
	return false
}

// etherName is a protocol as /etc/ethertypes calls it.
func etherName(n uint16) string {
	switch n {
	case unix.ETH_P_IP:
		return "IPv4"
	case unix.ETH_P_IPV6:
		return "IPv6"
	case unix.ETH_P_ARP:
		return "ARP"
	case unix.ETH_P_8021Q:
		return "802_1Q"
	}
	return fmt.Sprintf("0x%x", n)
}

// etherAddress writes an address with its mask; a comparison of the first bytes alone is one under a mask.
func etherAddress(t tested) string {
	var addr, mask [6]byte
	copy(addr[:], t.from)
	if t.mask != nil {
		copy(mask[:], t.mask)
	} else {
		copy(mask[:], bytes.Repeat([]byte{0xff}, len(t.from)))
	}
	switch text, under := net.HardwareAddr(addr[:]).String(), net.HardwareAddr(mask[:]).String(); {
	case under == "01:00:00:00:00:00" && text == under:
		return "Multicast"
	case under == "01:00:00:00:00:00" && text == "00:00:00:00:00:00":
		return "Unicast"
	case under != "ff:ff:ff:ff:ff:ff":
		return text + "/" + under
	case text == under:
		return "Broadcast"
	case text == "01:80:c2:00:00:00":
		return "BGA"
	default:
		return text
	}
}
