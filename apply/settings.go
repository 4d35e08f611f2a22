package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// settings gives a link that was deleted and made anew the settings it had: /proc/sys/net/ipv4/conf/LINK and ipv6/conf/LINK
// went with the old one, and the new one has the defaults (inetdev_init in net/ipv4/devinet.c).
func (r *run) settings(ctx context.Context, c schema.Change) error {
	if c.Ref.Kind != schema.KindLink || c.After != nil {
		return nil
	}
	was := r.before.state.Link(c.Ref.Name)
	if was == nil || was.Facts == nil {
		return nil
	}
	live, err := see(ctx, r.host)
	if err != nil {
		return fmt.Errorf("read the settings of %s: %w", c.Ref, err)
	}
	if l := live.Link(was.Name); l == nil || l.Facts == nil || l.Facts.Index == was.Facts.Index {
		return nil // it is the old one, and what others set on it is theirs
	}
	var errs []error
	for _, key := range settingsOf(was) {
		want, have := r.before.state.Get(schema.SysctlRef(key)), live.Get(schema.SysctlRef(key))
		if want == nil || have == nil || schema.Equal(want, have) {
			continue
		}
		if err := r.host.Do(ctx, schema.Change{Ref: want.Ref(), Before: have, After: want}); err != nil {
			errs = append(errs, fmt.Errorf("set %s back: %w", want, err))
		}
	}
	return errors.Join(errs...)
}

// settingsOf are the names of the settings that are read with a link.
func settingsOf(l *schema.Link) (keys []string) {
	add := func(family string, conf any) {
		names := map[string]int{}
		if b, err := json.Marshal(conf); err != nil || json.Unmarshal(b, &names) != nil { // their JSON names are the kernel's
			return
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			keys = append(keys, schema.LinkSysctl(family, l.Name, name))
		}
	}
	if l.Facts.IPv4 != nil {
		add("ipv4", l.Facts.IPv4)
	}
	if l.Facts.IPv6 != nil {
		add("ipv6", l.Facts.IPv6)
	}
	return keys
}
