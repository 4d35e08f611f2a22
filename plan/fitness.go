package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema"
)

// fitness says what the host has of what virtual networks need. It judges only what is certain: what is wrong is a finding.
func fitness(h *checks.Host) []Fitness {
	out := []Fitness{}
	add := func(name, value string, ok bool) {
		if value != "" {
			out = append(out, Fitness{name, value, ok})
		}
	}
	if m := h.Machine(); m != nil {
		add("kernel", "Linux "+m.Release, true)
		add("modules", modules(m), !m.NoModules)
		add("tap devices", map[bool]string{true: "/dev/net/tun is not there: no guest can get a tap", false: "/dev/net/tun is there"}[m.NoTun], !m.NoTun)
		add("capabilities", strings.Join(m.Capabilities, ", "), true)
		if m.ConntrackMax > 0 {
			add("connections", fmt.Sprintf("%d of at most %d are tracked", m.Conntrack, m.ConntrackMax), m.Conntrack*10 < m.ConntrackMax*9)
		}
	}
	if len(h.Blind) > 0 {
		add("not seen", strings.Join(h.Blind, ", "), false)
	}
	if v, ok := h.Sysctl("net.ipv4.ip_forward"); ok {
		add("forwarding", "net.ipv4.ip_forward = "+v, true)
	}
	if names := atWork(h.State); len(names) > 0 {
		add("managers at work", strings.Join(names, ", "), true)
	}
	return out
}

func modules(m *schema.Machine) string {
	switch {
	case m.NoModules:
		return "/lib/modules/" + m.Release + " is gone: no module can be loaded until the next boot"
	case len(m.Modules) > 0:
		return strings.Join(m.Modules, ", ") + " are loaded"
	}
	return ""
}

// atWork names the managers of rules and of networks that run, by their processes.
func atWork(s *schema.State) []string {
	var out []string
	for _, sig := range signatures {
		for _, path := range sig.pids {
			if s.Get(schema.FileRef(path)) != nil {
				out = appendNew(out, sig.owner)
			}
		}
	}
	for f := range schema.Each[*schema.File](s) {
		unit, ok := strings.CutSuffix(f.Path, ".service/cgroup.procs")
		if ok {
			out = appendNew(out, unit[strings.LastIndex(unit, "/")+1:])
		}
	}
	slices.Sort(out)
	return out
}
