package trace_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// court is a bed at which single frames are judged: any header a frame can have, many frames at once, and where each of them
// is seen, as what.
type court struct {
	*bed
	tb    testing.TB
	dir   string   // for the files of rules
	ear   []rawEar // the host's sockets: what passed its input hook
	send6 int      // of the host, with a header of our own
	// hostOnly leaves out what others than the host get.
	hostOnly bool
	// lonely says that addresses may be nobody's: what the host has no neighbour for is lost, and that is all right.
	lonely bool

	buf []byte
	// seq numbers shots, so that none is mistaken for one of another ruleset.
	seq uint32
}

// rawEar is a raw socket of the host: it sees what passed the input hook.
type rawEar struct {
	fd    int
	v6    bool
	proto byte
}

// earProtos are the protocols the host listens to. Raw sockets see every packet of theirs, whether somebody serves it or not.
//
// UDP-Lite is not among them: conntrack checks its checksum as if it were UDP's (udplite_error in
// net/netfilter/nf_conntrack_proto_udp.c), so that what is right on the wire is invalid to it.
var earProtos = []byte{1, 2, 6, 17, 46, 47, 50, 51, 58, 59, 89, 103, 132}

// newCourt must run on a thread in a new host (world.InNewHost).
func newCourt(tb testing.TB) *court {
	tb.Helper()
	c := &court{bed: newBed(tb), tb: tb, dir: tb.TempDir(), buf: make([]byte, 4096)}
	if err := c.furnish(); err != nil {
		tb.Fatal(err)
	}
	return c
}

// furnish makes every address of the bed's networks somebody's: who is asked for by ARP is not the question here.
func (c *court) furnish() error {
	for _, s := range []string{"net.ipv4.icmp_msgs_per_sec=1000000", "net.ipv4.icmp_msgs_burst=1000000", "net.ipv6.icmp.ratelimit=0", "net.ipv6.icmp.echo_ignore_all=1", "net.ipv6.conf.all.accept_source_route=0"} {
		k, v, _ := strings.Cut(s, "=")
		if err := writeSysctl(k, v); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) { // some belong to the whole machine
			return err
		}
	}
	var lines strings.Builder
	for i := 2; i < 256; i++ {
		mac := macA
		if i&4 != 0 {
			mac = macB
		}
		if i < 255 {
			fmt.Fprintf(&lines, "neigh replace 10.20.0.%d lladdr %s nud permanent dev virbr-lab\n", i, mac)
		}
		fmt.Fprintf(&lines, "neigh replace 2001:db8:20::%x lladdr %s nud permanent dev virbr-lab\n", i, mac)
		if i != 10 && i < 255 {
			fmt.Fprintf(&lines, "neigh replace 192.0.2.%d lladdr %s nud permanent dev eno1\n", i, macW)
		}
		if i != 16 { // the host's own, 2001:db8:2::10
			fmt.Fprintf(&lines, "neigh replace 2001:db8:2::%x lladdr %s nud permanent dev eno1\n", i, macW)
		}
	}
	if err := runInput(lines.String(), "ip", "-batch", "-"); err != nil {
		return err
	}
	for _, e := range c.ends {
		if err := unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("ignore what the end itself sends: %w", err)
		}
		// As root of the machine more may be waiting; else the limit of net.core.rmem_max holds.
		_ = unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}
	return c.listenRaw()
}

func (c *court) listenRaw() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, proto := range earProtos {
			fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(proto))
			if err != nil {
				return fmt.Errorf("open raw socket for protocol %d: %w", proto, err)
			}
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
			if family == unix.AF_INET6 {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
					return fmt.Errorf("ask for destinations: %w", err)
				}
			}
			c.ear = append(c.ear, rawEar{fd, family == unix.AF_INET6, proto})
		}
	}
	if err := unix.SetsockoptInt(c.send, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("allow broadcasts: %w", err)
	}
	var err error
	if c.send6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	return nil
}

func (c *court) close() error {
	errs := []error{c.bed.close(), unix.Close(c.send6)}
	for _, e := range c.ear {
		errs = append(errs, unix.Close(e.fd))
	}
	return errors.Join(errs...)
}

// shot is one frame: from where, and its bytes. Its tag is in its last bytes.
type shot struct {
	from  string // an end, or "h"
	tag   uint32
	frame []byte
}

// tagLen is the length of the mark at a shot's end: "vO" and the tag.
const tagLen = 6

func putTag(b []byte, tag uint32) {
	copy(b[len(b)-tagLen:], "vO")
	binary.BigEndian.PutUint32(b[len(b)-4:], tag)
}

func tagOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[len(b)-4:]) }

// sight is what was seen of a shot.
type sight struct {
	at  string // the ends at which it was seen, sorted: "", "a", "ab", "h"
	pkt []byte // the IP packet as it was first seen; of IPv6 at the host only addresses and what follows the headers
	// told is an ICMP error or a TCP reset that the sender got for it.
	told string
	// copies are all of them that were seen, where a bridge floods them.
	copies [][]byte
}

