package checks

import (
	"fmt"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func nftablesFlush() Check {
	return Check{
		Code: "VN422", Name: "nftables-flush", Layer: LayerFirewall, Title: "a reload of nftables removes everybody's rules", Run: runNftablesFlush,
		Doc: Doc{
			Means: "/etc/nftables.conf begins with flush ruleset, nftables.service is enabled, and other programs have tables in the kernel: systemctl restart or reload nftables removes theirs too, " +
				"and guests are cut off until those programs are restarted.",
			Example: "flush ruleset in /etc/nftables.conf (Debian's default) on a host with Docker and libvirt.",
			Why:     "The distribution's example flushes everything so that the file describes all there is.",
			Repair:  "It does not: the file is yours. What was removed of vmnet's, the next apply writes again.",
			ByHand:  "In place of flush ruleset, for each of the file's tables: table inet filter; delete table inet filter.",
			Lasting: "The file is what lasts.",
		},
	}
}

func runNftablesFlush(h *Host) []Finding {
	enabled := h.files("/etc/systemd/system/", "/nftables.service")
	if len(enabled) == 0 {
		return nil
	}
	for _, path := range []string{"/etc/nftables.conf", "/etc/sysconfig/nftables.conf"} {
		content := h.file(path)
		at := 0
		for i, text := range strings.Split(content, "\n") {
			if strings.HasPrefix(strings.Join(strings.Fields(text), " "), "flush ruleset") {
				at = i + 1
			}
		}
		others := h.othersTables(content)
		if at == 0 || len(others) == 0 {
			continue
		}
		return []Finding{{
			Severity: Warning, Title: "systemctl restart nftables removes the tables of others", Object: schema.FileRef(path),
			Detail:   "Guests whose rules they hold are cut off until their owners write them again.",
			Evidence: append([]string{fmt.Sprintf("%s:%d: flush ruleset", path, at), enabled[0].Path + " is there: the service is enabled"}, others...),
			Cure:     []string{"replace flush ruleset in " + path + " by \"table inet NAME; delete table inet NAME\" for the file's own tables"},
		}}
	}
	return nil
}

// othersTables are the tables with a base chain that a file does not hold.
func (h *Host) othersTables(content string) []string {
	var out []string
	for t := range schema.Each[*schema.Table](h.State) {
		if t.Legacy || strings.Contains(content, "table "+t.Family+" "+t.Name) || t.Family == "ip" && strings.Contains(content, "table "+t.Name+" ") {
			continue
		}
		for _, c := range t.Chains {
			if c.Hook != "" && len(c.Rules) > 0 {
				out = append(out, fmt.Sprintf("table %s %s is not in the file", t.Family, t.Name))
				break
			}
		}
	}
	return out
}
