package apply

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What is said while a change waits: when it is made, at half time, and 30 seconds before the end, each once, and none of it
// late for a wait that is extended.
func TestAnnouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wait time.Duration
		want []time.Duration // left
	}{
		{5 * time.Minute, []time.Duration{300, 150, 30}},
		{2 * time.Minute, []time.Duration{120, 60, 30}},
		{time.Minute, []time.Duration{60, 30}},
		{40 * time.Second, []time.Duration{40, 30, 20}},
		{20 * time.Second, []time.Duration{20, 10}},
		{4 * time.Second, []time.Duration{4}},
	} {
		var said []time.Duration
		var left time.Duration
		a := &announcer{tell: func(n Announcement) {
			if n.ID != "x" || !strings.Contains(n.Text, "vmnet confirm x") || !strings.Contains(n.Text, left.Round(time.Second).String()) {
				t.Errorf("%v left: %+v", left, n)
			}
			said = append(said, left/time.Second)
		}}
		for _, deadline := range []time.Duration{1, 2} { // and extended
			said = nil
			for left = c.wait; left > 0; left -= time.Second {
				a.hear(&Entry{Head: Head{ID: "x"}, Phase: Waiting, Deadline: deadline, wait: c.wait}, left)
			}
			if !slices.Equal(said, c.want) {
				t.Errorf("%v: said at %v left, want %v", c.wait, said, c.want)
			}
		}
	}
	(&announcer{tell: func(Announcement) { t.Error("a change that is being made is announced as waiting") }}).hear(&Entry{Phase: Applying}, 0)
}