// fire sends shots and gives what became of each, by tag. It waits until nothing more is seen for some looks.
func (c *court) fire(shots []*shot, patience int) (map[uint32]*sight, error) {
	seen := make(map[uint32]*sight, len(shots))
	sent := make(map[uint32]*shot, len(shots))
	for i, s := range shots {
		sent[s.tag] = s
		if err := c.launch(s); err != nil {
			return nil, err
		}
		if i%48 == 47 {
			c.look(sent, seen)
		}
	}
	for quiet := 0; quiet < patience; {
		if c.look(sent, seen) {
			quiet = 0
			continue
		}
		quiet++
		time.Sleep(500 * time.Microsecond)
	}
	return seen, nil
}

// launch puts a frame on the wire of its end, or sends it as a program of the host would.
func (c *court) launch(s *shot) error {
	if s.from == "h" {
		return c.launchHost(s.frame[14:])
	}
	e := c.ends[s.from]
	for {
		_, err := unix.Write(e.fd, s.frame)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			time.Sleep(100 * time.Microsecond)
			continue
		case err != nil && !errors.Is(err, unix.ENETDOWN):
			return fmt.Errorf("send from %s: %w", s.from, err)
		}
		return nil
	}
}

func (c *court) launchHost(pkt []byte) error {
	var err error
	if pkt[0]>>4 == 6 {
		err = unix.Sendto(c.send6, pkt, 0, &unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])})
	} else {
		err = unix.Sendto(c.send, pkt, 0, &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])})
	}
	for _, refusal := range []error{unix.EPERM, unix.EINVAL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.ENETDOWN, unix.EMSGSIZE, unix.ENOBUFS} {
		if errors.Is(err, refusal) { // dropped in output, or no route
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("send from the host: %w", err)
	}
	return nil
}

// look takes what has arrived everywhere; it says whether there was anything.
func (c *court) look(sent map[uint32]*shot, seen map[uint32]*sight) (any bool) {
	for _, name := range []string{"a", "b", "w"} {
		e := c.ends[name]
		for {
			n, err := unix.Read(e.fd, c.buf)
			if err != nil {
				break
			}
			any = true
			if n > 14 {
				c.saw(name, c.buf[14:n], sent, seen)
			}
		}
	}
	for _, ear := range c.ear {
		if c.hear(ear, sent, seen) {
			any = true
		}
	}
	return any
}

func (c *court) hear(ear rawEar, sent map[uint32]*shot, seen map[uint32]*sight) (any bool) {
	oob := make([]byte, 64)
	for {
		if !ear.v6 {
			n, err := unix.Read(ear.fd, c.buf)
			if err != nil {
				return any
			}
			any = true
			c.saw("h", c.buf[:n], sent, seen)
			continue
		}
		n, oobn, _, from, err := unix.Recvmsg(ear.fd, c.buf[40:], oob, 0)
		if err != nil {
			return any
		}
		any = true
		h := c.buf[:40]
		clear(h)
		h[0], h[6] = 0x60, ear.proto
		binary.BigEndian.PutUint16(h[4:], uint16(n))
		if sa, ok := from.(*unix.SockaddrInet6); ok {
			copy(h[8:], sa.Addr[:])
		}
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) > 0 && len(msgs[0].Data) >= 16 {
			copy(h[24:], msgs[0].Data[:16])
		}
		c.saw("h", c.buf[:40+n], sent, seen)
	}
}

// saw notes one packet seen somewhere, if it is one of those sent, or speaks of one.
func (c *court) saw(at string, pkt []byte, sent map[uint32]*shot, seen map[uint32]*sight) {
	if total := ipLength(pkt); total > 0 && total < len(pkt) {
		pkt = pkt[:total]
	}
	s, answer := c.which(pkt, sent)
	if s == nil {
		return
	}
	g := seen[s.tag]
	if g == nil {
		g = &sight{}
		seen[s.tag] = g
	}
	if answer != "" {
		if at == s.from || s.from == "h" {
			g.told = answer
		}
		return
	}
	if !strings.Contains(g.at, at) {
		g.at += at
	}
	if c.hostOnly {
		g.copies = append(g.copies, bytes.Clone(pkt))
	}
	if g.pkt == nil || at == "h" {
		g.pkt = bytes.Clone(pkt)
	}
}

