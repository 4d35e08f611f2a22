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

// teller writes progress, and that a long step is still under way.
type teller struct {
	app   *app
	v     view.Options
	mutex sync.Mutex
	beat  *time.Ticker
	now   apply.Event
	since time.Time
	done  chan struct{}
	once  sync.Once
}

func (a *app) teller(v view.Options) *teller {
	t := &teller{app: a, v: v, beat: time.NewTicker(heartbeat), done: make(chan struct{})}
	go t.run()
	return t
}

func (t *teller) run() {
	for {
		select {
		case <-t.done:
			return
		case <-t.beat.C:
			t.mutex.Lock()
			t.app.errText(view.Heartbeat(t.now, time.Since(t.since), t.v))
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
	t.app.errText(view.Progress(e, t.v))
}

func (t *teller) stop() {
	t.once.Do(func() {
		t.beat.Stop()
		close(t.done)
	})
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

// Error names the signal.
func (e *signalError) Error() string { return fmt.Sprintf("signal %q", e.signal) }
