package nft

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// arptables writes a rule as arptables-nft-save does, behind "-A CHAIN ". ok is false for a rule that arptables would not
// print, or would print wrongly: 1.8.9 forgets --h-type, --h-length and the masks of MAC addresses.
func (p *printer) arptables(r *schema.Rule) (text string, ok bool) {
	frame := schema.ArptablesFrame()
	at := slices.IndexFunc(r.Exprs, func(e schema.Expr) bool { return e.Name == "payload" })
	if len(p.lowered[r]) > 0 || at < 0 || len(r.Exprs) < at+len(frame) ||
		!schema.RulesEqual(&schema.Rule{Exprs: r.Exprs[at : at+len(frame)]}, &schema.Rule{Exprs: frame}) {
		return "", false
	}
	w := &arpWriter{specWriter: specWriter{exprs: slices.Concat(r.Exprs[:at], r.Exprs[at+len(frame):])}}
	for w.i < len(w.exprs) {
		if !w.take() {
			return "", false
		}
	}
	return w.text(), w.target != ""
}

// arpWriter gathers the options of one rule.
type arpWriter struct {
	specWriter
	opcode string
}

// text puts the options in the order of arptables-nft (nft-arp.c, nft_arp_print_rule_details).
func (w *arpWriter) text() string {
	words := []string{w.target}
	for _, s := range []string{w.in, w.out, w.src, w.dst, w.opcode} {
		if s != "" {
			words = append(words, s)
		}
	}
	return strings.Join(words, " ")
}

func (w *arpWriter) take() bool {
	e := w.next(0)
	switch e.Name {
	case "counter":
		w.i++
		return true
	case "immediate":
		return w.immediate(e)
	case "meta":
		t, ok := w.tested(e)
		return ok && (e.Key == "iifname" || e.Key == "oifname") && w.meta(t)
	case "payload":
		t, ok := w.tested(e)
		return ok && e.Base == "network" && t.to == nil && w.field(t)
	}
	return false
}

// field tests a field of ARP for IPv4 over Ethernet (RFC 826): operation, sender's and target's address.
func (w *arpWriter) field(t tested) bool {
	switch off, n := t.load.Offset, t.load.Len; {
	case off == 6 && n == 2 && t.mask == nil && len(t.from) == 2:
		return set(&w.opcode, option(t.not, "--opcode", strconv.Itoa(int(binary.BigEndian.Uint16(t.from)))))
	case off == 14 && n <= 4:
		a, ok := w.address(t)
		return ok && set(&w.src, option(t.not, "-s", strings.TrimSuffix(a, "/32")))
	case off == 24 && n <= 4:
		a, ok := w.address(t)
		return ok && set(&w.dst, option(t.not, "-d", strings.TrimSuffix(a, "/32")))
	}
	return false
}
