package guests

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// leaseFiles are where dnsmasq's table of leases is kept, by those who start it. A star stands for the bridge where the name of
// the file or its folder is the bridge's.
var leaseFiles = []struct {
	pattern string
	link    func(path string) string
}{
	{"/var/lib/misc/dnsmasq.leases", nil},
	{"/var/lib/dnsmasq/dnsmasq.leases", nil},
	{"/var/lib/incus/networks/*/dnsmasq.leases", folder},
	{"/var/lib/lxd/networks/*/dnsmasq.leases", folder},
	{"/var/snap/lxd/common/lxd/networks/*/dnsmasq.leases", folder},
	{"/var/lib/vmnet/dnsmasq/*.leases", func(path string) string { return strings.TrimSuffix(filepath.Base(path), ".leases") }},
	{"/var/lib/NetworkManager/dnsmasq-*.leases", func(path string) string {
		return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "dnsmasq-"), ".leases")
	}},
}

func folder(path string) string { return filepath.Base(filepath.Dir(path)) }

// libvirtStatus are libvirt's own tables, in JSON, named after the bridge (src/network/leaseshelper.c).
const libvirtStatus = "/var/lib/libvirt/dnsmasq/*.status"

func (p *Provider) leases() []schema.Object {
	var out []schema.Object
	for _, f := range leaseFiles {
		for _, path := range p.glob(f.pattern) {
			link := ""
			if f.link != nil {
				link = f.link(path)
			}
			for _, l := range parseLeases(readFile(filepath.Join(p.root, path)), path, link) {
				out = append(out, l)
			}
		}
	}
	for _, path := range p.glob(libvirtStatus) {
		for _, l := range parseStatus(readFile(filepath.Join(p.root, path)), path) {
			out = append(out, l)
		}
	}
	return out
}

func (p *Provider) glob(pattern string) []string {
	names, _ := filepath.Glob(filepath.Join(p.root, pattern)) // the patterns are good
	for i := range names {
		names[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(names[i], p.root), "/")
	}
	return names
}

// parseLeases reads lines "EXPIRY MAC IP NAME CLIENT-ID", and for IPv6 "EXPIRY IAID IP NAME DUID"; "*" stands for none. Lines of
// another form are not leases (dnsmasq's "duid …").
func parseLeases(text, path, link string) []*schema.Lease {
	var out []*schema.Lease
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		expires, err := strconv.ParseInt(f[0], 10, 64)
		ip, e := netip.ParseAddr(f[2])
		if err != nil || e != nil {
			continue
		}
		l := &schema.Lease{File: path, Link: link, IP: ip, Name: named(f[3]), ClientID: named(f[4])}
		if ip.Is4() {
			_, hw, tagged := strings.Cut(f[1], "-") // "06-52:54:…" for another kind of hardware than Ethernet
			if !tagged {
				hw = f[1]
			}
			l.MAC = strings.ToLower(hw)
		}
		if expires != 0 {
			l.Expires = time.Unix(expires, 0).UTC()
		}
		out = append(out, l)
	}
	return out
}

func named(s string) string {
	if s == "*" {
		return ""
	}
	return s
}

func parseStatus(text, path string) []*schema.Lease {
	var entries []struct {
		IP       string `json:"ip-address"`
		MAC      string `json:"mac-address"`
		Hostname string `json:"hostname"`
		ClientID string `json:"client-id"`
		Expiry   int64  `json:"expiry-time"`
	}
	if json.Unmarshal([]byte(text), &entries) != nil {
		return nil // empty before the first lease
	}
	var out []*schema.Lease
	for _, e := range entries {
		ip, err := netip.ParseAddr(e.IP)
		if err != nil {
			continue
		}
		l := &schema.Lease{
			File: path, Link: strings.TrimSuffix(filepath.Base(path), ".status"), IP: ip, MAC: strings.ToLower(e.MAC), Name: e.Hostname, ClientID: e.ClientID,
		}
		if e.Expiry != 0 {
			l.Expires = time.Unix(e.Expiry, 0).UTC()
		}
		out = append(out, l)
	}
	return out
}
