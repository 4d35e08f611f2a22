package checks

import (
	"fmt"

	"github.com/vmnet/vmnet/schema"
)

func bridgeDown() Check {
	return Check{
		Code: "VN227", Name: "bridge-down", Layer: LayerBridges, Title: "a bridge, or the port of a running guest, is down", Run: runBridgeDown,
		Doc: Doc{
			Means:   "A bridge with running guests is administratively down, or the port of a guest that runs is: IFF_UP is not set. Nothing passes, although every cable and guest is in order.",
			Example: "ip link set virbr0 down; ip link set vnet1 down. \"state DOWN\" of an empty bridge that is UP in the angle brackets is normal, and no finding.",
			Why:     "ifdown, networkctl down, nmcli device disconnect, or a script that took down what it did not know.",
			Repair:  "vmnet takes it up, for networks of the file.",
			ByHand:  "ip link set virbr0 up",
			Lasting: "Autostart in its manager's configuration (virsh net-autostart, auto br0), and keep other managers off it.",
		},
	}
}

func runBridgeDown(h *Host) []Finding {
	var out []Finding
	for _, n := range h.Networks {
		b := h.Link(n.Device)
		if b == nil || b.Type != "bridge" {
			continue
		}
		held := ""
		for _, p := range n.Ports {
			l := h.Link(p)
			if l.Facts == nil || l.Facts.NoCarrier && l.Type == "tap" {
				continue // nobody is there
			}
			if up(l) {
				held = p
				continue
			}
			if up(b) {
				out = append(out, down(h, l, []string{p, n.Device}, "its guest has no network"))
			}
		}
		if !up(b) && held != "" {
			f := down(h, b, []string{n.Device}, "its guests have no network")
			f.Evidence = append(f.Evidence, fmt.Sprintf("port %s is up", held))
			out = append(out, f)
		}
	}
	return out
}

func down(h *Host, l *schema.Link, links []string, hurts string) Finding {
	f := Finding{
		Severity: Error, Title: l.Name + " is down: " + hurts, Object: l.Ref(), Links: links,
		Detail:   "It is administratively down, not for want of a cable or a guest.",
		Evidence: []string{"flags of " + l.Name + " lack UP"},
		Cure:     []string{"ip link set " + l.Name + " up"},
		Want:     []schema.Object{&schema.Link{Name: l.Name, Type: l.Type, Up: new(true)}},
	}
	if who := h.holder(l.Name); who != nil {
		f.Evidence = append(f.Evidence, who.String())
	}
	return f
}
