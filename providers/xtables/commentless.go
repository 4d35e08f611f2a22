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

// commentlessPatience is how long ebtables or arptables may take: the nft variants take no lock.
const commentlessPatience = 10 * time.Second

// commentless is ebtables-nft(8) or arptables-nft(8), for a table as it is now. There are no legacy variants here: their
// tables are not read.
type commentless struct {
	table    *schema.Table
	byHandle func(context.Context, schema.Change) error
}

// ofCommentless tells whether a rule is in a table of ebtables-nft or arptables-nft.
func ofCommentless(f *schema.ForeignRule) bool {
	return !f.Legacy && (f.Family == "bridge" || f.Family == "arp")
}

// insert puts a rule in front of the one that is number at, counting from 1. One of ours brings the chain along that bears
// its mark, and accepts.
func (e *commentless) insert(ctx context.Context, f *schema.ForeignRule, at int) error {
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
		err = errors.Join(err, e.dropChain(context.WithoutCancel(ctx), mark))
	}
	return err
}

// markChain makes the chain that bears a mark, unless it is there. It reports whether it did.
func (e *commentless) markChain(ctx context.Context, mark string) (bool, error) {
	if mark == "" {
		return false, nil
	}
	if c := e.table.Chain(mark); c != nil {
		if !e.table.OnlyAccepts(c) {
			return false, fmt.Errorf("chain %s, which bears our mark, does not only accept: somebody changed it: %w", mark, fs.ErrExist)
		}
		return false, nil
	}
	if e.table.Family == "bridge" {
		return true, e.run(ctx, "-N", mark, "-P", "ACCEPT")
	}
	err := e.run(ctx, "-N", mark) // arptables: a chain of one's own has no policy
	if err != nil {
		return false, err
	}
	if err = e.run(ctx, "-A", mark, "-j", "ACCEPT"); err != nil {
		return false, errors.Join(err, e.dropChain(context.WithoutCancel(ctx), mark))
	}
	return true, nil
}

// dropChain deletes a chain of ours that nothing leads to any more.
func (e *commentless) dropChain(ctx context.Context, mark string) error {
	if e.table.Family == "arp" { // which refuses chains that are not empty
		if err := e.run(ctx, "-F", mark); err != nil {
			return err
		}
	}
	return e.run(ctx, "-X", mark)
}

// delete takes a rule out, and with it the chain that bears its mark when nothing else leads there.
func (e *commentless) delete(ctx context.Context, live *schema.ForeignRule) error {
	remove := e.deleteBySpec
	if e.table.Family == "arp" {
		remove = e.deleteByHandle
	}
	if err := remove(ctx, live); err != nil {
		return err
	}
	mark := live.MarkChain()
	if mark == "" || e.references(mark) > 1 {
		return nil
	}
	return e.dropChain(ctx, mark)
}

// deleteBySpec deletes a rule by its full specification.
func (e *commentless) deleteBySpec(ctx context.Context, live *schema.ForeignRule) error {
	if live.Nth > 1 {
		return fmt.Errorf("it is number %d of several equal rules, and ebtables deletes the first: delete that one instead: %w", live.Nth, errors.ErrUnsupported)
	}
	spec, err := iptspec.Split(live.Rule.Text)
	if err != nil {
		return fmt.Errorf("take the rule apart: %w", err)
	}
	return e.run(ctx, append([]string{"-D", live.Chain}, spec...)...)
}

// deleteByHandle deletes a rule by netlink. "arptables-nft -D" does not look at --opcode and deletes the first rule that is
// alike but for that (iptables 1.8.9, nft_arp_is_same).
func (e *commentless) deleteByHandle(ctx context.Context, live *schema.ForeignRule) error {
	if e.byHandle == nil {
		return fmt.Errorf("nobody writes nftables here: %w", errors.ErrUnsupported)
	}
	f := *live
	f.ByTool = false
	return e.byHandle(ctx, schema.Change{Ref: f.Ref(), Before: &f})
}

// references counts the rules that lead to a chain.
func (e *commentless) references(chain string) int {
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

// run executes the tool.
func (e *commentless) run(ctx context.Context, args ...string) error {
	tool := "ebtables-nft"
	if e.table.Family == "arp" {
		tool = "arptables-nft"
	}
	args = append([]string{"-t", e.table.Name}, args...)
	_, err := program.Run(ctx, program.Command{Name: tool, Args: args, Patience: commentlessPatience})
	return err
}
