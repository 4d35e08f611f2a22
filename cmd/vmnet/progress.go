package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/cmd/vmnet/view"
)

// heartbeat is how often what takes long is heard of.
const heartbeat = 5 * time.Second

// A terminal that was stopped (Ctrl-S), or a pipe that nobody reads, takes nothing more. What is told meanwhile is kept, so many texts of
// it, and the end waits so long for somebody to take them.
const (
	kept  = 1 << 12
	flush = 2 * time.Second
)

// aside writes from a goroutine of its own: a host half changed must not wait for whoever reads what becomes of it.
type aside struct {
	texts chan string
	ended chan struct{}
}

func (a *app) aside() *aside {
	s := &aside{texts: make(chan string, kept), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for text := range s.texts {
			a.errText(text)
		}
	}()
	return s
}

// tell never blocks: what is too much is lost.
func (s *aside) tell(text string) {
	select {
	case s.texts <- text:
	default:
	}
}

// end waits until all is written, within bounds. Nothing may be told afterwards.
func (s *aside) end() {
	close(s.texts)
	select {
	case <-s.ended:
	case <-time.After(flush):
	}
}

// teller writes progress, and that a long step is still under way.
type teller struct {
	side  *aside
	v     view.Options
	mutex sync.Mutex
	beat  *time.Ticker
	now   apply.Event
	since time.Time
	done  chan struct{}
	over  chan struct{} // no heart beats any more
	once  sync.Once
}

func (a *app) teller(v view.Options) *teller {
	t := &teller{side: a.aside(), v: v, beat: time.NewTicker(heartbeat), done: make(chan struct{}), over: make(chan struct{})}
	go t.run()
	return t
}

func (t *teller) run() {
	defer close(t.over)
	for {
		select {
		case <-t.done:
			return
		case <-t.beat.C:
			t.mutex.Lock()
			t.side.tell(view.Heartbeat(t.now, time.Since(t.since), t.v))
			t.mutex.Unlock()
		}
	}
}

func (t *teller) hear(e apply.Event) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.now = e
	if e.Kind != apply.EventSettling { // one look after another, of which nothing is told
		t.since = time.Now()
		t.beat.Reset(heartbeat)
	}
	t.side.tell(view.Progress(e, t.v))
}

func (t *teller) stop() {
	t.once.Do(func() {
		t.beat.Stop()
		close(t.done)
		<-t.over
		t.side.end()
	})
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

// Error names the signal.
func (e *signalError) Error() string { return fmt.Sprintf("signal %q", e.signal) }
