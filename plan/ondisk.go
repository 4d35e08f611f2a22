package plan

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vmnet/vmnet/schema"
	"github.com/vmnet/vmnet/schema/iptspec"
	"github.com/vmnet/vmnet/schema/nftconf"
)

// ruleFile says what a file of rules is for.
type ruleFile struct {
	family string // of iptables' files
	loader string // who loads it at boot
	named  bool   // it belongs to a program that writes it: named, never edited
}

// iptablesFiles are in the format of iptables-restore(8): of netfilter-persistent(8), of Red Hat's iptables-services, of
// Arch's iptables.service, of if-up scripts after wiki.debian.org/iptables, and of ufw (ufw-framework(8)), and of what Shorewall gave iptables-restore last
// (shorewall.conf(5), VARDIR).
var iptablesFiles = map[string]ruleFile{
	"/etc/iptables/rules.v4":        {"ip", "iptables-persistent", false},
	"/etc/iptables/rules.v6":        {"ip6", "iptables-persistent", false},
	"/etc/sysconfig/iptables":       {"ip", "iptables-services", false},
	"/etc/sysconfig/ip6tables":      {"ip6", "iptables-services", false},
	"/etc/iptables/iptables.rules":  {"ip", "iptables.service", false},
	"/etc/iptables/ip6tables.rules": {"ip6", "ip6tables.service", false},
	"/etc/iptables.rules":           {"ip", "an if-up script", false},
	"/etc/ip6tables.rules":          {"ip6", "an if-up script", false},
	"/etc/iptables.up.rules":        {"ip", "an if-up script", false},
	"/etc/ufw/before.rules":         {"ip", "ufw", false},
	"/etc/ufw/before6.rules":        {"ip6", "ufw", false},
	"/etc/ufw/after.rules":          {"ip", "ufw", false},
	"/etc/ufw/after6.rules":         {"ip6", "ufw", false},
	"/etc/ufw/user.rules":           {"ip", "ufw", true},
	"/etc/ufw/user6.rules":          {"ip6", "ufw", true},

	"/var/lib/shorewall/.iptables-restore-input":   {"ip", "shorewall", true},
	"/var/lib/shorewall6/.ip6tables-restore-input": {"ip6", "shorewall", true},
}

const (
	nftLoader = "nftables.service"
	// directRules are firewalld's, one XML element each (firewalld.direct(5)).
	directRules = "/etc/firewalld/direct.xml"
)

// nftMains are the files that nftables.service loads on Debian, and on Red Hat.
var nftMains = []string{"/etc/nftables.conf", "/etc/sysconfig/nftables.conf"}

// nftFiles lists the files that nftables.service loads, with what they include.
func nftFiles(s *schema.State) []*schema.File {
	var out []*schema.File
	todo := slices.Clone(nftMains)
	for len(todo) > 0 {
		f := fileAt(s, todo[0])
		todo = todo[1:]
		if f == nil || slices.Contains(out, f) {
			continue
		}
		out = append(out, f)
		for _, pattern := range nftconf.Includes(f.Content) {
			if !path.IsAbs(pattern) {
				pattern = path.Join("/etc", pattern)
			}
			for other := range schema.Each[*schema.File](s) {
				if ok, err := path.Match(path.Clean(pattern), other.Path); ok && err == nil {
					todo = append(todo, other.Path)
				}
			}
		}
	}
	return out
}

// definesOf are the defines of files that are loaded together.
func definesOf(files []*schema.File) map[string]string {
	var contents []string
	for _, f := range files {
		contents = append(contents, f.Content)
	}
	return nftconf.Defines(contents...)
}

// loadedFile is a file of iptables-restore(8), when somebody loads it: those of ufw count only while ufw is switched on.
func loadedFile(s *schema.State, p string) *schema.File {
	if iptablesFiles[p].loader == "ufw" {
		x := sign{"/etc/ufw/ufw.conf", "ENABLED=", nil}
		if line, _ := x.find(s); x.value(line) != "yes" {
			return nil
		}
	}
	return fileAt(s, p)
}

// loaderOf names who loads a file of rules.
func loaderOf(p string) string {
	switch f, ok := iptablesFiles[p]; {
	case ok:
		return f.loader
	case p == directRules:
		return "firewalld"
	}
	return nftLoader
}

// services load the files at boot, by loader.
var services = map[string][]string{
	"iptables-persistent": {"netfilter-persistent"}, "iptables-services": {"iptables", "ip6tables"}, "iptables.service": {"iptables"},
	"ip6tables.service": {"ip6tables"}, nftLoader: {"nftables"},
}