// which finds the shot that a packet is, or that it is about: then answer says what it is.
func (c *court) which(pkt []byte, sent map[uint32]*shot) (s *shot, answer string) {
	if len(pkt) < 20+tagLen {
		return nil, ""
	}
	mark := pkt[len(pkt)-tagLen:]
	if string(mark[:2]) == "vO" {
		if s = sent[binary.BigEndian.Uint32(mark[2:])]; s == nil {
			return nil, ""
		}
		proto, l4 := upper(pkt)
		if proto != 1 && proto != 58 || len(l4) == 0 {
			return s, ""
		}
		switch _, was := upper(s.frame[14:]); {
		case len(pkt) > len(s.frame)-14 && (proto == 1 && l4[0] == 3 || proto == 58 && l4[0] == 1):
			return s, "icmp"
		case len(pkt) > len(s.frame)-14:
			return nil, "" // a redirect: no refusal
		case len(was) > 0 && was[0] != l4[0]:
			return nil, "" // the host's answer to an echo request
		}
		return s, ""
	}
	if proto, l4 := upper(pkt); proto == 6 && len(l4) >= 20 && l4[13]&4 != 0 { // a reset carries no payload
		for _, n := range []uint32{binary.BigEndian.Uint32(l4[8:]), binary.BigEndian.Uint32(l4[4:])} {
			if s = sent[n>>8]; s != nil {
				return s, "rst"
			}
		}
	}
	return nil, ""
}

// ipLength is the length an IP header gives, 0 where it is none.
func ipLength(b []byte) int {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= 40 && b[0]>>4 == 6:
		return 40 + int(binary.BigEndian.Uint16(b[4:]))
	}
	return 0
}

// upper finds the transport header: the protocol and the bytes from there on. Of a fragment that is not the first there are none.
func upper(b []byte) (proto byte, l4 []byte) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if n < 20 || n > len(b) {
			return b[9], nil
		}
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return b[9], nil
		}
		return b[9], b[n:]
	case len(b) >= 40 && b[0]>>4 == 6:
		return upper6(b)
	}
	return 0, nil
}

func upper6(b []byte) (proto byte, l4 []byte) {
	next, at := b[6], 40
	for at+8 <= len(b) {
		switch next {
		case 0, 43, 60:
			next, at = b[at], at+8+int(b[at+1])*8
		case 44:
			if binary.BigEndian.Uint16(b[at+2:])&0xfff8 != 0 {
				return b[at], nil
			}
			next, at = b[at], at+8
		case 51:
			next, at = b[at], at+8+int(b[at+1])*4
		default:
			return next, b[at:]
		}
	}
	if at > len(b) {
		return next, nil
	}
	return next, b[at:]
}

// ends4 are addresses and ports of a packet.
type points struct {
	src, dst     netip.Addr
	sport, dport uint16
	ports        bool
}

func (p points) String() string {
	if !p.ports {
		return p.src.String() + " > " + p.dst.String()
	}
	return netip.AddrPortFrom(p.src, p.sport).String() + " > " + netip.AddrPortFrom(p.dst, p.dport).String()
}

// pointsOf reads them.
func pointsOf(b []byte) (p points) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case len(b) >= 40 && b[0]>>4 == 6:
		p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	}
	proto, l4 := upper(b)
	if withPorts(proto) && len(l4) >= 4 {
		p.sport, p.dport, p.ports = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:]), true
	}
	return p
}

func withPorts(proto byte) bool {
	return proto == 6 || proto == 17 || proto == 33 || proto == 132 || proto == 136
}

// clear takes all rules away.
func (c *court) clear() error {
	if err := runInput("flush ruleset\n", "nft", "-f", "-"); err != nil {
		return err
	}
	for tool, names := range map[string]string{"iptables-legacy-restore": "/proc/thread-self/net/ip_tables_names", "ip6tables-legacy-restore": "/proc/thread-self/net/ip6_tables_names"} {
		if b, err := os.ReadFile(names); err != nil || len(b) == 0 {
			continue // no table of it was ever used here
		}
		if err := runInput(emptyTables, tool); err != nil {
			return err
		}
	}
	return nil
}

// rules loads a ruleset in place of all others, without what its tools refuse; that is what it gives back.
func (c *court) rules(set ruleset) (ruleset, error) {
	if err := c.clear(); err != nil {
		return set, err
	}
	for _, p := range set {
		load := loadWhatRestores
		if p.tool == "nft" {
			load = func(_, text string) (string, error) { return loadWhatLoads(text) }
		}
		text, err := load(p.tool, p.text)
		if err != nil {
			return set, err
		}
		p.text = text
	}
	return set, nil
}

// ruleset is what several tools load.
type ruleset []*rulesOf

type rulesOf struct{ tool, text string }

func (r ruleset) String() string {
	var b strings.Builder
	for _, p := range r {
		fmt.Fprintf(&b, "%s:\n%s", p.tool, p.text)
		if !strings.HasSuffix(p.text, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (r ruleset) clone() ruleset {
	out := make(ruleset, len(r))
	for i, p := range r {
		out[i] = &rulesOf{p.tool, p.text}
	}
	return out
}

// forget drops what conntrack knows.
func (c *court) forget() error {
	return netlink.ConntrackTableFlush(netlink.ConntrackTable)
}

// fresh makes the bridge know who is where, and conntrack know nobody: not even those greetings, for NAT picks another port
// where a rule makes them look like what is sent next.
func (c *court) fresh() error { return errors.Join(c.hello(), c.forget()) }

// keep writes a case to the folder for cases that were found.
func keep(dir, name, text string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}
