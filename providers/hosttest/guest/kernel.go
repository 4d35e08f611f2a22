package guest

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is a directory of the cache with an unpacked kernel and its modules, as Fetch leaves it.
type kernel struct{ dir string }

func (k kernel) vmlinux() string { return filepath.Join(k.dir, "vmlinux") }
func (k kernel) modules() string { return filepath.Join(k.dir, "modules") }

// cacheDir is where kernels are kept.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the guest's kernel: %w", err)
	}
	return filepath.Join(dir, "vmnet-guest"), nil
}

// findKernel returns the newest kernel of the cache.
func findKernel() (kernel, error) {
	dir, err := cacheDir()
	if err != nil {
		return kernel{}, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "linux-image-*", "vmlinux"))
	if err != nil || len(found) == 0 {
		return kernel{}, fmt.Errorf("there is no kernel for guests in %s: fetch one with "+
			"go run github.com/vmnet/vmnet/providers/hosttest/guest/fetch (any user; QEMU: apt-get install --no-install-recommends qemu-system-x86)", dir)
	}
	slices.Sort(found)
	return kernel{filepath.Dir(found[len(found)-1])}, nil
}

// wanted are the modules that every guest loads: what it needs to run, then what tests need. A guest cannot load more: there
// is no modprobe on the kernel's side. (crc32c_generic is what libcrc32c asks the crypto layer for by another name.)
func wanted() []string {
	return strings.Fields(`crc32c_generic virtio_pci virtio_console 9pnet_virtio 9p overlay
		tun veth dummy macvlan vxlan vrf bonding bridge br_netfilter 8021q
		nf_tables nft_ct nft_chain_nat nft_nat nft_masq nft_redir nft_fib_inet nft_reject_inet nft_limit nft_log nft_hash nft_numgen nft_quota
		nft_meta_bridge nft_reject_bridge nf_conntrack_bridge nft_compat xt_conntrack xt_comment xt_tcpudp xt_multiport xt_mark xt_MASQUERADE xt_physdev
		nfnetlink_log nf_conntrack_netlink iptable_filter ip6table_filter af_packet`)
}

// needed resolves the wanted modules to files in the order to load, by what each says it depends on (modinfo(8)). A module
// that has no file is built in.
func (k kernel) needed() ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.modules(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	var order []string
	done := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		path, ok := files[name]
		if done[name] || !ok {
			return nil
		}
		done[name] = true
		depends, err := moduleDepends(path)
		if err != nil {
			return err
		}
		for _, d := range depends {
			if err := visit(d); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range wanted() {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	if !done["9p"] {
		return nil, fmt.Errorf("the kernel in %s has no module 9p", k.dir)
	}
	return order, nil
}

// moduleDepends reads the section .modinfo of a module.
func moduleDepends(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("read module %s: %w", path, errors.New("no .modinfo"))
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	var all []string
	for entry := range strings.SplitSeq(string(data), "\x00") {
		switch key, value, _ := strings.Cut(entry, "="); key {
		case "depends":
			all = append(all, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep": // "pre: crc32c post: …"
			pre, _, _ := strings.Cut(strings.TrimPrefix(value, "pre:"), "post:")
			if strings.HasPrefix(value, "pre:") {
				all = append(all, strings.Fields(pre)...)
			}
		}
	}
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "-", "_")
	}
	return all, nil
}
