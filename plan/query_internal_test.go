package plan

import "testing"

func TestNotAsked(t *testing.T) {
	t.Parallel()
	var h healer
	for _, dev := range []string{"a", "b", "a"} {
		h.skip(dev)
	}
	if got, want := h.notAsked(), "asked behind 8 links, and not behind 2 more: a, b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := h.notAsked(); got != "" {
		t.Errorf("said twice: %q", got)
	}
}
