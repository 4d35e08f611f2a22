package schema

import "strings"

// markPrefix begins every mark of ours in the kernel: link aliases, rule comments.
const markPrefix = "vmnet:"

// AliasFor is the mark of a link: "vmnet:bridge.lan".
func AliasFor(address string) string { return markPrefix + address }

// OwnTable tells whether the table is one of ours: "inet vmnet" or "bridge vmnet".
func OwnTable(t *Table) bool {
	return !t.Legacy && t.Name == "vmnet" && (t.Family == "inet" || t.Family == "bridge")
}

// Owned reads our mark off a live object: link alias, table name, rule comment, protocol number. Only owned objects may
// be deleted because the file no longer has them. A sysctl, a file and a listener are never owned.
func Owned(o Object) bool {
	switch v := o.(type) {
	case *Link:
		return v.Alias != nil && strings.HasPrefix(*v.Alias, markPrefix)
	case *Address:
		return v.Proto != nil && *v.Proto == ProtoVMNET
	case *Route:
		return v.Proto != nil && *v.Proto == ProtoVMNET
	case *PolicyRule:
		return v.Proto != nil && *v.Proto == ProtoVMNET
	case *Table:
		return OwnTable(v)
	case *ForeignRule:
		_, ok := Mark(v.Rule.Comment)
		return ok
	case *Grant, *Dnsmasq:
		return true // no other is an object
	}
	return false
}
