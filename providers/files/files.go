// Package files reads and replaces the files on disk that hold firewall rules of the host, such as
// /etc/iptables/rules.v4, and reads the few that tell which firewall managers are at work.
//
// It does not understand them, but for the include statements of nftables' files. A file is replaced whole and atomically, and what it replaces is kept beside it.
package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// maxSize bounds what is read: a ruleset of a hundred thousand rules is 10 MB.
const maxSize = 64 << 20

// Provider reads and replaces a list of files.
type Provider struct {
	root  string
	paths []string
	signs []string // patterns of what is only looked at
}

// New returns a Provider of these files, and of what those for nft(8) include; when none is named, of Rules, and of
// Signs. Those that do not exist are left out when reading.
func New(paths ...string) *Provider {
	if len(paths) == 0 {
		return &Provider{paths: Rules(), signs: append(Signs(), Settings()...)}
	}
	return &Provider{paths: paths}
}

// Under returns a Provider that takes every path to be below root, so that it cannot touch the real ones.
func (p *Provider) Under(root string) *Provider {
	c := *p
	c.root = root
	return &c
}

// Kinds lists what this provider speaks for.
func (p *Provider) Kinds() []schema.Kind { return []schema.Kind{schema.KindFile} }

// Read returns those of the files that exist. A sign that cannot be read is left out as well: it is evidence, and nothing
// rests on it alone.
func (p *Provider) Read(ctx context.Context) ([]schema.Object, error) {
	var all []schema.Object
	seen := map[string]bool{}
	for todo := slices.Clone(p.paths); len(todo) > 0 && len(seen) < maxFiles; todo = todo[1:] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := todo[0]
		if seen[path] {
			continue
		}
		seen[path] = true
		f, err := p.read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", schema.FileRef(path), err)
		}
		all = append(all, f)
		todo = append(todo, p.included(f)...)
	}
	return append(all, p.readSigns(seen)...), ctx.Err()
}

// target is the file that a path leads to: a symbolic link is not replaced, but what it names. Below root, links are
// followed as if root were /.
func (p *Provider) target(path string) (string, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || filepath.Clean(path) != path {
		return "", fmt.Errorf("%q is not a clean absolute path: %w", path, fs.ErrInvalid)
	}
	if p.root == "" {
		target, err := filepath.EvalSymlinks(path)
		return target, short(err)
	}
	for range 40 { // MAXSYMLINKS, include/linux/namei.h
		link, err := os.Readlink(filepath.Join(p.root, path))
		if err != nil {
			return filepath.Join(p.root, path), nil // not a link, or not there
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = filepath.Clean(link)
	}
	return "", unix.ELOOP
}

func (p *Provider) read(path string) (*schema.File, error) {
	target, err := p.target(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(target)
	if err != nil {
		return nil, short(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSize {
		return nil, fmt.Errorf("it is %v of %d bytes, not a file of rules", info.Mode(), info.Size())
	}
	b, err := os.ReadFile(target)
	if err != nil {
		return nil, short(err)
	}
	return &schema.File{Path: path, Mode: uint32(info.Mode().Perm()), Content: string(b)}, nil
}

// Do replaces one file, compare-and-set on its content. Before it does, it keeps the old content beside the file, as
// <path>.vmnet-<first 12 hexadecimal digits of its SHA-256>, unless this takes back what Do wrote. Mode and owner stay. Files are neither made nor removed.
func (p *Provider) Do(_ context.Context, c schema.Change) error {
	if err := p.change(c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) change(c schema.Change) error {
	before, _ := c.Before.(*schema.File)
	after, _ := c.After.(*schema.File)
	live, err := p.read(c.Ref.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case live == nil && before != nil:
		return err
	case live != nil && before == nil:
		return fmt.Errorf("it is there already: %w", fs.ErrExist)
	case before == nil || after == nil:
		return fmt.Errorf("files of others are neither made nor removed: %w", errors.ErrUnsupported)
	case after.Path != c.Ref.Name:
		return fmt.Errorf("the change is about %s", after.Path)
	case live.Content != before.Content:
		return errors.New("it changed meanwhile: its content is not what it was")
	case live.Content == after.Content:
		return nil
	}
	return p.replace(after, live)
}

// copyName is where the replaced content is kept.
func copyName(target, content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf("%s.vmnet-%x", target, sum[:6])
}

func (p *Provider) replace(after, live *schema.File) error {
	target, err := p.target(after.Path)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return short(err)
	}
	if undoes(copyName(target, after.Content), after.Content, info) {
		return write(target, after.Content, info)
	}
	kept := copyName(target, live.Content)
	if err := write(kept, live.Content, info); err != nil {
		return fmt.Errorf("keep a copy: %w", err)
	}
	if err := write(target, after.Content, info); err != nil {
		return err
	}
	// The copy bears the time of what replaced its content: so undoes knows our own writing. Without it, an undo keeps
	// one copy more.
	if info, err := os.Stat(target); err == nil {
		_ = os.Chtimes(kept, info.ModTime(), info.ModTime())
	}
	return nil
}

// undoes tells whether writing content takes back what this package wrote: it stands in a copy, and the file was not
// touched since that was made.
func undoes(kept, content string, now fs.FileInfo) bool {
	info, err := os.Stat(kept)
	if err != nil || !info.ModTime().Equal(now.ModTime()) {
		return false
	}
	b, err := os.ReadFile(kept)
	return err == nil && string(b) == content
}

// write puts content in place of name, with the mode and owner of like: a temporary file in the same directory, on disk
// before it is renamed, and the directory's entry on disk before write returns.
func write(name, content string, like fs.FileInfo) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".vmnet-tmp-*")
	if err != nil {
		return short(err)
	}
	err = errors.Join(fillIn(f, content, like), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(short(err), os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(name))
}

func fillIn(f *os.File, content string, like fs.FileInfo) error {
	if err := dress(f, like); err != nil {
		return err
	}
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	return f.Sync()
}

// dress gives the file the owner and mode of another. An ordinary user cannot give files away: that is an error.
func dress(f *os.File, like fs.FileInfo) error {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(like.Mode().Perm())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return short(err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// short leaves out the path, which the Ref says already.
func short(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
