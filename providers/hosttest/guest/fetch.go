package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// kernelPackage is Debian's name for its newest kernel; it depends on the package of that very version.
const kernelPackage = "linux-image-amd64"

// Fetch downloads Debian's kernel with apt, without installing it, and unpacks what guests need of it into the cache: 70 MB to
// download, once for each version. It needs no root, and says to progress what it does.
func Fetch(ctx context.Context, progress io.Writer) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("guests are made for amd64 only, this is %s", runtime.GOARCH)
	}
	out, err := output(ctx, "", "apt-cache", "depends", "--important", kernelPackage)
	if err != nil {
		return fmt.Errorf("find the kernel's package: %w (as root: apt-get update)", err)
	}
	name := regexp.MustCompile(`linux-image-\d\S+`).FindString(string(out))
	if name == "" {
		return fmt.Errorf("find the kernel's package: apt knows no %s: %s (as root: apt-get update)", kernelPackage, out)
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	to := filepath.Join(cache, name)
	if _, err := os.Stat(filepath.Join(to, "vmlinux")); err == nil {
		return nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	work, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	defer os.RemoveAll(work)
	fmt.Fprintf(progress, "fetching %s for guests of tests …\n", name)
	if _, err := output(ctx, work, "apt-get", "-q", "download", name); err != nil {
		return fmt.Errorf("download the kernel: %w", err)
	}
	k := kernel{filepath.Join(work, "kernel")}
	if err := k.unpack(ctx, work); err != nil {
		return fmt.Errorf("unpack the kernel: %w", err)
	}
	if err := os.Rename(k.dir, to); err != nil && !errors.Is(err, os.ErrExist) { // another got there first
		return fmt.Errorf("keep the kernel: %w", err)
	}
	return nil
}

// output runs a program in a directory and returns what it prints.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(complaints.Bytes()))
	}
	return out, nil
}

// unpack takes the kernel and its modules for networks out of the package that lies in work.
func (k kernel) unpack(ctx context.Context, work string) error {
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("the download left %d packages", len(debs))
	}
	if err := os.MkdirAll(k.modules(), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", debs[0])
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	bz, err := k.pick(tar.NewReader(stdout))
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	linux, err := decompressed(ctx, bz)
	if err != nil {
		return err
	}
	return os.WriteFile(k.vmlinux(), linux, 0o644) // last: it says that all is there
}

// forNetworks are the modules kept: of networks, of file systems by 9p, and what they may depend on.
var forNetworks = regexp.MustCompile(`/kernel/(net|crypto|lib|arch/x86/crypto|fs/(9p|netfs|fscache|overlayfs)|drivers/(virtio|char|net/([^/]+|bonding/.*|vxlan/.*)$))`)

// pick writes the modules and returns the compressed kernel.
func (k kernel) pick(t *tar.Reader) (bz []byte, err error) {
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF) && bz == nil:
			return nil, errors.New("the package holds no kernel")
		case errors.Is(err, io.EOF):
			return bz, nil
		case err != nil:
			return nil, err
		case h.Typeflag != tar.TypeReg:
		case strings.HasPrefix(path.Base(h.Name), "vmlinuz-"):
			if bz, err = io.ReadAll(t); err != nil {
				return nil, err
			}
		case strings.HasSuffix(h.Name, ".ko") && forNetworks.MatchString(h.Name):
			b, err := io.ReadAll(t)
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(k.modules(), path.Base(h.Name)), b, 0o644); err != nil {
				return nil, err
			}
		}
	}
}

// decompressed takes the ELF file out of a bzImage (Documentation/x86/boot.rst: setup_sects, payload_offset and
// payload_length), with the program for its compression.
func decompressed(ctx context.Context, bz []byte) ([]byte, error) {
	const setupSects, payloadOffset, payloadLength = 0x1f1, 0x248, 0x24c
	if len(bz) < 0x1000 {
		return nil, errors.New("this is no kernel")
	}
	start := (int(bz[setupSects])+1)*512 + int(binary.LittleEndian.Uint32(bz[payloadOffset:]))
	end := start + int(binary.LittleEndian.Uint32(bz[payloadLength:]))
	if start < 0 || end > len(bz) || start+4 > end {
		return nil, errors.New("this is no bzImage")
	}
	programs := map[string]string{"\x02\x21\x4c\x18": "lz4", "\xfd7zX": "xz", "\x28\xb5\x2f\xfd": "zstd", "\x1f\x8b\x08\x00": "gzip"}
	program := programs[string(bz[start:start+4])]
	if program == "" {
		return nil, fmt.Errorf("unknown compression % x", bz[start:start+4])
	}
	cmd := exec.CommandContext(ctx, program, "-dcq")
	cmd.Stdin = bytes.NewReader(bz[start:end])
	// The length of the kernel follows the compressed data, at which these programs take offence: the result counts.
	out, err := cmd.Output()
	if !bytes.HasPrefix(out, []byte("\x7fELF")) {
		return nil, fmt.Errorf("%s: %w (as root: apt-get install %s)", program, err, map[string]string{"xz": "xz-utils"}[program]+" "+program)
	}
	return out, nil
}
