package guest

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// image is a cpio archive of the "newc" format, which the kernel unpacks as its first file system
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type image struct {
	w    *bufio.Writer
	ino  int
	seen map[string]bool
	err  error
}

// writeImage writes the guest's first file system: this program as /init with the libraries it is linked to, the modules,
// and the orders.
func (k kernel) writeImage(path string, args []string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	i := &image{w: bufio.NewWriterSize(f, 1<<20), seen: map[string]bool{}}
	o := orders{Args: args, Env: environment()}
	if o.Dir, err = os.Getwd(); err != nil {
		return err
	}
	modules, err := k.needed()
	if err != nil {
		return err
	}
	for _, m := range modules {
		to := "/modules/" + filepath.Base(m)
		i.copyFile(m, to)
		o.Modules = append(o.Modules, to)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	i.program(self, "/init")
	i.node("/dev/console", 0o600, unix.Mkdev(5, 1))
	i.node("/dev/null", 0o666, unix.Mkdev(1, 3))
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	i.file(ordersFile, 0o600, text)
	i.entry("TRAILER!!!", 0, 0, nil)
	return errors.Join(i.err, i.w.Flush())
}

// program adds an executable and what it is linked to.
func (i *image) program(path, to string) {
	i.copyFile(path, to)
	f, err := elf.Open(path)
	if err != nil {
		i.fail(err)
		return
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			i.fail(err)
			return
		}
		loader := strings.TrimRight(string(name), "\x00")
		i.copyFile(loader, loader)
	}
	libraries, err := f.ImportedLibraries()
	i.fail(err)
	for _, l := range libraries {
		i.library(l)
	}
}

// library adds a shared library, where the loader finds it without a cache (ld.so(8)).
func (i *image) library(name string) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		if path := filepath.Join(dir, name); unix.Access(path, unix.R_OK) == nil {
			if to := "/lib/x86_64-linux-gnu/" + name; !i.seen[to] {
				i.program(path, to)
			}
			return
		}
	}
	i.fail(fmt.Errorf("library %s is not found", name))
}

func (i *image) copyFile(path, to string) {
	if i.seen[to] {
		return
	}
	b, err := os.ReadFile(path)
	i.fail(err)
	i.file(to, 0o755, b)
}

func (i *image) fail(err error) { i.err = errors.Join(i.err, err) }

func (i *image) file(name string, mode uint32, content []byte) {
	i.parents(name)
	i.entry(name, unix.S_IFREG|mode, 0, content)
}

func (i *image) node(name string, mode uint32, dev uint64) {
	i.parents(name)
	i.entry(name, unix.S_IFCHR|mode, dev, nil)
}

// parents adds the directories that a name lies in.
func (i *image) parents(name string) {
	dir := filepath.Dir(name)
	if dir == "/" || i.seen[dir] {
		return
	}
	i.parents(dir)
	i.entry(dir, unix.S_IFDIR|0o755, 0, nil)
}

func (i *image) entry(name string, mode uint32, dev uint64, content []byte) {
	i.seen[name] = true
	i.ino++
	name = strings.TrimPrefix(name, "/")
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		i.ino, mode, 0, 0, 1, 0, len(content), 0, 0, unix.Major(dev), unix.Minor(dev), len(name)+1, 0)
	i.write([]byte(head+name+"\x00"), content)
}

// write writes two fields, each filled up to a multiple of four.
func (i *image) write(fields ...[]byte) {
	for _, f := range fields {
		_, err := i.w.Write(f)
		i.fail(err)
		_, err = i.w.Write(make([]byte, -len(f)&3))
		i.fail(err)
	}
}
