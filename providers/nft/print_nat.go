package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// natNetmap is NF_NAT_RANGE_NETMAP: the map gives a range, whose bits beyond the prefix are kept.
const natNetmap = 1 << 6

// nat takes masquerade, redirect, snat and dnat.
func (w *ruleText) nat(e *schema.Expr) bool {
	if len(e.Opaque) > 0 {
		return false
	}
	var verb, to string
	var ok bool
	switch e.Name {
	case "nat":
		verb = e.Op
		if w.table.Family == "inet" && e.SReg != 0 || w.joinedAt(e.SReg) || e.Flags&natNetmap != 0 {
			verb += " " + e.Family
		}
		if e.Flags&natNetmap != 0 {
			verb += " prefix"
		}
		to, ok = w.natTarget(e)
	case "masq":
		verb = "masquerade"
		to, ok = w.natPorts(e.SReg, e.SReg2)
	case "redir":
		verb = "redirect"
		if c := w.at(e.SReg); e.SReg != 0 && c != nil && c.text != "" && (e.SReg2 == 0 || e.SReg2 == e.SReg) {
			c.use()
			to, ok = ":"+c.text, true
			break
		}
		to, ok = w.natPorts(e.SReg, e.SReg2)
	}
	if !ok {
		return false
	}
	s := verb
	if to != "" {
		s += " to " + to
	}
	flags, ok := natFlags(e.Flags)
	if !ok {
		return false
	}
	w.say("%s", s+flags)
	return true
}

// joinedAt tells whether a register holds the result of a map of concatenations.
func (w *ruleText) joinedAt(reg uint32) bool {
	c := w.at(reg)
	return reg != 0 && c != nil && c.text != "" && c.joined
}

// natFlags are NF_NAT_RANGE_*; the two lowest say what the registers say too.
func natFlags(n uint32) (string, bool) {
	var names []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{4, "random"}, {16, "fully-random"}, {8, "persistent"}} {
		if n&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if n&^(1|2|4|8|16|natNetmap) != 0 {
		return "", false
	}
	if names == nil {
		return "", true
	}
	return " " + strings.Join(names, ","), true
}

func (w *ruleText) natTarget(e *schema.Expr) (string, bool) {
	if c := w.at(e.SReg); e.SReg != 0 && c != nil && c.text != "" {
		c.use()
		// A map gives the address, or address and port in the registers that follow.
		second := registerWord(e.SReg) + 1
		if e.Family == "ip6" {
			second += 3
		}
		if e.Flags&natNetmap != 0 { // the end of the range follows its beginning
			return c.text, registerWord(e.SReg2) == second && e.SReg3 == 0
		}
		return c.text, (e.SReg2 == 0 || e.SReg2 == e.SReg) && (e.SReg3 == 0 || registerWord(e.SReg3) == second) && (e.SReg4 == 0 || e.SReg4 == e.SReg3)
	}
	var s string
	if e.SReg != 0 {
		from, to := w.at(e.SReg), w.at(e.SReg)
		if e.SReg2 != 0 {
			to = w.at(e.SReg2)
		}
		if !isAddr(from) || !isAddr(to) {
			return "", false
		}
		s = addrText(from.data)
		end := addrText(to.data)
		if len(from.data) == 16 && e.SReg3 != 0 {
			s, end = "["+s+"]", "["+end+"]"
		}
		if !bytes.Equal(from.data, to.data) {
			s += "-" + end
		}
	}
	ports, ok := w.natPorts(e.SReg3, e.SReg4)
	return s + ports, ok
}

func isAddr(c *cell) bool { return c != nil && (len(c.data) == 4 || len(c.data) == 16) }

func (w *ruleText) natPorts(from, to uint32) (string, bool) {
	if from == 0 {
		return "", to == 0
	}
	a, b := w.at(from), w.at(from)
	if to != 0 {
		b = w.at(to)
	}
	if a == nil || b == nil || len(a.data) != 2 || len(b.data) != 2 {
		return "", false
	}
	s := fmt.Sprintf(":%d", binary.BigEndian.Uint16(a.data))
	if !bytes.Equal(a.data, b.data) {
		s += fmt.Sprintf("-%d", binary.BigEndian.Uint16(b.data))
	}
	return s, true
}
