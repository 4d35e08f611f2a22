package xtables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/vmnet/vmnet/providers/program"
	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
)

// ebtablesPatience is how long ebtables may take: the nft variant takes no lock.
const ebtablesPatience = 10 * time.Second

// bridgeTool is ebtables-nft(8), for a table as it is now. There is no legacy variant here: its tables are not read.
type bridgeTool struct{ table *schema.Table }

// insert puts a rule in front of the one that is number at, counting from 1. One of ours brings the chain along that bears
// its mark: without rules, and with the policy ACCEPT.
func (e *bridgeTool) insert(ctx context.Context, f *schema.ForeignRule, at int) error {
	mark := f.MarkChain()
	made, err := e.markChain(ctx, mark)
	if err != nil {
		return err
	}
	spec, err := iptspec.Split(f.Rule.Text)
	if err == nil {
		err = e.run(ctx, append([]string{"-I", f.Chain, strconv.Itoa(at)}, spec...)...)
	}
	if err != nil && made {
		err = errors.Join(err, e.run(context.WithoutCancel(ctx), "-X", mark))
	}
	return err
}

// markChain makes the chain that bears a mark, unless it is there. It reports whether it did.
func (e *bridgeTool) markChain(ctx context.Context, mark string) (bool, error) {
	if mark == "" {
		return false, nil
	}
	if c := e.table.Chain(mark); c != nil {
		if !c.OnlyAccepts() {
			return false, fmt.Errorf("chain %s, which bears our mark, does not only accept: somebody changed it: %w", mark, fs.ErrExist)
		}
		return false, nil
	}
	return true, e.run(ctx, "-N", mark, "-P", "ACCEPT")
}

// delete takes a rule out by its full specification, and with it the chain that bears its mark when nothing else leads there.
func (e *bridgeTool) delete(ctx context.Context, f, live *schema.ForeignRule) error {
	if max(live.Nth, 1) > 1 {
		return fmt.Errorf("it is number %d of several equal rules, and ebtables deletes the first: delete that one instead: %w", live.Nth, errors.ErrUnsupported)
	}
	spec, err := iptspec.Split(live.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	if err := e.run(ctx, append([]string{"-D", f.Chain}, spec...)...); err != nil {
		return err
	}
	mark := f.MarkChain()
	if mark == "" || e.references(mark) > 1 {
		return nil
	}
	return e.run(ctx, "-X", mark)
}

// references counts the rules that lead to a chain.
func (e *bridgeTool) references(chain string) int {
	n := 0
	for _, c := range e.table.Chains {
		for _, r := range c.Rules {
			for _, x := range r.Exprs {
				if x.Verdict != nil && x.Verdict.Chain == chain {
					n++
				}
			}
		}
	}
	return n
}

// run executes ebtables.
func (e *bridgeTool) run(ctx context.Context, args ...string) error {
	args = append([]string{"-t", e.table.Name}, args...)
	_, err := program.Run(ctx, program.Command{Name: "ebtables-nft", Args: args, Patience: ebtablesPatience})
	return err
}
