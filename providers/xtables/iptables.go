package xtables

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/vmnet/vmnet/providers/program"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

const (
	// lockWait is how many seconds iptables waits for the lock that all of its kind share (iptables(8), -w).
	lockWait = 5
	// iptablesPatience is how long it may take altogether: a table of 100,000 rules takes seconds.
	iptablesPatience = 30 * time.Second
	// lockBusy is its exit code when it did not get the lock (RESOURCE_PROBLEM in iptables/xshared.c).
	lockBusy = 4
)

func insert(ctx context.Context, f *schema.ForeignRule, at int) error {
	spec, err := iptspec.Split(f.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	return iptables(ctx, f, append([]string{"-I", f.Chain, strconv.Itoa(at)}, spec...))
}

// remove takes the rule out by its full specification. Of several equal rules the tool takes the first.
func remove(ctx context.Context, f, live *schema.ForeignRule) error {
	if max(live.Nth, 1) > 1 {
		return fmt.Errorf("it is number %d of several equal rules, and iptables deletes the first: delete that one instead: %w", live.Nth, errors.ErrUnsupported)
	}
	spec, err := iptspec.Split(live.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	return iptables(ctx, f, append([]string{"-D", f.Chain}, spec...))
}

// iptables runs the tool of a rule's family and backend on its table. The legacy one reads the table and writes it back as a whole, under
// a lock that it waits for; who holds it too long is named.
func iptables(ctx context.Context, f *schema.ForeignRule, args []string) error {
	c := program.Command{Name: toolName(f), Patience: iptablesPatience}
	if f.Legacy {
		lock, err := findLock()
		if err != nil {
			return err
		}
		if lock != usualLock {
			c.Env = []string{lockVariable + "=" + lock}
		}
		args = append([]string{"-w", strconv.Itoa(lockWait)}, args...)
		c.Args = append([]string{"-t", f.Table}, args...)
		_, err = program.Run(ctx, c)
		if failed, ok := errors.AsType[*program.Error](err); ok && failed.Code == lockBusy {
			return fmt.Errorf("%w%s", err, lockHolder(lock))
		}
		return err
	}
	c.Args = append([]string{"-t", f.Table}, args...)
	_, err := program.Run(ctx, c)
	return err
}

func toolName(f *schema.ForeignRule) string {
	name := "iptables"
	if f.Family == "ip6" {
		name = "ip6tables"
	}
	if f.Legacy {
		return name + "-legacy"
	}
	return name + "-nft"
}
