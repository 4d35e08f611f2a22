package trace

// Frame follows one frame in full, from the link it comes in by ("" for the host) until it has arrived or is lost: the first
// packet of a connection of which conntrack knows nothing.
func (w *Walker) Frame(in string, frame []byte) Result { return w.walkFrame(in, frame) }

// Acquainted makes everybody know his neighbours: for tests that make every frame themselves, and answer no question.
func (w *Walker) Acquainted() *Walker {
	w.acquainted = true
	return w
}

// Indexed gives every chain an index of all fields that it can have, however short it is.
func (w *Walker) Indexed() *Walker {
	for _, t := range w.tables {
		for _, c := range t.list {
			c.indexing.Do(func() { c.index = c.indexFrom(1, 1) })
		}
	}
	return w
}
