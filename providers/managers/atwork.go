package managers

import (
	"errors"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// Idle tells, of an error of Read, that no manager whose files are closed to this user has a rule among those of a state: what such files
// hold then decides about no packet. The state must hold all tables.
func Idle(s *schema.State, err error) bool {
	closed := closedIn(err)
	return len(closed) > 0 && !slices.ContainsFunc(closed, func(manager string) bool { return atWork(s, manager) })
}

// closedIn are the managers that an error is about; none where it is about anything else, too.
func closedIn(err error) []string {
	var out []string
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // made by errors.Join
		all = joined.Unwrap()
	}
	for _, e := range all {
		c, ok := errors.AsType[*ClosedError](e)
		if !ok {
			return nil
		}
		out = append(out, c.Manager)
	}
	return out
}

// atWork tells whether a table or chain bears the names that a manager gives its own: ufw-before-input, ufw6-user-forward
// (ufw-framework(8)); the table firewalld, or with its iptables backend chains such as INPUT_ZONES and INPUT_direct (firewalld.conf(5)).
func atWork(s *schema.State, manager string) bool {
	for t := range schema.Each[*schema.Table](s) {
		if manager == schema.ManagerFirewalld && t.Name == "firewalld" {
			return true
		}
		for _, c := range t.Chains {
			switch manager {
			case schema.ManagerUFW:
				if strings.HasPrefix(c.Name, "ufw-") || strings.HasPrefix(c.Name, "ufw6-") {
					return true
				}
			case schema.ManagerFirewalld:
				if strings.HasSuffix(c.Name, "_ZONES") || strings.HasSuffix(c.Name, "_ZONES_SOURCE") || strings.HasSuffix(c.Name, "_direct") {
					return true
				}
			default:
				return true
			}
		}
	}
	return false
}
