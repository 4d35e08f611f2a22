package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	enterMark = "VMNET_WORLD_ENTER" // set for the re-executed program, which removes it
	mainMark  = "VMNET_WORLD_MAIN"  // stays in the environment of a test binary and of what it starts
)

// Main runs tests in network and mount namespaces of their own, as root of a new user namespace where the caller is not
// root: call os.Exit(world.Main(m)) in TestMain. It re-executes the test binary once; what that starts stays inside.
func Main(m interface{ Run() int }) int {
	if os.Getenv(mainMark) != "" {
		return m.Run()
	}
	code, inside, err := Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	if !inside {
		return code
	}
	if err := os.Setenv(mainMark, "1"); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	return m.Run()
}

// Enter re-executes the running program, with the same arguments, in namespaces of its own. In the new program it returns
// inside: it is root there, in an empty network, with a private /run. In the old one it returns when the new one has ended,
// with its exit code.
func Enter() (code int, inside bool, err error) {
	switch os.Getenv(enterMark) {
	case stageNet:
		if err := os.Unsetenv(enterMark); err != nil {
			return 0, false, fmt.Errorf("clean environment: %w", err)
		}
		return 0, true, settle()
	case stageUser:
		code, err = reexec(command(false), nil)
	case "":
		first, fallback := command(os.Geteuid() != 0), (*exec.Cmd)(nil)
		if os.Geteuid() == 0 {
			fallback = command(true)
		}
		code, err = reexec(first, fallback)
	}
	return code, false, err
}

// The stages of Enter, as the value of its mark. An ordinary user becomes root of a user namespace first and makes the others
// from in there: a network namespace made in the same clone(2) is older than the mapping of users, and the kernel then
// leaves files such as /proc/net/ip_tables_names to the root outside (xt_proto_init in net/netfilter/x_tables.c).
const (
	stageUser = "user"
	stageNet  = "net"
)

// reexec runs the program again; by the fallback, unless nil, where the kernel permits the first not.
func reexec(cmd, fallback *exec.Cmd) (int, error) {
	// Pdeathsig follows the thread that forked, not the process (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if errors.Is(err, unix.EPERM) && fallback != nil {
		cmd = fallback
		err = cmd.Start()
	}
	if err != nil {
		return 0, fmt.Errorf("make namespaces: %w (needs root, or user namespaces for ordinary users: "+
			"sysctl kernel.unprivileged_userns_clone=1 on Debian, kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)", err)
	}
	// The terminal sends its signals to the child too; it decides.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer close(signals)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			if s != unix.SIGINT {
				_ = cmd.Process.Signal(s) // gone already: nothing to tell
			}
		}
	}()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run in new namespaces: %w", err)
	}
	return 0, nil
}

func command(user bool) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	stage := stageNet
	if user {
		stage = stageUser
	}
	cmd.Env = append(os.Environ(), enterMark+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  unix.SIGKILL,
	}
	if user {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// settle furnishes new namespaces: mounts that stay private, and a loopback that is up.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := os.Setenv("PATH", "/usr/local/sbin:/usr/sbin:/sbin:"+os.Getenv("PATH")); err != nil {
		return fmt.Errorf("set PATH: %w", err)
	}
	if err := furnish(); err != nil {
		return err
	}
	if err := unix.Access("/proc/sys/net/ipv4/ip_forward", unix.W_OK); err != nil {
		return fmt.Errorf("write /proc/sys: %w (a container runtime has mounted it read-only)", err)
	}
	return nil
}

// furnish gives the calling thread's network its own /sys and /run, and brings its loopback up.
func furnish() error {
	// sysfs shows the network of whoever mounted it.
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := defaults(); err != nil {
		return err
	}
	return loopbackUp()
}

// defaults sets what a new namespace takes over from the machine it is made on (ip-sysctl, devconf_inherit_init_net), so that
// tests mean the same everywhere.
func defaults() error {
	for _, scope := range []string{"all", "default"} {
		for _, key := range []string{"forwarding", "rp_filter", "route_localnet", "arp_ignore", "arp_filter", "proxy_arp", "accept_local"} {
			if err := sysctl("ipv4/conf/"+scope+"/"+key, "0"); err != nil {
				return err
			}
		}
		if err := sysctl("ipv6/conf/"+scope+"/forwarding", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
