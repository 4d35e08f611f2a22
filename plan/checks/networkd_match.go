package checks

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
)

func networkdMatch() Check {
	return Check{
		Code: "VN229", Name: "networkd-match", Layer: LayerBridges, Title: "networkd takes guests' links for its own", Run: runNetworkdMatch,
		Doc: Doc{
			Means: "A .network file of systemd-networkd matches taps, veths or bridges of guests as well as the host's cards. networkd configures them: runs DHCP on a guest's tap, takes it out of its bridge, " +
				"removes the bridge's address.",
			Example: "[Match] Type=ether and [Network] DHCP=yes in /etc/systemd/network/20-wired.network: taps and veths are ether, too.",
			Why:     "The file was written for a host without guests. networkd applies the first file that matches, in the order of their names.",
			Repair:  "It does not: the file is networkd's.",
			ByHand:  "Name the cards: [Match] Name=en*, or Kind=!* beside Type=ether (which leaves virtual links out); networkctl reload; then attach what lost its bridge.",
			Lasting: "Or a file sorted before it: 10-guests.network with [Match] Name=vnet* tap* veth* virbr* docker* and [Link] Unmanaged=yes.",
		},
	}
}

func runNetworkdMatch(h *Host) []Finding {
	proof, running := h.runs("systemd-networkd")
	if !running {
		return nil
	}
	files := h.files("/etc/systemd/network/", ".network")
	slices.SortFunc(files, func(a, b *schema.File) int { return strings.Compare(path.Base(a.Path), path.Base(b.Path)) })
	grabbed := map[string][]string{} // links by file
	for _, n := range h.Networks {
		if n.Manager == "" || n.Manager == "proxmox" {
			continue // a bridge that networkd may have made itself
		}
		for _, name := range append([]string{n.Device}, n.Ports...) {
			l := h.Link(name)
			for _, f := range files {
				if l == nil || !matches(f.Content, l) {
					continue
				}
				if !strings.Contains(strings.ReplaceAll(strings.ToLower(f.Content), " ", ""), "unmanaged=yes") {
					grabbed[f.Path] = append(grabbed[f.Path], name)
				}
				break
			}
		}
	}
	var out []Finding
	for _, f := range files {
		if len(grabbed[f.Path]) == 0 {
			continue
		}
		out = append(out, Finding{
			Severity: Warning, Title: fmt.Sprintf("%s matches %s", f.Path, strings.Join(grabbed[f.Path], ", ")), Object: f.Ref(), Links: grabbed[f.Path],
			Owner: "systemd-networkd", Proof: []string{proof},
			Detail:   "networkd configures them as links of its own, and may take them out of their bridge.",
			Evidence: []string{"[Match] of " + f.Path + ": " + strings.Join(matchLines(f.Content), ", "), proof},
			Cure:     []string{"Kind=!* in its [Match], or names of the host's cards"},
		})
	}
	return out
}

// matchLines are the lines of the section [Match].
func matchLines(text string) []string {
	var out []string
	in := false
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasPrefix(l, "["):
			in = l == "[Match]"
		case in && l != "" && l[0] != '#' && l[0] != ';':
			out = append(out, l)
		}
	}
	return out
}

// matches tells whether a .network file is for a link, as far as its section [Match] says so by name, type and kind
// (systemd.network(5)); one that asks for more is taken to be for others.
func matches(text string, l *schema.Link) bool {
	lines := matchLines(text)
	for _, line := range lines {
		key, value, _ := strings.Cut(line, "=")
		values := strings.Fields(value)
		var is string
		switch strings.TrimSpace(key) {
		case "Name":
			is = l.Name
		case "Type":
			is = "ether"
			if l.Type == "bridge" {
				is = "bridge"
			}
		case "Kind":
			is = map[string]string{"tap": "tun", "device": ""}[l.Type]
			if l.Type != "tap" && l.Type != "device" {
				is = l.Type
			}
		default:
			return false
		}
		if !anyGlob(values, is) {
			return false
		}
	}
	return len(lines) > 0
}

// anyGlob tells whether one of the patterns matches; "!" in front of the first turns all of them around.
func anyGlob(patterns []string, s string) bool {
	not := false
	if len(patterns) > 0 {
		patterns[0], not = strings.CutPrefix(patterns[0], "!")
	}
	hit := slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, s)
		return err == nil && ok && s != ""
	})
	return hit != not
}