// atBoot says which enabled service loads a file at boot; "" when none was seen, though an old init script or a hook may.
func atBoot(s *schema.State, file string) string {
	for _, unit := range services[loaderOf(file)] {
		for f := range schema.Each[*schema.File](s) {
			if ok, err := path.Match("/etc/systemd/system/*.wants/"+unit+".service", f.Path); ok && err == nil {
				return unit + ".service is enabled and loads it at boot: " + f.Path
			}
		}
	}
	if loaderOf(file) == "ufw" {
		return "ufw is enabled and loads it at boot: /etc/ufw/ufw.conf"
	}
	return ""
}

// persisted finds the line on disk that says the same as a live rule, counting from 1: it comes back at boot.
func persisted(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) (file string, line int) {
	if !t.Legacy && !t.Compat {
		files := nftFiles(s)
		defs := definesOf(files)
		for _, f := range files {
			if r, ok := nftconf.Find(f.Content, defs, t.Family, t.Name, c.Name, rule.Text); ok {
				return f.Path, r.Line + 1
			}
		}
		return "", 0
	}
	for _, p := range slices.Sorted(maps.Keys(iptablesFiles)) {
		f := loadedFile(s, p)
		if f == nil || iptablesFiles[p].family != t.Family {
			continue
		}
		if i := savedLine(f.Content, t.Name, "-A "+c.Name+" "+rule.Text); i >= 0 {
			return p, i + 1
		}
	}
	if i := directLine(s, t, c, rule); i > 0 {
		return directRules, i
	}
	return "", 0
}

// savedLine finds a rule in the text of iptables-save: the index of its line, or -1.
func savedLine(content, table, rule string) int {
	in := ""
	for i, l := range strings.Split(content, "\n") {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "*"); ok {
			in = name
		}
		if in == table && strings.Contains(l, "-A ") && iptspec.Equal(l, rule) {
			return i
		}
	}
	return -1
}

// directLine finds a rule among firewalld's direct ones, counting from 1. firewalld keeps them in chains of their own:
// what is for FORWARD stands in FORWARD_direct.
func directLine(s *schema.State, t *schema.Table, c *schema.Chain, rule *schema.Rule) int {
	f := fileAt(s, directRules)
	if f == nil {
		return 0
	}
	ipv := map[string]string{"ip": "ipv4", "ip6": "ipv6"}[t.Family]
	for i, l := range strings.Split(f.Content, "\n") {
		_, element, ok := strings.Cut(l, "<rule ")
		attrs, text, open := strings.Cut(element, ">")
		text, _, closed := strings.Cut(text, "</rule>")
		if !ok || !open || !closed || attr(attrs, "ipv") != ipv || attr(attrs, "table") != t.Name {
			continue
		}
		if strings.TrimSuffix(c.Name, "_direct") == attr(attrs, "chain") && iptspec.Equal(text, rule.Text) {
			return i + 1
		}
	}
	return 0
}

// attr is the value of an attribute of an XML element.
func attr(attrs, name string) string {
	for _, quote := range []string{`"`, `'`} {
		if _, rest, ok := strings.Cut(" "+attrs, " "+name+"="+quote); ok {
			v, _, _ := strings.Cut(rest, quote)
			return v
		}
	}
	return ""
}

// savedPolicy finds the line on disk that sets the policy of a base chain, counting from 1.
func savedPolicy(s *schema.State, t *schema.Table, c *schema.Chain) (file string, line int) {
	if !t.Legacy && !t.Compat {
		for _, f := range nftFiles(s) {
			for _, b := range nftconf.Bases(f.Content) {
				if b.Family == t.Family && b.Table == t.Name && b.Chain == c.Name && b.Policy == c.Policy {
					return f.Path, b.Line + 1
				}
			}
		}
		return "", 0
	}
	for _, p := range slices.Sorted(maps.Keys(iptablesFiles)) {
		f, in := loadedFile(s, p), ""
		if f == nil || iptablesFiles[p].family != t.Family {
			continue
		}
		for i, l := range strings.Split(f.Content, "\n") {
			l = strings.TrimSpace(l)
			if name, ok := strings.CutPrefix(l, "*"); ok {
				in = name
			}
			if w := strings.Fields(l); in == t.Name && len(w) >= 2 && w[0] == ":"+c.Name && strings.EqualFold(w[1], c.Policy) {
				return p, i + 1
			}
		}
	}
	return "", 0
}
