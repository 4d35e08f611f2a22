package sim

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// The settings that change others, or more than themselves (Documentation/networking/ip-sysctl.rst).
const (
	ipForward   = "net.ipv4.ip_forward"
	forward4All = "net.ipv4.conf.all.forwarding"
	forward6All = "net.ipv6.conf.all.forwarding"
	disable6All = "net.ipv6.conf.all.disable_ipv6"
)

// noSysctl refuses a setting that the state does not know: nobody can make one.
func noSysctl(*schema.Sysctl) error {
	return fmt.Errorf("there is no such setting: %w", fs.ErrNotExist)
}

// setSysctl writes a setting. The kernel hands a new default of IPv4 on to links that never had an address, unless the default
// was ever written before they were made (devinet_copy_dflt_conf). Neither is to be seen; at boot sysctl.d writes those that
// matter, so here links keep what they have.
func (h *host) setSysctl(c *schema.Sysctl) error {
	if family, link, name, ok := schema.SplitLinkSysctl(c.Key); ok {
		return h.setLinkSysctl(family, link, name, c)
	}
	old, _ := h.Sysctl(c.Key)
	h.put(schema.Clone(c))
	switch c.Key {
	case ipForward, forward4All: // inet_forward_change; IPv4 alone passes over a value that is the old one
		if old == c.Value {
			return nil
		}
		for _, key := range []string{ipForward, forward4All, "net.ipv4.conf.default.forwarding"} {
			h.follow(key, c.Value)
		}
		return h.eachLink("ipv4", "forwarding", c.Value)
	case forward6All: // addrconf_forward_change
		h.follow("net.ipv6.conf.default.forwarding", c.Value)
		return h.eachLink("ipv6", "forwarding", c.Value)
	case disable6All: // addrconf_disable_change
		h.follow("net.ipv6.conf.default.disable_ipv6", c.Value)
		return h.eachLink("ipv6", "disable_ipv6", c.Value)
	}
	return nil
}

// follow sets a setting that changes with another, where the state knows it.
func (h *host) follow(key, value string) {
	if old, ok := h.Sysctl(key); ok && old != value {
		h.put(&schema.Sysctl{Key: key, Value: value})
	}
}

// eachLink sets a per-link setting on every link.
func (h *host) eachLink(family, name, value string) error {
	for _, r := range slices.Clone(h.Refs(schema.KindLink)) {
		key := schema.LinkSysctl(family, r.Name, name)
		if old, ok := h.Sysctl(key); !ok || old == value {
			continue
		}
		if err := h.setLinkSysctl(family, r.Name, name, &schema.Sysctl{Key: key, Value: value}); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) setLinkSysctl(family, link, name string, c *schema.Sysctl) error {
	l := h.Link(link)
	switch {
	case l == nil:
		return noLink(link)
	case l.Facts == nil:
		return fmt.Errorf("settings of %s: %w", link, ErrUnmodelled)
	case family == "ipv4" && l.Facts.IPv4 == nil, family == "ipv6" && l.Facts.IPv6 == nil:
		return fmt.Errorf("%s does not speak %s: %w", link, family, fs.ErrNotExist)
	}
	if _, err := strconv.Atoi(c.Value); err != nil {
		return fmt.Errorf("%q is no number: %w", c.Value, unix.EINVAL)
	}
	old, known := h.Sysctl(c.Key)
	h.touch(l.Ref())
	if !h.SetLinkSysctl(c.Key, c.Value) {
		h.put(schema.Clone(c)) // a setting that links do not carry along
		return nil
	}
	if !known || old == c.Value || family != "ipv6" {
		return nil
	}
	switch name {
	case "disable_ipv6":
		if c.Value == "0" {
			h.permanent6(link)
		} else if old == "0" {
			h.down6(link)
		}
	case "forwarding":
		if (old == "0") != (c.Value == "0") {
			h.forward6(link)
		}
	}
	return nil
}

// defaultConf4 and defaultConf6 are the settings a new link starts with: conf.default's.
func (h *host) defaultConf4() *schema.LinkConf4 {
	d := h.defaults("ipv4")
	return &schema.LinkConf4{
		Forwarding: d("forwarding", 0), RPFilter: d("rp_filter", 0), RouteLocalnet: d("route_localnet", 0),
		ARPIgnore: d("arp_ignore", 0), ARPAnnounce: d("arp_announce", 0), ARPFilter: d("arp_filter", 0),
		ProxyARP: d("proxy_arp", 0), AcceptLocal: d("accept_local", 0), LogMartians: d("log_martians", 0),
		SrcValidMark: d("src_valid_mark", 0), PromoteSecondaries: d("promote_secondaries", 0),
		IgnoreLinkdown: d("ignore_routes_with_linkdown", 0), BCForwarding: d("bc_forwarding", 0),
	}
}

func (h *host) defaultConf6() *schema.LinkConf6 {
	d := h.defaults("ipv6")
	return &schema.LinkConf6{
		Disable: d("disable_ipv6", 0), Forwarding: d("forwarding", 0), AcceptRA: d("accept_ra", 1), ProxyNDP: d("proxy_ndp", 0),
		Autoconf: d("autoconf", 1), AcceptDAD: d("accept_dad", 1),
		IgnoreLinkdown: d("ignore_routes_with_linkdown", 0), ForceForwarding: d("force_forwarding", 0),
	}
}

// defaults looks a default up. Where the state does not know it, it goes by conf.all for what both follow, then by the
// kernel's own default.
func (h *host) defaults(family string) func(name string, kernel int) int {
	return func(name string, kernel int) int {
		v, ok := h.Sysctl("net." + family + ".conf.default." + name)
		if !ok && (name == "forwarding" || name == "disable_ipv6") {
			v, ok = h.Sysctl("net." + family + ".conf.all." + name)
			if !ok && family == "ipv4" {
				v, ok = h.Sysctl(ipForward)
			}
		}
		if n, err := strconv.Atoi(v); ok && err == nil {
			return n
		}
		return kernel
	}
}
