// Package program runs other people's programs on the host: iptables, ebtables, ufw, firewall-cmd.
//
// Never by a shell, never found in the caller's PATH, and with nothing of the caller's environment: who runs vmnet by sudo, with
// LD_PRELOAD or with a strange PATH gets the host's own programs all the same. Read Run; nothing else acts.
//
// # Why
//
// A program is started in a process group of its own: a Ctrl-C at the terminal is vmnet's to answer, and a manager that is killed halfway
// leaves a host that is neither as before nor as planned. Descriptors that are not close-on-exec are handed on, as fork(2) does: whoever
// holds a lock by one holds it for as long as the program runs, even when vmnet is killed meanwhile.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Path is the PATH of every program, and where they are looked for.
const Path = "/usr/sbin:/usr/bin:/sbin:/bin"

// Command is what to run.
type Command struct {
	Name     string // "iptables-legacy", without a slash
	Args     []string
	Patience time.Duration // how long it may take; then it is killed
	Env      []string      // beside PATH and the language: what this program needs
}

// String prints what a person would type.
func (c Command) String() string { return strings.Join(append([]string{c.Name}, c.Args...), " ") }

// Error is how a program failed.
type Error struct {
	Command Command
	Said    string // the line that says why
	Code    int    // its exit code; -1 when it was killed
	Err     error
}

// Error says what was run, what it said and how it ended.
func (e *Error) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("%s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Command, e.Said, e.Err)
}

// Unwrap gives how it ended.
func (e *Error) Unwrap() error { return e.Err }

// Find looks for a program in the directories of Path. The error is fs.ErrNotExist when there is none.
func Find(name string) (string, error) {
	for dir := range strings.SplitSeq(Path, ":") {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", name, fs.ErrNotExist, Path)
}

// Run runs a program to its end and returns what it said on both its outputs. A program that fails is an *Error.
func Run(ctx context.Context, c Command) (said string, err error) {
	path, err := Find(c.Name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Patience, fmt.Errorf("%s did not end within %v", c.Name, c.Patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Env = append([]string{"PATH=" + Path, "LANG=C", "LC_ALL=C"}, c.Env...)
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	said = strings.TrimSpace(out.String())
	switch {
	case err == nil:
		return said, nil
	case ctx.Err() != nil:
		return said, &Error{c, "", -1, context.Cause(ctx)}
	}
	code := -1
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	return said, &Error{c, complaint(said), code, err}
}

// complaint is the line that says why: the first, unless there is one that says so.
func complaint(said string) string {
	for l := range strings.Lines(said) {
		if strings.HasPrefix(strings.ToLower(l), "error") {
			return strings.TrimSpace(l)
		}
	}
	line, _, _ := strings.Cut(said, "\n")
	return line
}
