package nft

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// generation is the state of the ruleset as a number; told to a watch, also who made it.
type generation struct {
	id   uint32
	pid  uint32
	name string
}

// generation asks for the current one. The process in the answer is the one that asks, not the writer: see watch.
func (s *socket) generation() (g generation, err error) {
	err = s.call(request{typ: unix.NFT_MSG_GETGEN}, func(m message) error {
		g, err = decodeGeneration(m)
		return err
	})
	if err != nil {
		return g, translate(err)
	}
	return g, nil
}

// decodeGeneration reads NFTA_GEN_*.
func decodeGeneration(m message) (generation, error) {
	var g generation
	_, b, err := m.attrs()
	if err != nil {
		return g, err
	}
	a := attrs{b: b}
	for a.next() {
		switch a.typ {
		case unix.NFTA_GEN_ID:
			g.id = a.u32()
		case unix.NFTA_GEN_PROC_PID:
			g.pid = a.u32()
		case unix.NFTA_GEN_PROC_NAME:
			g.name = a.str()
		}
	}
	return g, a.err
}

// translate makes errors of the kernel those that callers ask for, keeping its text. EPERM and EACCES are fs.ErrPermission
// by themselves.
func translate(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return err
}
