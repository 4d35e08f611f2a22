package xtables

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/schema"
)

// nla is one netlink attribute.
func nla(typ uint16, v []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return append(append(b, v...), make([]byte, (4-len(v)%4)%4)...)
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

const nested, netOrder = unix.NLA_F_NESTED, unix.NLA_F_NET_BYTEORDER

// ipset sends a command to the kernel's ipset (uapi/linux/netfilter/ipset/ip_set.h).
func ipset(t testing.TB, cmd byte, name string, attrs ...[]byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	body := cat([]byte{unix.AF_INET, 0, 0, 0}, nla(1, []byte{6}), nla(2, append([]byte(name), 0)), cat(attrs...))
	msg := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	msg = append(msg, cmd, unix.NFNL_SUBSYS_IPSET)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg = append(append(msg, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, _, err := unix.Recvfrom(fd, buf, 0); err != nil || n < 20 || binary.NativeEndian.Uint32(buf[16:]) != 0 {
		t.Fatalf("ipset command %d for %s: %v, error %d", cmd, name, err, int32(binary.NativeEndian.Uint32(buf[16:])))
	}
}

func createSet(t testing.TB, name, typ string, revision, family byte, data ...[]byte) {
	t.Helper()
	ipset(t, 2, name, nla(3, append([]byte(typ), 0)), nla(4, []byte{revision}), nla(5, []byte{family}), nla(7|nested, cat(data...)))
}

func addMember(t testing.TB, name string, data ...[]byte) {
	t.Helper()
	ipset(t, 9, name, nla(7|nested, cat(data...)))
}

func member4(a, b, c, d byte) []byte { return nla(1|nested, nla(1|netOrder, []byte{a, b, c, d})) }

// TestIPSet: a match of a set is printed by its name, and means what the set holds, with both backends; a set that rules write into, or
// whose elements run out, is named and no more.
func TestIPSet(t *testing.T) {
	newNamespace(t)
	port := func(n uint16) []byte { return nla(4|netOrder, binary.BigEndian.AppendUint16(nil, n)) }
	createSet(t, "nets", "hash:net", 0, unix.AF_INET)
	addMember(t, "nets", member4(192, 0, 2, 0), nla(3, []byte{25}))
	addMember(t, "nets", member4(192, 0, 2, 128), nla(3, []byte{25}))
	addMember(t, "nets", member4(10, 0, 0, 1), nla(3, []byte{32}))
	createSet(t, "web", "hash:ip,port", 1, unix.AF_INET)
	addMember(t, "web", member4(10, 0, 0, 2), port(80), nla(7, []byte{6}))
	createSet(t, "knocked", "hash:ip", 0, unix.AF_INET)
	createSet(t, "banned", "hash:ip", 0, unix.AF_INET, nla(6|netOrder, []byte{0, 0, 2, 88}))
	addMember(t, "banned", member4(10, 0, 0, 3))
	rules := []string{
		"-m set --match-set nets src -j ACCEPT",
		"-m set ! --match-set nets dst -j DROP",
		"-m set --match-set web dst,dst -j ACCEPT",
		"-m set --match-set knocked src -j ACCEPT",
		"-j SET --add-set knocked src",
		"-m set --match-set banned src -j DROP",
	}
	for _, b := range []backend{{"iptables-nft", "ip", false}, {"iptables-legacy", "ip", true}} {
		for _, r := range rules {
			run(t, "", b.tool, append([]string{"-A", "INPUT"}, strings.Fields(r)...)...)
		}
		provider, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer provider.Close()
		got := b.table(t, b.read(t, provider), "filter").Chain("INPUT").Rules
		for i, r := range rules {
			if got[i].Text != r {
				t.Errorf("%s:\n  ours %s\n  want %s", b.tool, got[i].Text, r)
			}
		}
		ranges := [][2]schema.Bytes{{{10, 0, 0, 1}, {10, 0, 0, 1}}, {{192, 0, 2, 0}, {192, 0, 2, 255}}}
		if e := expr(t, got[0], "in"); !reflect.DeepEqual(e.Ranges, ranges) {
			t.Errorf("%s: nets is %v", b.tool, e.Ranges)
		}
		if e := expr(t, got[1], "xtmatch"); e.Op != "neq" || len(e.Any) != 1 || !reflect.DeepEqual(e.Any[0][1].Ranges, ranges) {
			t.Errorf("%s: not nets is %+v", b.tool, e)
		}
		if e := got[2].Exprs; len(e) < 6 || e[1].Name != "cmp" || e[3].Data[0] != 6 || e[5].Data[1] != 80 {
			t.Errorf("%s: web is %+v", b.tool, e)
		}
		for _, i := range []int{3, 5} {
			if e := expr(t, got[i], "xtmatch"); e.Any != nil {
				t.Errorf("%s: %s is taken for settled: %+v", b.tool, rules[i], e)
			}
		}
	}
}

func expr(t testing.TB, r *schema.Rule, name string) *schema.Expr {
	t.Helper()
	for i := range r.Exprs {
		if r.Exprs[i].Name == name {
			return &r.Exprs[i]
		}
	}
	t.Fatalf("%s: no %s in %+v", r.Text, name, r.Exprs)
	return nil
}
