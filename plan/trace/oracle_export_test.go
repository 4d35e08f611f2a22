package trace

// Frame follows one frame in full, from the link it comes in by ("" for the host) until it has arrived or is lost: the first
// packet of a connection of which conntrack knows nothing.
func (w *Walker) Frame(in string, frame []byte) Result { return w.walkFrame(in, frame) }

// Acquainted makes everybody know his neighbours: for tests that make every frame themselves, and answer no question.
func (w *Walker) Acquainted() *Walker {
	w.acquainted = true
	return w
}
