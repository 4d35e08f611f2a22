package torture_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
)

// scene is a random host, as a script that makes it, and a random configuration for it.
type scene struct {
	host    string
	earlier string // a configuration that was applied before, "" for none
	config  string
}

// random draws.
type random struct{ *rand.Rand }

func seeded(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 4))} }

func (r random) coin() bool { return r.IntN(2) == 0 }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

var bridgeMTU = regexp.MustCompile(`(?m)^  mtu = 14[02]0\n`)

// newScene makes a scene in which something is always left to do.
func newScene(r random) scene {
	s := scene{host: hostScript(r), config: configText(r)}
	if r.IntN(3) == 0 {
		// Without an MTU of its own for a bridge: whether it follows its ports cannot be read from the kernel, and a plan that
		// removes it says so instead (VN310).
		s.earlier = bridgeMTU.ReplaceAllString(configText(r), "")
	}
	return s
}

// base is what every host has: a NIC with an address and the way out, and the port of a guest. Duplicate address detection is
// off: it would only take time.
const base = `set -e
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip -batch - <<'END'
link add eno1 type veth peer name lan0
link add eno2 type veth peer name lan1
link add vnet3 type veth peer name db1
link add dum9 type veth peer name far9
link set far9 up
link set lan0 up
link set eno1 up
link set lan1 up
link set db1 up
link set dum9 up
address add 192.0.2.10/24 dev eno1
address add 198.51.100.1/24 dev dum9
route add default via 192.0.2.1
END
`

// hostScript is base and a random choice of what else lies on hosts, of others and of an earlier vmnet.
func hostScript(r random) string {
	parts := []string{
		"ip link set eno2 mtu 1400; ip link set eno2 up",
		"ip address add 2001:db8:2::10/64 dev eno1; sleep 0.3", // its routes come a moment later
		"ip address add 192.0.2.11/24 dev eno1; ip address add 192.0.2.77/32 dev eno1",
		"ip link add br-foreign type bridge stp_state 1; ip link add dum1 type veth peer name far1; ip link set dum1 master br-foreign; ip link set br-foreign up; ip address add 172.30.0.1/24 dev br-foreign",
		"ip link add br0 type bridge forward_delay 200; ip link set br0 address 02:00:00:00:00:99",
		"ip link add virbr-lab type bridge; ip link set virbr-lab alias someone; ip link set virbr-lab up; ip address add 10.20.0.9/24 dev virbr-lab",
		"ip rule add priority 100 fwmark 1 lookup 100; ip route add default via 192.0.2.1 table 100; ip -6 rule add priority 120 fwmark 2 lookup 120",
		"ip route add 10.77.0.0/16 via 192.0.2.1; ip route add blackhole 10.78.0.0/16; ip route add 10.79.0.0/16 via 192.0.2.1 mtu 1300",
		"nft 'table inet foreign { set s { type ipv4_addr; elements = { 10.1.1.1, 10.1.1.2 }; }; chain f { type filter hook forward priority 0; policy accept; ip saddr @s counter drop; tcp dport 25 reject; }; }'",
		"nft 'table ip outer { chain n { type nat hook postrouting priority 100; oifname \"eno1\" ip saddr 172.30.0.0/24 masquerade; }; }'",
		"iptables-nft -A FORWARD -s 10.20.0.0/24 -p tcp --dport 22 -j DROP; iptables-nft -A INPUT -p icmp -j ACCEPT; iptables-nft -t nat -A POSTROUTING -s 172.30.0.0/24 -j MASQUERADE",
		"iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
		"iptables-legacy -A FORWARD -d 10.20.0.0/24 -p tcp --dport 22 -j DROP; iptables-legacy -A INPUT -p tcp --dport 999 -j REJECT",
		"echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/dum9/proxy_arp",
		"echo 1 >/proc/sys/net/ipv4/ip_forward",
		"mkdir -p $ROOT/etc/iptables; printf '*filter\\n:FORWARD ACCEPT [0:0]\\n-A FORWARD -s 10.20.0.0/24 -p tcp --dport 22 -j DROP\\n-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP\\nCOMMIT\\n' >$ROOT/etc/iptables/rules.v4; iptables-nft -A FORWARD -s 10.20.0.0/24 -p tcp --dport 22 -j DROP",
		"ip neighbour add 192.0.2.200 lladdr 02:00:00:00:02:00 dev eno1",
		"ip link set vnet3 mtu 1300; ip link set vnet3 alias tap-of-db1",
	}
	var b strings.Builder
	b.WriteString(base)
	for _, part := range parts {
		if r.IntN(5) < 2 {
			b.WriteString(part + "\n")
		}
	}
	return b.String()
}

// configText is a configuration that hosts of hostScript may have.
func configText(r random) string {
	blocks := []string{"vmnet {\n  required_version = \">= 0.1\"\n  risk_limit = \"cut\"\n}\n"}
	add := func(format string, args ...any) { blocks = append(blocks, fmt.Sprintf(format, args...)) }
	lan := r.coin()
	lab := !lan || r.IntN(4) == 0
	if lan {
		add("bridge \"lan\" {\n  device = \"br0\"\n  ports = [\"eno1\"]\n  addresses = [\"192.0.2.10/24\"]\n  gateway = \"192.0.2.1\"\n%s}\n",
			pick(r, "", "  mtu = 1400\n", "  stp = false\n", "  mtu = 1420\n"))
	}
	if lab {
		add("nat \"lab\" {\n  device = \"virbr-lab\"\n  subnet = \"10.20.0.0/24\"\n}\n")
		add("guest \"db1\" {\n  network = nat.lab\n  mac = \"52:54:00:12:34:56\"\n  address = \"10.20.0.11\"\n  device = \"vnet3\"\n}\n")
		if r.coin() {
			add("forward \"ssh_db1\" {\n  tcp = 2222\n  to = guest.db1\n  to_port = 22\n}\n")
		}
		if r.coin() {
			add("firewall \"lab\" {\n  allow {\n    from = nat.lab\n    to = outside\n    tcp = [22, 443]\n  }\n  deny {\n    from = nat.lab\n    to = \"198.51.100.0/24\"\n  }\n}\n")
		}
	}
	if r.IntN(4) == 0 {
		add("host_only \"build\" {\n  device = \"br-build\"\n  subnet = \"10.30.0.0/24\"\n}\n")
	}
	if r.coin() {
		add("adapter \"eno2\" {\n  mtu = %d\n}\n", pick(r, 1380, 1450))
	}
	if r.coin() {
		add("sysctl \"net.ipv4.conf.all.arp_filter\" {\n  value = 1\n}\n")
	}
	return strings.Join(blocks, "\n")
}
