package nft

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

const (
	// remembered is how many generations a watch keeps.
	remembered = 512
	// commandLen is how much of a command line is kept.
	commandLen = 200
)

// watch listens to what the kernel says of every transaction: which tables it changed, and at its end who made it. (An answer to
// NFT_MSG_GETGEN has the same attributes, but names whoever asks: nf_tables_fill_gen_info writes down the current process.)
//
// Its socket is made with the Provider, in the right network namespace, and joins the group when somebody wants to know.
type watch struct {
	sock *socket
	own  uint32 // the port of the Provider's own transactions

	mu     sync.Mutex
	joined bool
	ended  chan struct{}
	buf    []byte
	ring   []record // in the order of their generations
	// named and touched are the tables of the transaction that is being told: by its writer's own messages, and by any.
	named, touched []schema.Ref
	lost           bool // messages were lost since the last generation that was told
}

// record is a generation, with every table that any message since the one before it spoke of.
type record struct {
	schema.Writer
	touched []schema.Ref
	partial bool // messages before it were lost
}

func openWatch(own uint32) (*watch, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	return &watch{sock: s, own: own, buf: make([]byte, recvBuffer)}, nil
}

// join begins to listen. It needs CAP_NET_ADMIN, as reading does.
func (w *watch) join() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.joined {
		return nil
	}
	if err := w.sock.conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("listen to nftables: %w", err)
	}
	w.joined = true
	if w.ended == nil {
		w.ended = make(chan struct{})
		go w.listen()
	}
	return nil
}

// listen reads what comes at once: a process that writes rules is often gone a millisecond later, and its command line with it.
func (w *watch) listen() {
	defer close(w.ended)
	_ = w.sock.raw.Read(func(fd uintptr) bool { // ends with close
		w.mu.Lock()
		defer w.mu.Unlock()
		w.drain(int(fd))
		return false
	})
}

func (w *watch) close() error {
	err := w.sock.close()
	if w.ended != nil {
		<-w.ended
	}
	return err
}

// drain reads all that is there.
func (w *watch) drain(fd int) {
	for {
		n, _, flags, _, err := unix.Recvmsg(fd, w.buf, nil, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			w.lost = true
			continue
		case err != nil:
			return
		}
		w.lost = w.lost || flags&unix.MSG_TRUNC != 0
		w.take(w.buf[:n])
	}
}

func (w *watch) take(b []byte) {
	for len(b) > 0 {
		var m message
		var err error
		if m, b, err = cutMessage(b); err != nil {
			w.lost = true
			return
		}
		if m.typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
			continue
		}
		if m.typ&0xff == unix.NFT_MSG_NEWGEN {
			w.generation(m)
			continue
		}
		w.table(m)
	}
}

// table notes which table a message is about: its first attribute in all of them (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE …). What the kernel
// tells by itself, such as that a quota is used up, bears no port.
func (w *watch) table(m message) {
	family, b, err := m.attrs()
	if err != nil {
		w.lost = true
		return
	}
	for a := (attrs{b: b}); a.next(); {
		if a.typ != unix.NFTA_TABLE_NAME {
			continue
		}
		ref := schema.TableRef(familyName(family), a.str())
		w.touched = appendNew(w.touched, ref)
		if m.port != 0 {
			w.named = appendNew(w.named, ref)
		}
		return
	}
}

func appendNew(refs []schema.Ref, ref schema.Ref) []schema.Ref {
	if slices.Contains(refs, ref) {
		return refs
	}
	return append(refs, ref)
}

// generation ends a transaction.
func (w *watch) generation(m message) {
	g, err := decodeGeneration(m)
	if err != nil {
		w.lost = true
		return
	}
	r := record{Writer: schema.Writer{Gen: g.id, PID: g.pid, Name: g.name, Tables: w.named}, touched: w.touched, partial: w.lost}
	if r.Own = m.port == w.own; !r.Own {
		identify(&r.Writer)
	}
	w.named, w.touched, w.lost = nil, nil, false
	w.add(r)
}

func (w *watch) add(r record) {
	if len(w.ring) == remembered {
		w.ring = slices.Delete(w.ring, 0, remembered/4)
	}
	w.ring = append(w.ring, r)
}

