package sim

import (
	"fmt"
	"io/fs"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// TakenError says that a socket which a server needs is somebody else's.
type TakenError struct {
	Need, By *schema.Listener
}

// Error names whoever has the socket, as far as that is known.
func (e *TakenError) Error() string {
	who := e.By.Process
	if who == "" {
		who = "another program"
	}
	return fmt.Sprintf("%s port %d of %s is taken: %s listens on %s", e.Need.Proto, e.Need.Port, e.Need.Addr, who, e.By.Ref().Name)
}

// Unwrap gives what bind(2) says.
func (*TakenError) Unwrap() error { return unix.EADDRINUSE }

// createService starts a server: on its link, with its sockets.
func (h *host) createService(d *schema.Dnsmasq) error {
	if h.Link(d.Device) == nil {
		return fmt.Errorf("there is no link %s: %w", d.Device, fs.ErrNotExist)
	}
	if d.State == schema.ServiceRunning {
		if err := h.listen(d); err != nil {
			return err
		}
	}
	made := schema.Clone(d).(*schema.Dnsmasq)
	made.Facts = nil // its process is yet to be
	h.put(made)
	return nil
}

func (h *host) updateService(after *schema.Dnsmasq) error {
	live, ok := h.Get(after.Ref()).(*schema.Dnsmasq)
	if !ok {
		return fmt.Errorf("%s: %w", after.Ref(), ErrUnmodelled)
	}
	h.unlisten(live)
	return h.createService(after)
}

func (h *host) deleteService(d *schema.Dnsmasq) error {
	if live, ok := h.Get(d.Ref()).(*schema.Dnsmasq); ok {
		h.unlisten(live)
	}
	h.del(d.Ref())
	return nil
}

// listen opens the sockets of a server, unless somebody has them.
func (h *host) listen(d *schema.Dnsmasq) error {
	for _, l := range d.Listeners() {
		for other := range schema.Each[*schema.Listener](h.State) {
			if clash(l, other) {
				return &TakenError{l, other}
			}
		}
	}
	for _, l := range d.Listeners() {
		h.put(l)
	}
	return nil
}

// unlisten closes the sockets of a server that runs.
func (h *host) unlisten(d *schema.Dnsmasq) {
	if d.State == schema.ServiceStopped {
		return
	}
	for _, l := range d.Listeners() {
		h.del(l.Ref())
	}
}

// deafen leaves a server without its link: it runs, and hears of no guest any more, not even when another link takes the name
// (SO_BINDTODEVICE is by index). Its socket for DHCP stays.
func (h *host) deafen(ref schema.Ref) {
	d := schema.Clone(h.Get(ref)).(*schema.Dnsmasq)
	if d.DHCP == nil || d.State != schema.ServiceRunning {
		return
	}
	if d.Facts == nil {
		d.Facts = &schema.DnsmasqFacts{}
	}
	d.Facts.Deaf = true
	h.put(d)
}

// clash tells whether two sockets cannot be there at the same time: one port, one link or any, one address or any (bind(2), ip(7)).
// A socket on :: takes IPv4 too, unless it says otherwise, which cannot be seen.
func clash(a, b *schema.Listener) bool {
	anywhere := func(x netip.Addr) bool { return x.IsUnspecified() }
	switch {
	case a.Proto != b.Proto || a.Port != b.Port:
		return false
	case a.Device != "" && b.Device != "" && a.Device != b.Device:
		return false
	case a.Addr.Is4() != b.Addr.Is4():
		return anywhere(a.Addr) && a.Addr.Is6() || anywhere(b.Addr) && b.Addr.Is6()
	}
	return a.Addr == b.Addr || anywhere(a.Addr) || anywhere(b.Addr)
}
