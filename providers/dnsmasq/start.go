package dnsmasq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/program"
)

// What the command line of a server of ours begins its arguments with.
const (
	confFlag = "--conf-file="
	pidFlag  = "--pid-file="
)

// patienceStart is how long a server may take to come up, or to say why not.
const patienceStart = 10 * time.Second

// start starts the server with what its files say, and returns when it listens.
func (s *server) start(ctx context.Context, t texts) error {
	args := []string{confFlag + s.conf(), pidFlag + s.pid(t.sum())}
	args = append(args, userArgs()...)
	var err error
	if underSystemd() {
		err = s.startUnit(ctx, args)
	} else {
		_, err = program.Run(ctx, program.Command{Name: "dnsmasq", Args: args, Patience: patienceStart})
	}
	if err == nil {
		return nil
	}
	if _, missing := program.Find("dnsmasq"); missing != nil {
		return fmt.Errorf("dnsmasq is not installed (Debian and Ubuntu: apt install dnsmasq-base): %w", missing)
	}
	if said, ok := errors.AsType[*program.Error](err); ok && strings.Contains(said.Said, "Address already in use") {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(strings.TrimSpace(said.Said), "dnsmasq: "), unix.EADDRINUSE)
	}
	return fmt.Errorf("start it: %w", err)
}

// userArgs are the arguments that make the server an ordinary user when it has opened its sockets. Who runs vmnet in a user
// namespace where there is nobody else is an ordinary user already.
func userArgs() []string {
	for _, name := range []string{"dnsmasq", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if errors.Join(err1, err2) == nil && mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid) {
			g, err := user.LookupGroupId(u.Gid)
			if err != nil {
				continue
			}
			return []string{"--user=" + name, "--group=" + g.Name}
		}
	}
	return []string{"--user=", "--group="} // dnsmasq then stays what it is
}

// unit names the server to systemd.
func (s *server) unit() string {
	plain := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '_'
	}
	return "vmnet-dnsmasq-" + strings.Map(plain, s.device) + ".service"
}

// startUnit starts the server as a transient unit, which systemd starts again when it dies.
func (s *server) startUnit(ctx context.Context, args []string) error {
	path, err := program.Find("dnsmasq")
	if err != nil {
		return err
	}
	said := filepath.Join(s.dir, "stderr")
	_, err = program.Run(ctx, program.Command{Name: "systemd-run", Args: s.unitArgs(path, said, args), Patience: patienceStart})
	if failed, ok := errors.AsType[*program.Error](err); ok {
		if b, readErr := os.ReadFile(said); readErr == nil && len(b) > 0 {
			failed.Said = strings.TrimSpace(string(b))
		}
	}
	return errors.Join(err, removed(said))
}

// unitArgs are the arguments of systemd-run(1).
func (s *server) unitArgs(path, said string, args []string) []string {
	pid := ""
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, pidFlag); ok {
			pid = v
		}
	}
	return append([]string{
		"--quiet", "--collect", "--unit=" + s.unit(), "--description=DHCP and DNS of vmnet on " + s.device,
		"--property=Type=forking", "--property=PIDFile=" + pid, "--property=Restart=on-failure", "--property=RestartSec=100ms",
		"--property=StartLimitIntervalSec=0", "--property=StandardError=file:" + said, "--", path,
	}, args...)
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// underSystemd tells whether systemd is the manager of this host (sd_booted(3)) and of this network namespace, and we may ask it.
func underSystemd() bool {
	_, booted := os.Stat("/run/systemd/system")
	_, there := program.Find("systemd-run")
	first, err1 := os.Readlink("/proc/1/ns/net")
	ours, err2 := os.Readlink("/proc/thread-self/ns/net")
	return errors.Join(booted, there, err1, err2) == nil && os.Geteuid() == 0 && first == ours
}