// identify fills in the process and its command line, while it lives. The kernel tells the thread (task_pid_nr of the current one), which
// /proc knows too. One of another name is another process: in a PID namespace the numbers differ.
func identify(w *schema.Writer) {
	dir := fmt.Sprintf("/proc/%d/", w.PID)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	pid, err := strconv.ParseUint(fields["Tgid"], 10, 32)
	if err != nil || fields["Name"] != w.Name {
		return
	}
	w.PID = uint32(pid)
	line, err := os.ReadFile(dir + "cmdline")
	if err != nil {
		return
	}
	text := string(bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	w.Command = text[:min(len(text), commandLen)]
}

// since returns what is known of the generations after one; complete when none is missing up to the last that was told. All of them are
// there: a writer is told of before its own transaction returns.
func (w *watch) since(gen uint32) (out []record, complete bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.joined {
		return nil, false
	}
	_ = w.sock.raw.Control(func(fd uintptr) { w.drain(int(fd)) }) // closed: what is known is known
	complete = !w.lost
	next := following(gen)
	for _, r := range w.ring {
		if gen != 0 && int32(r.Gen-gen) <= 0 {
			continue
		}
		complete = complete && r.Gen == next && !r.partial
		next = following(r.Gen)
		out = append(out, r)
	}
	return out, complete
}

// following is the generation after one: zero is left out.
func following(gen uint32) uint32 { return max(gen+1, 1) }

// untouched returns the last generation that was told, when nothing after gen can have changed a table.
func (w *watch) untouched(gen uint32, table schema.Ref) (now uint32, ok bool) {
	records, complete := w.since(gen)
	if !complete || len(records) == 0 {
		return 0, false
	}
	for _, r := range records {
		if slices.Contains(r.touched, table) {
			return 0, false
		}
	}
	return records[len(records)-1].Gen, true
}

// loud is how many messages a transaction of our own may have for the kernel to tell us of each. A larger one is not listened to: that
// would cost as much as making it.
const loud = 256

// deaf commits a large batch of our own without listening to it, and notes that it was ours. What others do before the ear is open again
// shows as a gap in the generations.
func (w *watch) deaf(b *batch, commit func(*batch) error) error {
	w.mu.Lock()
	joined := w.joined
	if joined {
		joined = w.sock.conn.LeaveGroup(unix.NFNLGRP_NFTABLES) == nil
	}
	w.mu.Unlock()
	err := commit(b)
	if !joined {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.joined = w.sock.conn.JoinGroup(unix.NFNLGRP_NFTABLES) == nil
	_ = w.sock.raw.Control(func(fd uintptr) { w.drain(int(fd)) }) // closed: what is known is known
	if err == nil {
		w.add(record{Writer: schema.Writer{Gen: following(b.gen), Own: true}})
	}
	return err
}

// commit makes a transaction.
func (p *Provider) commit(b *batch) error {
	if len(b.msgs) > loud {
		return p.watch.deaf(b, p.sock.commit)
	}
	return p.sock.commit(b)
}

// Watch begins to listen to who changes the ruleset; Writers tells. It needs CAP_NET_ADMIN.
func (p *Provider) Watch() error { return p.watch.join() }

// Writers are those that made the generations after one, the oldest first, as far as they are known: since Watch, and at most the last
// few hundred. complete is false where some may be missing. Any goroutine may ask.
func (p *Provider) Writers(since uint32) (writers []schema.Writer, complete bool) {
	records, complete := p.watch.since(since)
	for _, r := range records {
		writers = append(writers, r.Writer)
	}
	return writers, complete
}

// by names who else changed a table since the watch began, for an error; "" when nobody is known to.
func (p *Provider) by(table schema.Ref) string {
	writers, _ := p.Writers(0)
	if w, ok := schema.LastWriter(writers, table); ok {
		return ", last changed by " + w.String()
	}
	return ""
}

// byAnyone names who else changed the ruleset last.
func (p *Provider) byAnyone() string {
	writers, _ := p.Writers(0)
	for _, w := range slices.Backward(writers) {
		if !w.Own {
			return ", last changed by " + w.String()
		}
	}
	return ""
}
