package nft

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// generation is the state of the ruleset as a number, and who made it.
type generation struct {
	id   uint32
	pid  uint32
	name string
}

// by names the last writer, for an error: " by nft (process 123)".
func (g generation) by() string {
	if g.name == "" {
		return ""
	}
	return fmt.Sprintf(", last changed by %s (process %d)", g.name, g.pid)
}

func (s *socket) generation() (generation, error) {
	var g generation
	err := s.call(request{typ: unix.NFT_MSG_GETGEN}, func(m message) error {
		_, b, err := m.attrs()
		if err != nil {
			return err
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
		return a.err
	})
	if err != nil {
		return g, translate(err)
	}
	return g, nil
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
