package sim

import (
	"fmt"
	"io/fs"

	"github.com/vmnet/vmnet/schema"
)

// createGrant asks a manager for a permission: the object, and the rules the manager makes of it.
func (h *host) createGrant(g *schema.Grant) error {
	if err := h.granted(g, true); err != nil {
		return err
	}
	h.put(schema.Clone(g))
	return nil
}

func (h *host) deleteGrant(g *schema.Grant) error {
	live, _ := h.Get(g.Ref()).(*schema.Grant)
	if live == nil {
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	if err := h.granted(live, false); err != nil {
		return err
	}
	h.del(live.Ref())
	return nil
}

// granted makes or unmakes the rules of a grant in the manager's tables.
func (h *host) granted(g *schema.Grant, there bool) error {
	switch g.Manager {
	case schema.ManagerUFW:
		return h.ufwRules(g, there)
	default:
		return fmt.Errorf("what %s makes of it: %w", g.Manager, ErrUnmodelled)
	}
}
