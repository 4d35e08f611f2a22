package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lines that the guest's first process puts between those of the test.
const (
	lineUp   = "\x01up"
	lineExit = "\x01exit "
)

// bootTime is how long a guest may take until it runs the test. A boot takes 3 to 10 seconds under interpretation; on a busy
// machine one may be lost, or end at once because the guest's timers do not tick as its kernel expects ("IO-APIC + timer
// doesn't work!"): it is tried again, up to so many times, as long as another boot would have had time to be lost.
const (
	bootTime  = 75 * time.Second
	bootTries = 6
)

// boot is one run of a test in a guest.
type boot struct {
	kernel   kernel
	args     []string // of the test binary
	dir      string   // for the files of this boot
	out      io.Writer
	deadline time.Time
}

// run boots, and returns the exit status of the test. A guest that does not come up gets further chances.
func (b *boot) run(ctx context.Context) (int, error) {
	image := filepath.Join(b.dir, "initramfs")
	if err := b.kernel.writeImage(image, b.args); err != nil {
		return 0, fmt.Errorf("make the guest's first file system: %w", err)
	}
	began := time.Now()
	code, err := b.once(ctx, image)
	for range bootTries - 1 {
		if !errors.Is(err, errNotUp) || time.Since(began) > bootTime*3/2 {
			break
		}
		code, err = b.once(ctx, image)
	}
	return code, err
}

var errNotUp = errors.New("the guest did not come up")

func (b *boot) once(ctx context.Context, image string) (int, error) {
	// Pdeathsig follows the thread that forked, not the process (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithDeadline(ctx, b.deadline)
	defer cancel()
	console := filepath.Join(b.dir, "console")
	cmd := b.qemu(ctx, image, console)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("start qemu: %w", err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start qemu: %w (install it: apt-get install --no-install-recommends %s)", err, "qemu-system-x86")
	}
	timer := time.AfterFunc(bootTime, cancel)
	code, up, err := b.follow(stdout, timer)
	cancel()
	_ = cmd.Wait() // killed: its status says nothing
	switch {
	case err == nil:
		return code, nil
	case !up:
		return 0, fmt.Errorf("%w: %s%s", errNotUp, complaints.String(), tail(console))
	}
	return 0, fmt.Errorf("the guest was lost: %w: %s%s", err, complaints.String(), tail(console))
}

// follow hands on what the test prints, until the guest says how it ended.
func (b *boot) follow(from io.Reader, timer *time.Timer) (code int, up bool, err error) {
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		text := strings.TrimSuffix(line, "\n")
		switch status, ended := strings.CutPrefix(text, lineExit); {
		case ended:
			code, err := strconv.Atoi(status)
			return code, up, err
		case text == lineUp:
			up = true
			timer.Stop()
		case line != "" && up:
			if _, err := io.WriteString(b.out, line); err != nil {
				return 0, up, fmt.Errorf("hand on output: %w", err)
			}
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, up, err
		}
	}
}

// qemu is the machine: files by 9p, the test's output by a virtio port on QEMU's standard output.
// As a file: at the end of its input, QEMU takes "stdio" for closed, and the guest then waits for ever.
func (b *boot) qemu(ctx context.Context, image, console string) *exec.Cmd {
	accel := "tcg,tb-size=64"
	if hasKVM() {
		accel = "kvm"
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", accel, "-M", "q35", "-cpu", "max", "-m", "1024", "-smp", "1", "-display", "none", "-no-reboot", "-nodefaults",
		"-kernel", b.kernel.vmlinux(), "-initrd", image,
		"-append", "console=ttyS0 panic=-1 rdinit=/init quiet reboot=t random.trust_cpu=1 mitigations=off "+stageMark+"="+stageInit,
		"-serial", "file:"+console,
		"-device", "virtio-serial-pci", "-chardev", "file,id=out,path=/dev/stdout", "-device", "virtserialport,chardev=out,name=vmnet",
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap", "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// hasKVM asks for the modules, too: there are other makers of /dev/kvm, on which stock kernels do not run.
func hasKVM() bool {
	for _, m := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := os.Stat("/sys/module/" + m); err == nil {
			return unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil
		}
	}
	return false
}

// tail is the end of what the guest's kernel said.
func tail(console string) string {
	b, err := os.ReadFile(console)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}
