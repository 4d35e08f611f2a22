package managers

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
)

// patience is how long a manager may take. ufw waits for its own lock without end.
const patience = 30 * time.Second

// dirs are where the managers' programs are looked for; never in the caller's PATH.
var dirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func find(program string) (string, error) {
	for _, d := range dirs {
		path := d + "/" + program
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", program, fs.ErrNotExist, strings.Join(dirs, ", "))
}

// run executes a program without a shell and with a bare environment. It returns what the program said.
func run(ctx context.Context, program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s did not end within %v", program, patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + strings.Join(dirs, ":"), "LANG=C", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	said := strings.TrimSpace(out.String())
	switch {
	case ctx.Err() != nil:
		return said, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), context.Cause(ctx))
	case err != nil:
		return said, fmt.Errorf("%s %s: %s: %w", program, strings.Join(args, " "), complaint(said), err)
	}
	return said, nil
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
