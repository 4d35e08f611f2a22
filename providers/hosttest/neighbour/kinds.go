package neighbour

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// kind is how a neighbour is set up, started and asked whether it is ready.
type kind struct {
	programs []string
	files    func(Opts) map[string]string
	dirs     []string // made when missing
	before   []func(testing.TB)
	daemon   []string   // none: ready does it all
	ready    []string   // succeeds when the neighbour is at work
	stop     [][]string // of a neighbour without a daemon
}

const busSocket = "/run/dbus/system_bus_socket"

// kinds has the set-up of every neighbour.
var kinds = map[Name]kind{
	Firewalld: {
		programs: []string{"firewalld", "firewall-cmd", "dbus-daemon"},
		files:    firewalldFiles,
		before:   []func(testing.TB){bus},
		daemon:   []string{"firewalld", "--nofork", "--nopid"},
		ready:    []string{"firewall-cmd", "--state"},
	},
	UFW: {
		programs: []string{"ufw"},
		files:    ufwFiles,
		dirs:     []string{"/etc/ufw/applications.d"},
		ready:    []string{"ufw", "--force", "enable"},
		stop:     [][]string{{"ufw", "--force", "disable"}},
	},
	Docker: {
		programs: []string{"dockerd", "docker"},
		files:    none,
		daemon: []string{
			"dockerd", "--data-root", "/run/docker-data", "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
			"-H", "unix:///run/docker.sock", "--group", "root", "--storage-driver", "vfs",
		},
		ready: []string{"docker", "version"},
	},
	Libvirt: {
		programs: []string{"libvirtd", "virsh", "dnsmasq"},
		files:    libvirtFiles,
		before:   []func(testing.TB){nwfilters, dnsmasq},
		daemon:   []string{"libvirtd"},
		ready:    []string{"virsh", "-q", "-c", "qemu:///system", "net-list"},
	},
	SSHD: {
		programs: []string{"sshd", "ssh-keygen"},
		files:    sshFiles,
		dirs:     []string{"/run/sshd"},
		before:   []func(testing.TB){sshKeys, rootAlone},
		daemon:   []string{"sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"},
		ready:    []string{"grep", "-q", ":0016 .* 0A ", "/proc/thread-self/net/tcp"}, // listens on port 22
	},
	Fail2ban: {
		programs: []string{"fail2ban-server", "fail2ban-client"},
		files:    fail2banFiles,
		dirs:     []string{"/run/fail2ban", "/var/lib/fail2ban"},
		before:   []func(testing.TB){onlyProbe},
		daemon:   []string{"fail2ban-server", "-xf", "start"},
		ready:    []string{"fail2ban-client", "ping"},
	},
}

func none(Opts) map[string]string { return map[string]string{} }

func firewalldFiles(o Opts) map[string]string {
	backend := o.Backend
	if backend == "" {
		backend = "nftables"
	}
	return map[string]string{"/etc/firewalld/firewalld.conf": "DefaultZone=public\nFirewallBackend=" + backend + "\n"}
}

// busConfig lets everyone on it do everything: who reaches it is alone on the host.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=` + busSocket + `</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
</busconfig>
`

// bus starts the system's message bus unless it runs.
func bus(t testing.TB) {
	t.Helper()
	if c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", busSocket); err == nil {
		_ = c.Close() // it was only asked whether it is there
		return
	}
	require(t, "dbus-daemon")
	config := base + "/bus.conf"
	write(t, config, busConfig)
	r := &Running{Name: "dbus", daemon: launch(t, "dbus", []string{"dbus-daemon", "--config-file=" + config, "--nofork", "--nopidfile"})}
	r.await(t, []string{"dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetId"})
}

// ufwFiles are those of a fresh installation: postinst copies them from /usr/share/ufw.
func ufwFiles(Opts) map[string]string {
	out := map[string]string{
		"/etc/default/ufw": `IPV6=yes
DEFAULT_INPUT_POLICY="DROP"
DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="DROP"
DEFAULT_APPLICATION_POLICY="SKIP"
MANAGE_BUILTINS=no
IPT_SYSCTL=/etc/ufw/sysctl.conf
IPT_MODULES=""
`,
		"/etc/ufw/sysctl.conf": "",
		"/etc/ufw/ufw.conf":    "ENABLED=no\nLOGLEVEL=low\n",
	}
	if _, err := os.Stat("/etc/ufw/user.rules"); err == nil {
		return map[string]string{} // started again: what it was told stays
	}
	shipped, err := filepath.Glob("/usr/share/ufw/iptables/*.rules")
	if err != nil {
		return out
	}
	for _, path := range shipped {
		if content, err := os.ReadFile(path); err == nil {
			out["/etc/ufw/"+filepath.Base(path)] = string(content)
		}
	}
	return out
}

func libvirtFiles(Opts) map[string]string {
	return map[string]string{
		"/etc/libvirt/libvirtd.conf": "unix_sock_group = \"+0\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n",
		"/etc/libvirt/qemu.conf": `user = "+0"
group = "+0"
security_driver = "none"
cgroup_controllers = [ ]
remember_owner = 0
stdio_handler = "file"
namespaces = [ ]
`,
	}
}

// nwfilters puts the shipped filters where libvirt reads them.
func nwfilters(t testing.TB) {
	t.Helper()
	shipped, err := filepath.Glob("/usr/share/libvirt/nwfilter/*.xml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range shipped {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, "/etc/libvirt/nwfilter/"+filepath.Base(path), string(content))
	}
}

// dnsmasq lets libvirt find one that stays root: in the user namespace of an ordinary user it fails to become another.
func dnsmasq(t testing.TB) {
	t.Helper()
	script := "#!/bin/sh\nexec /usr/sbin/dnsmasq \"$@\" --user=root --group=\n"
	write(t, bin+"/dnsmasq", script)
	if err := os.Chmod(bin+"/dnsmasq", 0o755); err != nil {
		t.Fatal(err)
	}
}

// fail2banFiles set up one jail, "probe", that bans only when told to: fail2ban-client set probe banip ADDRESS.
func fail2banFiles(Opts) map[string]string {
	return map[string]string{
		"/var/log/probe.log":                "",
		"/etc/fail2ban/jail.local":          "[DEFAULT]\nbanaction = iptables-multiport\n[sshd]\nenabled = false\n[probe]\nenabled = true\nbackend = polling\nfilter = probe\nlogpath = /var/log/probe.log\nport = 22\n",
		"/etc/fail2ban/filter.d/probe.conf": "[Definition]\nfailregex = ^.*bad login from <HOST>$\n",
		"/etc/fail2ban/fail2ban.local":      "[Definition]\nlogtarget = STDERR\n",
	}
}

// onlyProbe takes out the jails that the package ships.
func onlyProbe(t testing.TB) {
	t.Helper()
	drop, err := filepath.Glob("/etc/fail2ban/jail.d/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range drop {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
