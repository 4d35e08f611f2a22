package sim

import (
	"fmt"
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

// createGrant asks a manager for a permission: the object, and the rules the manager makes of it.
func (h *host) createGrant(g *schema.Grant) error {
	made := schema.Clone(g).(*schema.Grant)
	if err := h.granted(made, true); err != nil {
		return err
	}
	h.put(made)
	return nil
}

func (h *host) deleteGrant(g *schema.Grant) error {
	live, _ := h.Get(g.Ref()).(*schema.Grant)
	if live == nil {
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	gone := *live // frozen, like all that is in a State
	if err := h.granted(&gone, false); err != nil {
		return err
	}
	h.del(live.Ref())
	return nil
}

// granted makes or unmakes the rules of a grant in the manager's tables, and notes where.
func (h *host) granted(g *schema.Grant, there bool) error {
	switch g.Manager {
	case schema.ManagerUFW:
		return h.ufwRules(g, there)
	case schema.ManagerFirewalld:
		return h.firewalldRules(g, there)
	default:
		return fmt.Errorf("what %s makes of it: %w", g.Manager, ErrUnmodelled)
	}
}
