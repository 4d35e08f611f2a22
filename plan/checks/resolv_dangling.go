package checks

import "github.com/vmnet/vmnet/schema"

func resolvDangling() Check {
	return Check{
		Code: "VN507", Name: "resolv-dangling", Layer: LayerServices, Title: "/etc/resolv.conf leads nowhere", Run: runResolvDangling,
		Doc: Doc{
			Means:   "/etc/resolv.conf is a link to a file that does not exist. The host resolves no names, and dnsmasq, which reads it for guests, refuses to start (\"directory … for resolv-file is missing\").",
			Example: "/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf with systemd-resolved stopped.",
			Why:     "The program that writes the file was stopped or removed: systemd-resolved, resolvconf, NetworkManager.",
			Repair:  "It does not: the file is the resolver's.",
			ByHand:  "systemctl enable --now systemd-resolved; or replace the link by a file: rm /etc/resolv.conf; echo nameserver 192.0.2.53 > /etc/resolv.conf.",
			Lasting: "The service enabled, or the file in place of the link.",
		},
	}
}

func runResolvDangling(h *Host) []Finding {
	m := h.Machine()
	if m == nil || m.DanglingResolv == "" {
		return nil
	}
	return []Finding{{
		Severity: Error, Title: "/etc/resolv.conf leads to " + m.DanglingResolv + ", which is not there", Object: schema.FileRef("/etc/resolv.conf"),
		Detail:   "The host resolves no names, and the DNS servers of virtual networks do not start.",
		Evidence: []string{"/etc/resolv.conf -> " + m.DanglingResolv, "that file does not exist"},
		Cure:     []string{"systemctl enable --now systemd-resolved, or a file in place of the link"},
	}}
}
