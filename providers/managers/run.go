package managers

import (
	"context"
	"time"

	"github.com/vmnet/vmnet/providers/program"
)

// patience is how long a manager may take. ufw waits for its own lock without end.
const patience = 30 * time.Second

// run executes a manager's program and returns what it said.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return program.Run(ctx, program.Command{Name: name, Args: args, Patience: patience})
}
