package schema

import (
	"slices"
	"strings"
)

// MovingRules stands in State.Blind for rules of nftables that did not come to rest while they were read.
const MovingRules = "nftables (it kept changing while it was read)"

// Unseen says in sentences what a list like State.Blind means, and what to do about it; "" for an empty one.
func Unseen(blind []string) string {
	closed := slices.DeleteFunc(slices.Clone(blind), func(part string) bool { return part == MovingRules })
	var said []string
	if len(closed) > 0 {
		said = append(said, "Not seen for lack of privileges: "+strings.Join(closed, ", ")+".")
	}
	if len(closed) < len(blind) {
		said = append(said, "The rules of nftables kept changing while they were read, and those seen may never have been there together: try again when whoever writes them has done.")
	}
	return strings.Join(said, " ")
}
