package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

// confirmed is the owner, with what was seen and what the disk says of it.
func (sig signature) confirmed(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule, seen string) Owner {
	o := Owner{Name: sig.owner, Confidence: medium, Evidence: []string{seen}}
	if t.Flags&tableOwned != 0 {
		o.Evidence = append(o.Evidence, "a process owns the table: the kernel refuses others' changes to it")
	}
	more := sig.proof(s)
	if rule != nil {
		if file, line := persisted(s, t, c, rule); file != "" {
			more = append(more, fmt.Sprintf("%s line %d has the same rule", file, line))
		}
	}
	if len(more) > 0 {
		o.Confidence = high
	} else if off := sig.switchedOff(s); off != "" {
		o.Evidence = append(o.Evidence, off+": its rules were left behind")
	}
	o.Evidence = append(o.Evidence, more...)
	return o
}

// tableOwned is NFT_TABLE_F_OWNER (include/uapi/linux/netfilter/nf_tables.h).
const tableOwned = 2

// proof lists what shows the program to be at work beside its rules: a switch in its files, a process.
func (sig signature) proof(s *schema.State) []string {
	var out []string
	for _, x := range sig.signs {
		if line, n := x.find(s); line != "" && (len(x.values) == 0 || slices.Contains(x.values, x.value(line))) {
			out = append(out, fmt.Sprintf("%s:%d: %s", x.path, n, line))
		}
	}
	for _, unit := range sig.units {
		if pid := processOf(s, unit); pid != "" {
			return append(out, fmt.Sprintf("%s.service is running, pid %s", unit, pid))
		}
	}
	for _, p := range sig.pids {
		if f := fileAt(s, p); f != nil {
			return append(out, fmt.Sprintf("%s: process %s is running", p, strings.TrimSpace(f.Content)))
		}
	}
	return out
}

// switchedOff finds a switch that says the program is not at work.
func (sig signature) switchedOff(s *schema.State) string {
	for _, x := range sig.signs {
		if line, n := x.find(s); line != "" && len(x.values) > 0 && !slices.Contains(x.values, x.value(line)) {
			return fmt.Sprintf("%s:%d: %s", x.path, n, line)
		}
	}
	return ""
}

// find is the line of the file with the key, counting from 1; "" when there is none.
func (x sign) find(s *schema.State) (string, int) {
	f := fileAt(s, x.path)
	if f == nil {
		return "", 0
	}
	for i, l := range strings.Split(f.Content, "\n") {
		if l = strings.TrimSpace(l); l != "" && strings.HasPrefix(l, x.key) {
			return l, i + 1
		}
	}
	return "", 0
}

func (x sign) value(line string) string {
	return strings.Trim(strings.TrimSpace(strings.TrimPrefix(line, x.key)), `"'`)
}

func fileAt(s *schema.State, p string) *schema.File {
	f, _ := s.Get(schema.FileRef(p)).(*schema.File)
	return f
}

// processOf is the first process of a running service, by its control group.
func processOf(s *schema.State, unit string) string {
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		if f := fileAt(s, path.Join(hierarchy, "system.slice", unit+".service", "cgroup.procs")); f != nil {
			pid, _, _ := strings.Cut(f.Content, "\n")
			return pid
		}
	}
	return ""
}
