package xtables

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// usualLock is the lock that all legacy iptables share, and lockVariable what tells them another (iptables(8)).
	usualLock    = "/run/xtables.lock"
	lockVariable = "XTABLES_LOCKFILE"
)

// findLock is the lock file for iptables-legacy. In a network of an ordinary user's own, where the usual one is root's, nobody else writes
// rules, so one of that user's is enough. On the host itself it is not: without the lock all share, one writer loses what another wrote.
func findLock() (string, error) {
	f, err := os.OpenFile(usualLock, os.O_RDONLY|os.O_CREATE, 0o600)
	if err == nil {
		return usualLock, f.Close()
	}
	if firstUserNamespace() {
		return "", fmt.Errorf("lock iptables-legacy, so that others who write rules lose nothing: %w", err)
	}
	return fmt.Sprintf("%s/vmnet-xtables-%d.lock", os.TempDir(), os.Getuid()), nil
}

// firstUserNamespace tells whether every user is himself, as in the host's own user namespace (user_namespaces(7)).
func firstUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err != nil || len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

// lockHolder says who holds a lock, for an error; "" when nobody can be told. /proc/locks names the process that took it (proc_locks(5)).
func lockHolder(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	at := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // 1: FLOCK ADVISORY WRITE 4711 00:1a:42 0 EOF
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != at {
			continue
		}
		return "; " + path + " is held by " + process(f[4])
	}
	return ""
}

// process names one: "iptables-restor (pid 4711: iptables-restore rules.v4)".
func process(pid string) string {
	const most = 200
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if _, numErr := strconv.Atoi(pid); errors.Join(err, numErr) != nil {
		return "pid " + pid
	}
	line, _ := os.ReadFile("/proc/" + pid + "/cmdline") // without it there is still the name
	command := string(bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	return fmt.Sprintf("%s (pid %s: %s)", strings.TrimSpace(string(comm)), pid, command[:min(len(command), most)])
}
