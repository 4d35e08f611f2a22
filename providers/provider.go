// Package providers joins the parts that touch the host: it reads the whole State and makes one Change at a time.
//
// It decides nothing. Read Host first; each provider is a folder below.
package providers

import (
	"context"

	"github.com/vmnet/vmnet/schema"
)

// A Provider speaks for some kinds of object on this host. No two providers share a kind. It is opened in a network
// namespace (that of the calling thread) and stays there.
type Provider interface {
	Kinds() []schema.Kind
	// Read returns every object of those kinds, complete: what is not returned is not there. An error that is
	// fs.ErrPermission means that the host does not let us look; anything half read is an error, never a result.
	Read(ctx context.Context) ([]schema.Object, error)
}

// A Writer can also change what it reads.
type Writer interface {
	Provider
	// Do makes one change, compare-and-set: it fails without touching anything when the host does not hold c.Before.
	// Afterwards the host holds c.After or c.Before, nothing between. Errors say what was tried, keep the kernel's
	// text, and are fs.ErrExist, fs.ErrNotExist or fs.ErrPermission (errors.Is) where that is the case.
	Do(ctx context.Context, c schema.Change) error
}
