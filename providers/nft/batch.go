package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// batch is one transaction: messages that the kernel takes all or not at all.
type batch struct {
	gen  uint32
	msgs []labelled
	size int
}

// labelled is a message and what it does, for the error that may answer it.
type labelled struct {
	request
	label string
}

func (b *batch) add(r request, label string, args ...any) {
	if len(args) > 0 {
		label = fmt.Sprintf(label, args...)
	}
	b.msgs = append(b.msgs, labelled{r, label})
	b.size += headerLen + len(r.attrs)
}

// commit sends the batch and waits for its end. Only errors and the last message are answered: an acknowledgement for each
// message would fill the receive buffer, and the kernel would report ENOBUFS for what it has committed.
func (s *socket) commit(b *batch) error {
	if len(b.msgs) == 0 {
		return nil
	}
	buf := make([]byte, 0, b.size+3*headerLen)
	first := s.nextSeq()
	var id builder
	if b.gen != 0 {
		id.u32(unix.NFNL_BATCH_GENID, b.gen)
	}
	buf = request{typ: unix.NFNL_MSG_BATCH_BEGIN, resID: unix.NFNL_SUBSYS_NFTABLES, attrs: id.b}.append(buf, first)
	last := first
	for i := range b.msgs {
		m := &b.msgs[i]
		if i == len(b.msgs)-1 {
			m.flags |= unix.NLM_F_ACK
		}
		last = s.nextSeq()
		buf = m.append(buf, last)
	}
	buf = request{typ: unix.NFNL_MSG_BATCH_END, resID: unix.NFNL_SUBSYS_NFTABLES}.append(buf, s.nextSeq())
	if err := s.send(buf); err != nil {
		if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("a transaction of %d bytes does not fit the socket's send buffer (root can make it larger, net.core.wmem_max limits others): %w", len(buf), err)
		}
		return err
	}
	return s.outcome(b, first, last)
}

// outcome reads what the kernel answers: the errors in the order of the messages, then the answer to the last. An answer to
// the batch as a whole bears the number of its first message.
func (s *socket) outcome(b *batch, first, last uint32) error {
	var failed []error
	for {
		data, err := s.receive(0)
		if err != nil {
			return fmt.Errorf("read what became of the transaction: %w", err)
		}
		for len(data) > 0 {
			var m message
			if m, data, err = cutMessage(data); err != nil {
				return err
			}
			if m.typ != unix.NLMSG_ERROR || !within(m.seq, first, last) {
				continue
			}
			err := m.failure()
			if m.seq == first {
				return err
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", b.msgs[b.index(m.seq, first)].label, err))
			}
			if m.seq == last {
				return firstError(failed)
			}
		}
	}
}

// within tells whether seq lies between first and last, also across zero, which nextSeq leaves out.
func within(seq, first, last uint32) bool { return seq-first <= last-first }

func (b *batch) index(seq, first uint32) int {
	i := int(seq-first) - 1
	if seq < first { // zero was left out
		i--
	}
	return min(max(i, 0), len(b.msgs)-1)
}

// firstError is the first of several with a word on the others, which mostly follow from it.
func firstError(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%w (and %d more messages were refused)", errs[0], len(errs)-1)
}

const (
	// writeTries is how often a transaction is made anew, from reading to writing, when somebody changes its table meanwhile.
	writeTries = 5
	// bindTries is how often a prepared transaction is bound to a newer generation, when others were changed meanwhile and its table
	// was not: somebody who writes a hundred times a second is in the way of one commit in a hundred, not of this many in a row.
	bindTries = 100
)

// transact makes a batch for one table as it is and commits it, again when somebody else was faster. prepare reads, checks, and says
// what to do; its error ends the matter.
func (p *Provider) transact(ctx context.Context, table schema.Ref, prepare func() (*batch, error)) error {
	for try := 1; ; try++ {
		b, err := p.prepare(ctx, prepare)
		unfit := err != nil
		if err == nil {
			err = p.commitBound(ctx, b, table)
		}
		lost := errors.Is(err, unix.ERESTART) || changedMeanwhile(err)
		switch {
		case unfit && !lost && changedByOthers(err):
			return fmt.Errorf("%w%s", translate(err), p.by(table))
		case !lost, ctx.Err() != nil:
			return translate(err)
		case try == writeTries:
			return fmt.Errorf("the ruleset kept changing meanwhile (tried %d times)%s: %w", try, cmp.Or(p.by(table), p.byAnyone()), err)
		}
		_ = p.Watch() // from now on it is known who is in the way, and whether it matters
		pause(ctx, try)
	}
}

// changedByOthers tells whether a change does not fit what is there.
func changedByOthers(err error) bool {
	return errors.Is(err, errStale) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist)
}

// commitBound commits, for as long as only other tables than the batch's were changed since it was prepared.
func (p *Provider) commitBound(ctx context.Context, b *batch, table schema.Ref) error {
	for try := 1; ; try++ {
		// Not to be interrupted: the kernel works while it is sent, and what came of it must be known.
		err := p.commit(b)
		if !errors.Is(err, unix.ERESTART) || try == bindTries || ctx.Err() != nil {
			return err
		}
		now, ok := p.watch.untouched(b.gen, table)
		if !ok {
			return err
		}
		b.gen = now
	}
}

// prepare makes the batch and binds it to the generation that was there before it was made.
func (p *Provider) prepare(ctx context.Context, build func() (*batch, error)) (*batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer p.sock.watch(ctx)()
	gen, err := p.sock.generation()
	if err != nil {
		return nil, err
	}
	b, err := build()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	b.gen = gen.id
	return b, nil
}
