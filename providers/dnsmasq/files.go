package dnsmasq

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmnet/vmnet/schema"
)

// makeDirs makes the directories of a server. Its user has to come through them to read its files again, but need not see
// what else is there.
func (s *server) makeDirs() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.leases), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for dir := s.dir; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
				return err
			}
		}
		if dir == s.top {
			break
		}
	}
	return s.reachable()
}

// reachable tells whether the server's user can come to its files from /.
func (s *server) reachable() error {
	if userArgs()[0] == "--user=" {
		return nil
	}
	for dir := s.top; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%s (mode %v) is closed to the user that dnsmasq runs as: %w", dir, info.Mode().Perm(), fs.ErrPermission)
		}
	}
	return nil
}

// write puts the files in place, each as a whole.
func (s *server) write(t texts) error {
	return errors.Join(replace(s.reservations(), t.reservations), replace(s.names(), t.names), replace(s.conf(), t.conf))
}

// replace puts content in place of a file, unless it is there already. Nothing of it need outlast a reboot.
func replace(path, content string) error {
	if b, err := os.ReadFile(path); err == nil && string(b) == content {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// keepLeases sets leases from before the server aside, and gives it those that it had when it was ended.
func (s *server) keepLeases(d *schema.Dnsmasq) error {
	b, err := os.ReadFile(s.leases)
	switch {
	case err == nil:
		return os.WriteFile(s.formerLeases(), b, 0o600)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case d.Facts == nil || len(d.Facts.Leases) == 0:
		return nil
	}
	return os.WriteFile(s.leases, []byte(leasesText(d.Facts.Leases)), 0o600)
}

func (s *server) dropLeases(lived bool) error {
	if !lived {
		if err := os.Rename(s.formerLeases(), s.leases); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var errs []error
	for _, path := range []string{s.leases, s.formerLeases()} {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// readLeases reads what dnsmasq keeps of leases: "EXPIRES MAC IP NAME CLIENT-ID", * for what is not known (dnsmasq(8),
// --dhcp-script). Lines about IPv6, and such that are being written, are passed over.
func readLeases(path, device string) ([]schema.Lease, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	defer f.Close()
	var all []schema.Lease
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) != 5 {
			continue
		}
		expires, err1 := strconv.ParseInt(w[0], 10, 64)
		ip, err2 := netip.ParseAddr(w[2])
		if err1 != nil || err2 != nil || !ip.Is4() {
			continue
		}
		l := schema.Lease{File: path, Link: device, MAC: strings.ToLower(w[1]), IP: ip, Name: known(w[3]), ClientID: known(w[4])}
		if expires != 0 {
			l.Expires = time.Unix(expires, 0).UTC()
		}
		all = append(all, l)
	}
	return all, nil
}

func known(s string) string {
	if s == "*" {
		return ""
	}
	return s
}

func leasesText(all []schema.Lease) string {
	unknown := func(s string) string {
		if s == "" {
			return "*"
		}
		return s
	}
	var b strings.Builder
	for _, l := range all {
		expires := int64(0)
		if !l.Expires.IsZero() {
			expires = l.Expires.Unix()
		}
		fmt.Fprintf(&b, "%d %s %s %s %s\n", expires, l.MAC, l.IP, unknown(l.Name), unknown(l.ClientID))
	}
	return b.String()
}
