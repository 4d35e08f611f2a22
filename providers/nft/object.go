package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// isUnsupported tells whether the kernel does not know a question.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

func decodeTable(b []byte) (*schema.Table, error) {
	t := &schema.Table{}
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_TABLE_NAME:
			t.Name = a.str()
		case unix.NFTA_TABLE_FLAGS:
			t.Flags = a.u32()
			t.Dormant = t.Flags&unix.NFT_TABLE_F_DORMANT != 0
		case nftaTableUserdata:
			t.Comment = udataText(a.val, udataComment)
		}
	}
	return t, a.err
}

func decodeChain(family string, b []byte) (c *schema.Chain, table string, err error) {
	c = &schema.Chain{}
	policy := uint32(1)
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_CHAIN_TABLE:
			table = a.str()
		case unix.NFTA_CHAIN_NAME:
			c.Name = a.str()
		case unix.NFTA_CHAIN_HANDLE:
			c.Handle = a.u64()
		case unix.NFTA_CHAIN_TYPE:
			c.Type = a.str()
		case unix.NFTA_CHAIN_POLICY:
			policy = a.u32()
		case unix.NFTA_CHAIN_HOOK:
			if err := decodeHook(c, family, a.val); err != nil {
				return nil, "", err
			}
		case nftaChainUserdata:
			c.Comment = udataText(a.val, udataComment)
		}
	}
	if c.Hook != "" {
		c.Policy = "accept"
		if policy == 0 { // NF_DROP
			c.Policy = "drop"
		}
	}
	return c, table, a.err
}

func decodeHook(c *schema.Chain, family string, b []byte) error {
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_HOOK_HOOKNUM:
			names := hookNames(family)
			if n := a.u32(); n < uint32(len(names)) {
				c.Hook = names[n]
			} else {
				c.Hook = fmt.Sprintf("hook%d", n)
			}
		case unix.NFTA_HOOK_PRIORITY:
			c.Priority = int32(a.u32())
		case unix.NFTA_HOOK_DEV:
			if c.Devices == nil {
				c.Devices = []string{a.str()}
			}
		case nftaHookDevs:
			c.Devices = nil
			for d := (attrs{b: a.val}); d.next(); {
				c.Devices = append(c.Devices, d.str())
			}
			slices.Sort(c.Devices) // the kernel lists them newest first
		}
	}
	return a.err
}

// decodeOpaque keeps an object or flowtable: its attributes without its table, its use count and its handle, so that equal
// ones have equal bytes. Attributes 1 and 2 are table and name of both kinds.
func decodeOpaque(kind string, b []byte) (o schema.OpaqueObject, table string, err error) {
	o.Type = kind
	var keep builder
	a := attrs{b: b}
	for a.next() {
		switch {
		case a.typ == unix.NFTA_OBJ_TABLE:
			table = a.str()
			continue
		case a.typ == unix.NFTA_OBJ_NAME:
			o.Name = a.str()
			continue
		case kind == "object" && (a.typ == unix.NFTA_OBJ_USE || a.typ == nftaObjHandle),
			kind == "flowtable" && (a.typ == nftaFlowtableUse || a.typ == nftaFlowtableHandle):
			continue
		}
		keep.bytes(a.typ, a.val)
	}
	o.Raw = keep.b
	return o, table, a.err
}

// udata finds one value in user data.
func udata(b []byte, typ byte) ([]byte, bool) {
	for len(b) >= 2 {
		n := int(b[1])
		if n > len(b)-2 {
			return nil, false
		}
		if b[0] == typ {
			return b[2 : 2+n], true
		}
		b = b[2+n:]
	}
	return nil, false
}

func udataText(b []byte, typ byte) string {
	v, _ := udata(b, typ)
	return cString(v)
}

// appendUdata writes a text as user data, ended by a zero as libnftnl does.
func appendUdata(b []byte, typ byte, text string) ([]byte, error) {
	if len(text) > maxComment {
		return nil, fmt.Errorf("comment of %d bytes: the most is %d", len(text), maxComment)
	}
	b = append(b, typ, byte(len(text)+1))
	b = append(b, text...)
	return append(b, 0), nil
}

// maxComment is NFTNL_UDATA_COMMENT_MAXLEN of libnftables.
const maxComment = 128
