package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// orders is what the first file system tells the guest's first process.
type orders struct {
	Args    []string // of the test binary
	Env     []string
	Dir     string
	Modules []string // in the order to load
}

const ordersFile = "/vmnet.json"

// beInit is the guest's first process. It does not return: the guest ends with the test.
func beInit() {
	port, err := serve()
	if err != nil {
		fmt.Println("init:", err) // on the console
	}
	if port == nil {
		os.Exit(1) // the kernel panics, and QEMU ends
	}
	for { // until QEMU is killed
		time.Sleep(time.Hour)
	}
}

func serve() (*os.File, error) {
	var o orders
	b, err := os.ReadFile(ordersFile)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	if err := mountKernel(); err != nil {
		return nil, err
	}
	for _, m := range o.Modules {
		if err := loadModule(m); err != nil {
			return nil, err
		}
	}
	port, err := openPort()
	if err != nil {
		return nil, err
	}
	if err := takeRoot(o.Dir); err != nil {
		fmt.Fprintln(port, "init:", err)
		return port, err
	}
	fmt.Fprint(port, lineUp, "\n")
	code, err := start(o, port)
	if err != nil {
		fmt.Fprintln(port, "init:", err)
		code = 1
	}
	fmt.Fprint(port, "\n", lineExit, code, "\n")
	return port, nil
}

// mount is one file system of the guest.
type mount struct {
	what, where, kind string
	flags             uintptr
	options           string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.where, 0o755); err != nil {
		return fmt.Errorf("mount on %s: %w", m.where, err)
	}
	if err := unix.Mount(m.what, m.where, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.kind, m.where, err)
	}
	return nil
}

func mountAll(list []mount) error {
	for _, m := range list {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

func mountKernel() error {
	return mountAll([]mount{
		{"proc", "/proc", "proc", 0, ""}, {"sysfs", "/sys", "sysfs", 0, ""}, {"devtmpfs", "/dev", "devtmpfs", 0, ""},
	})
}

// loadModule loads a module that the first file system holds (finit_module(2)).
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

// openPort finds the port to QEMU's standard output; it appears a moment after its module.
func openPort() (*os.File, error) {
	for range 500 {
		if names, _ := filepath.Glob("/sys/class/virtio-ports/*/name"); len(names) > 0 {
			dev := "/dev/" + filepath.Base(filepath.Dir(names[0]))
			// Not os.Open: these ports do not wake up who polls them.
			if fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
				return os.NewFile(uintptr(fd), dev), nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.New("there is no port to speak to: virtio_console is missing")
}

// takeRoot makes the machine's files the root, under an overlay in memory, and enters dir. /run is empty, as after a boot;
// /tmp is the machine's, because the go command puts what it builds there.
func takeRoot(dir string) error {
	const root = "/newroot"
	err := mountAll([]mount{
		{"tmpfs", "/rw", "tmpfs", 0, ""},
		{"root", "/lower", "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"},
	})
	if err != nil {
		return err
	}
	for _, d := range []string{"/rw/upper", "/rw/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("prepare the overlay: %w", err)
		}
	}
	err = mountAll([]mount{
		{"overlay", root, "overlay", 0, "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work"},
		{"/proc", root + "/proc", "", unix.MS_BIND, ""},
		{"/sys", root + "/sys", "", unix.MS_BIND, ""},
		{"/dev", root + "/dev", "", unix.MS_BIND, ""},
		{"tmpfs", root + "/run", "tmpfs", 0, "mode=755"},
	})
	if err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter %s: %w", dir, err)
	}
	return nil
}

// start runs the test and waits for it, collecting on the way what others leave behind, as PID 1 must.
func start(o orders, out *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("start the test: %w", err)
	}
	defer null.Close()
	p, err := os.StartProcess("/proc/self/exe", append([]string{"test"}, o.Args...), &os.ProcAttr{
		Dir: o.Dir, Env: o.Env, Files: []*os.File{null, out, out},
	})
	if err != nil {
		return 0, fmt.Errorf("start the test: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the test: %w", err)
		case pid != p.Pid:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

// moduleName is a module's name as the kernel spells it, from that of its file.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
