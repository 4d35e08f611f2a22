package rtnl

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// errInterrupted marks a dump during which the kernel's tables changed (NLM_F_DUMP_INTR).
var errInterrupted = errors.New("the dump was interrupted by changes")

// kernelError is the kernel's answer to a request: an error number and, where the kernel explains itself, its text
// (NLMSGERR_ATTR_MSG, Linux 4.12).
type kernelError struct {
	errno unix.Errno
	text  string
}

// Error prints "invalid argument (Invalid prefix for given prefix length)".
func (e *kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return fmt.Sprintf("%s (%s)", e.errno, strings.TrimSuffix(e.text, "."))
}

// Is translates error numbers to the sentinels of io/fs, beside being its own number.
func (e *kernelError) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		switch e.errno {
		case unix.ENOENT, unix.ENODEV, unix.ESRCH, unix.ENXIO, unix.EADDRNOTAVAIL:
			return true
		}
		return false
	case fs.ErrExist:
		return e.errno == unix.EEXIST
	case fs.ErrPermission:
		// EACCES with a text is not about privileges: "IPv6 is disabled on this device".
		return e.errno == unix.EPERM || (e.errno == unix.EACCES && e.text == "")
	}
	return target == error(e.errno)
}

// expect compares what the host holds with what a Change takes for granted. Both may be nil: not there.
func expect(live, before schema.Object) error {
	switch {
	case live == nil && before == nil:
		return nil
	case live == nil:
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	case before == nil:
		return fmt.Errorf("it is there already (%s): %w", live, fs.ErrExist)
	}
	return differing("it changed meanwhile", schema.Compare(live, before))
}

// differing is an error that lists differences, or nil when there are none.
func differing(what string, diffs []schema.Difference) error {
	if len(diffs) == 0 {
		return nil
	}
	var words []string
	for _, d := range diffs {
		words = append(words, fmt.Sprintf("%s is %q, not %q", d.Field, d.Live, d.Want))
	}
	return fmt.Errorf("%s: %s", what, strings.Join(words, ", "))
}

// unsupported says what vmnet does not do.
func unsupported(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errors.ErrUnsupported)...)
}
