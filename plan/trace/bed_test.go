package trace_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan/trace"
	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/nft"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/providers/sysctl"
	"github.com/vmnet/vmnet/providers/xtables"
	"github.com/vmnet/vmnet/schema"
)

// bed is a host in a namespace with four ends at which packets are made and seen, byte by byte:
//
//	a (vnet0, 10.20.0.8-11) ─┐
//	                         ├─ virbr-lab 10.20.0.1 ── host ── eno1 192.0.2.10 ── w (192.0.2.1 and all beyond)
//	b (vnet1, 10.20.0.12-15)─┘
//
// The machines at a, b and w have no addresses: nothing but the test answers for them.
type bed struct {
	w    *world.World
	ends map[string]*end
	raw  []int // of the host: udp, icmp
	send int   // of the host
	rt   *rtnl.Provider
	nft  *nft.Provider
	// round counts rulesets.
	round uint16
	// soft makes senders choose what a Flow does not settle: hop limit, traffic class, identification.
	soft bool
	// patience is for how many looks it must be quiet before nothing more is waited for.
	patience int
	// seen is where the last asked requests arrived, for messages.
	seen map[uint32]arrived
}

// end is a place where frames are made and seen.
type end struct {
	name, dev string
	mac       net.HardwareAddr
	gateway   net.HardwareAddr // the host's MAC there
	fd        int
	index     int
}

var (
	macA = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x0a}
	macB = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x0b}
	macW = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x0c}
)

// run executes a command line in the host's namespace.
func run(line string) error {
	w := strings.Fields(line)
	return runInput("", w[0], w[1:]...)
}

func runInput(input, name string, args ...string) error {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out), input)
	}
	return nil
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

// newBed must run on a thread in a new host (world.InNewHost).
func newBed(tb testing.TB) *bed {
	tb.Helper()
	var err error
	for range 3 { // the kernel's IPv6 work queue serves all namespaces of the machine: links may not become ready in time
		var b *bed
		if b, err = makeBed(); err == nil {
			return b
		}
	}
	tb.Fatal(err)
	return nil
}

func makeBed() (*bed, error) {
	for _, s := range []string{
		"net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.autoconf=0", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.icmp_echo_ignore_all=1", "net.ipv4.icmp_ratelimit=0",
	} {
		k, v, _ := strings.Cut(s, "=")
		if err := writeSysctl(k, v); err != nil {
			return nil, err
		}
	}
	w, err := world.New(world.Spec{NoHostAddress: true, Uplink: "lan0x", Guests: []world.Guest{
		{Name: "a", Device: "vnet0", MAC: macA.String()},
		{Name: "b", Device: "vnet1", MAC: macB.String()},
		{Name: "w", Device: "eno1", MAC: macW.String()},
	}})
	if err != nil {
		return nil, err
	}
	b := &bed{w: w, ends: map[string]*end{}}
	lines := `ip link add virbr-lab type bridge
		ip link set virbr-lab address 02:00:00:00:00:fe
		ip link set vnet0 master virbr-lab
		ip link set vnet1 master virbr-lab
		ip link set virbr-lab up
		ip addr add 10.20.0.1/24 dev virbr-lab
		ip addr add 2001:db8:20::1/64 dev virbr-lab
		ip addr add 192.0.2.10/24 dev eno1
		ip addr add 2001:db8:2::10/64 dev eno1
		ip route add default via 192.0.2.1 dev eno1
		ip route add default via 2001:db8:2::1 dev eno1
		ip neigh add 192.0.2.1 lladdr ` + macW.String() + ` nud permanent dev eno1
		ip neigh add 2001:db8:2::1 lladdr ` + macW.String() + ` nud permanent dev eno1`
	for i := 8; i < 16; i++ {
		mac := macA
		if i >= 12 {
			mac = macB
		}
		lines += fmt.Sprintf("\nip neigh add 10.20.0.%d lladdr %s nud permanent dev virbr-lab\nip neigh add 2001:db8:20::%d lladdr %s nud permanent dev virbr-lab", i, mac, i, mac)
	}
	for line := range strings.SplitSeq(lines, "\n") {
		if err := run(line); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if err := b.hello(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return b, nil
}

// hello sends a frame from each guest, so that the bridge knows who is where.
func (b *bed) hello() error {
	for name, src := range map[string]string{"a": "10.20.0.8", "b": "10.20.0.12"} {
		p := parcel{round: b.round, proto: 17, src: netip.MustParseAddr(src), dst: netip.MustParseAddr("10.20.0.1"), sport: 9, dport: 9}
		if err := b.inject(name, p, kindLater); err != nil {
			return err
		}
	}
	b.collect(kindLater)
	return nil
}

func (b *bed) open() error {
	hostMAC := map[string]net.HardwareAddr{}
	for _, name := range []string{"virbr-lab", "eno1"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		hostMAC[name] = l.Attrs().HardwareAddr
	}
	for name, e := range map[string]*end{
		"a": {dev: "vnet0", mac: macA, gateway: hostMAC["virbr-lab"]},
		"b": {dev: "vnet1", mac: macB, gateway: hostMAC["virbr-lab"]},
		"w": {dev: "eno1", mac: macW, gateway: hostMAC["eno1"]},
	} {
		e.name = name
		if err := b.w.Guest(name).Do(e.open); err != nil {
			return fmt.Errorf("open end %s: %w", name, err)
		}
		b.ends[name] = e
	}
	for _, proto := range []int{unix.IPPROTO_UDP, unix.IPPROTO_ICMP} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return fmt.Errorf("open raw socket: %w", err)
		}
		b.raw = append(b.raw, fd)
	}
	var err error
	if b.send, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	if b.rt, err = rtnl.Open(); err != nil {
		return err
	}
	b.nft, err = nft.Open()
	return err
}

func (e *end) open() error {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	e.index = l.Attrs().Index
	if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20); err != nil {
		return err
	}
	return unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: e.index}) // ETH_P_ALL
}

func (b *bed) close() error {
	errs := []error{b.nft.Close(), b.rt.Close(), b.w.Close()}
	for _, fd := range append(b.raw, b.send, b.ends["a"].fd, b.ends["b"].fd, b.ends["w"].fd) {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// state reads the host as vmnet does.
func (b *bed) state(ctx context.Context) (*schema.State, error) {
	s := &schema.State{}
	for _, p := range []interface {
		Read(ctx context.Context) ([]schema.Object, error)
	}{b.rt, sysctl.New(""), b.nft, xtables.Open(xtables.Options{})} {
		objs, err := p.Read(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range objs {
			s.Put(o)
		}
	}
	return s, nil
}

// parcel is a packet of the test: which one, and what it says on the wire.
type parcel struct {
	tag          uint32
	round        uint16 // of rules: what comes late from an earlier one is not mistaken
	proto        byte
	src, dst     netip.Addr
	sport, dport uint16
}

func (p parcel) answer() parcel {
	return parcel{p.tag, p.round, p.proto, p.dst, p.src, p.dport, p.sport}
}

// wire kinds of a packet.
const (
	kindRequest = iota
	kindReply
	kindLater
)

// payload is the transport header and a mark: 'v', kind, tag, round.
func (p parcel) payload(kind int) []byte {
	mark := binary.BigEndian.AppendUint32([]byte{'v', byte(kind)}, p.tag)
	mark = binary.BigEndian.AppendUint16(mark, p.round)
	var h []byte
	switch p.proto {
	case 6:
		h = make([]byte, 20)
		seq, ack := 1000*p.tag+1, uint32(0)
		if kind == kindReply {
			seq, ack = 1000*p.tag+500, 1000*p.tag+2+uint32(len(mark))
		}
		if kind == kindLater {
			seq, ack = 1000*p.tag+2+uint32(len(mark)), 1000*p.tag+501+uint32(len(mark))
		}
		binary.BigEndian.PutUint32(h[4:], seq)
		binary.BigEndian.PutUint32(h[8:], ack)
		h[12], h[13] = 0x50, []byte{0x02, 0x12, 0x10}[kind]
		binary.BigEndian.PutUint16(h[14:], 0xffff)
	case 17:
		h = make([]byte, 8)
		binary.BigEndian.PutUint16(h[4:], uint16(8+len(mark)))
	case 1, 58:
		h = make([]byte, 8)
		h[0] = map[byte][]byte{1: {8, 0, 8}, 58: {128, 129, 128}}[p.proto][kind]
		binary.BigEndian.PutUint16(h[4:], uint16(p.tag))
	}
	if p.proto == 6 || p.proto == 17 {
		binary.BigEndian.PutUint16(h, p.sport)
		binary.BigEndian.PutUint16(h[2:], p.dport)
	}
	h = append(h, mark...)
	at := map[byte]int{6: 16, 17: 6, 1: 2, 58: 2}[p.proto]
	var pseudo []byte
	if p.proto != 1 {
		pseudo = append(append(p.src.AsSlice(), p.dst.AsSlice()...), 0, 0, 0, byte(len(h)), 0, 0, 0, p.proto)
	}
	binary.BigEndian.PutUint16(h[at:], checksum(append(pseudo, h...)))
	return h
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// packet is the IP packet.
func (p parcel) packet(kind int) []byte {
	body := p.payload(kind)
	if p.src.Is6() {
		h := make([]byte, 40)
		h[0], h[6], h[7] = 0x60, p.proto, 64
		binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
		copy(h[8:], p.src.AsSlice())
		copy(h[24:], p.dst.AsSlice())
		return append(h, body...)
	}
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, 64, p.proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(h[4:], uint16(p.tag))
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, body...)
}

// parse reads a packet of ours; ok is false for others.
func parse(b []byte) (p parcel, kind int, ok bool) {
	var body []byte
	switch {
	case len(b) > 28 && b[0] == 0x45:
		p.proto = b[9]
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		body = b[20:min(len(b), int(binary.BigEndian.Uint16(b[2:])))]
	case len(b) > 48 && b[0]>>4 == 6:
		p.proto = b[6]
		p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		body = b[40:]
	default:
		return p, 0, false
	}
	n := map[byte]int{6: 20, 17: 8, 1: 8, 58: 8}[p.proto]
	if n == 0 || len(body) < n+8 || body[n] != 'v' {
		return p, 0, false
	}
	if p.proto == 6 || p.proto == 17 {
		p.sport, p.dport = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	}
	if (p.proto == 1 && body[0] != 0 && body[0] != 8) || (p.proto == 58 && body[0] != 128 && body[0] != 129) {
		return p, 0, false // an error that quotes
	}
	kind = int(body[n+1])
	p.tag = binary.BigEndian.Uint32(body[n+2:])
	p.round = binary.BigEndian.Uint16(body[n+6:])
	return p, kind, true
}

// inject sends a packet from an end; "h" is the host.
func (b *bed) inject(from string, p parcel, kind int) error {
	pkt := p.packet(kind)
	if b.soft {
		soften(pkt, rand.New(rand.NewPCG(uint64(p.tag)<<16|uint64(p.round), uint64(kind))))
	}
	if from == "h" {
		err := unix.Sendto(b.send, pkt, 0, &unix.SockaddrInet4{Addr: p.dst.As4()})
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("send from the host: %w", err)
		}
		return nil // a refusal is a drop in output, or no route
	}
	e := b.ends[from]
	dst := e.gateway
	for _, o := range b.ends { // in one network a guest speaks to its peer itself
		if o.dev != "eno1" && e.dev != "eno1" && o.owns(p.dst) {
			dst = o.mac
		}
	}
	proto := []byte{8, 0}
	if p.src.Is6() {
		proto = []byte{0x86, 0xdd}
	}
	frame := append(append(append(append([]byte(nil), dst...), e.mac...), proto...), pkt...)
	to := &unix.SockaddrLinklayer{Ifindex: e.index, Halen: 6}
	for {
		err := unix.Sendto(e.fd, frame, 0, to)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil && !errors.Is(err, unix.ENETDOWN) {
			return fmt.Errorf("send from %s: %w", from, err)
		}
		return nil
	}
}

// soften changes the header bits that any sender may choose.
func soften(pkt []byte, r *rand.Rand) {
	hops := []byte{64, 64, 65, 63, 128, 255, byte(5 + r.IntN(250))}[r.IntN(7)]
	class := []byte{0, 0, 0x10, 0xb8, byte(r.IntN(256))}[r.IntN(5)]
	if pkt[0]>>4 == 6 {
		pkt[0], pkt[1], pkt[7] = 0x60|class>>4, class<<4, hops
		return
	}
	pkt[1], pkt[8] = class, hops
	binary.BigEndian.PutUint16(pkt[4:], uint16(r.IntN(65536)))
	pkt[6] = byte(r.IntN(2)) << 6
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], checksum(pkt[:20]))
}

// owns tells whether an address is that end's.
func (e *end) owns(a netip.Addr) bool {
	b := a.AsSlice()
	last := int(b[len(b)-1])
	lab := netip.MustParsePrefix("10.20.0.0/24").Contains(a) || netip.MustParsePrefix("2001:db8:20::/64").Contains(a)
	if a.Is6() {
		last = last>>4*10 + last&15 // written in decimal digits
	}
	switch e.name {
	case "a":
		return lab && last >= 8 && last < 12
	case "b":
		return lab && last >= 12 && last < 16
	}
	return !lab && !a.IsLoopback() && a != netip.MustParseAddr("192.0.2.10") && a != netip.MustParseAddr("2001:db8:2::10")
}

// endOf is the end that an address is at: "h" for the host.
func (b *bed) endOf(a netip.Addr) string {
	for name, e := range b.ends {
		if e.owns(a) {
			return name
		}
	}
	return "h"
}

// arrival is a packet seen at an end.
type arrived struct {
	end string
	p   parcel
}

// collect reads what has arrived of one kind, by tag, until it is quiet.
func (b *bed) collect(kind int) map[uint32]arrived {
	out := map[uint32]arrived{}
	quiet := 0
	for quiet < max(b.patience, 3) {
		got := false
		for name, e := range b.ends {
			buf := make([]byte, 2048)
			for {
				n, from, err := unix.Recvfrom(e.fd, buf, 0)
				if err != nil {
					break
				}
				got = true
				if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING || n < 15 || !bytes.Equal(buf[:6], e.mac) {
					continue
				}
				if p, k, ok := parse(buf[14:n]); ok && k == kind && p.round == b.round {
					out[p.tag] = arrived{name, p}
				}
			}
		}
		for _, fd := range b.raw {
			buf := make([]byte, 2048)
			for {
				n, _, err := unix.Recvfrom(fd, buf, 0)
				if err != nil {
					break
				}
				got = true
				if p, k, ok := parse(buf[:n]); ok && k == kind && p.round == b.round {
					if _, seen := out[p.tag]; !seen {
						out[p.tag] = arrived{"h", p}
					}
				}
			}
		}
		if got {
			quiet = 0
			continue
		}
		quiet++
		time.Sleep(700 * time.Microsecond)
	}
	return out
}

// probe is one flow to be tried.
type probe struct {
	from string
	p    parcel
	flow trace.Flow
}

// newProbe makes the flow as vmnet would be asked.
func (b *bed) newProbe(p parcel) probe {
	p.round = b.round
	pr := probe{from: b.endOf(p.src), p: p}
	f := trace.Flow{Src: p.src, Dst: p.dst, SrcPort: p.sport, DstPort: p.dport, Proto: map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}[p.proto]}
	if e := b.ends[pr.from]; e != nil {
		f.From = e.dev
	}
	if e := b.ends[b.endOf(p.dst)]; e != nil {
		f.To = e.dev
	}
	if pr.from == "w" {
		f.From = "eno1"
	}
	pr.flow = f
	return pr
}

// listen opens the host's UDP ports that may be reached, and gives what closes them. Its "port unreachable" would belong to
// the connection it is about, meet the rules, and change marks.
func listen(probes []probe) (closeAll func()) {
	ports := map[uint16]bool{}
	for _, p := range somePorts {
		ports[p] = true
	}
	for _, pr := range probes {
		if pr.p.proto == 17 {
			ports[pr.p.dport] = true
			if pr.from == "h" {
				ports[pr.p.sport] = true
			}
		}
	}
	var fds []int
	for port := range ports {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			continue
		}
		fds = append(fds, fd)
		_ = unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}) // one that is taken needs no second listener
	}
	return func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

// ask sends every probe's request, the answers of those that arrive, and a later packet; it gives what became of each:
// "pass", or the half that was lost.
func (b *bed) ask(probes []probe) (map[uint32]string, error) {
	defer listen(probes)()
	out := map[uint32]string{}
	for _, pr := range probes {
		out[pr.p.tag] = "request"
		if err := b.inject(pr.from, pr.p, kindRequest); err != nil {
			return nil, err
		}
	}
	first := b.collect(kindRequest)
	b.seen = first
	for _, pr := range probes {
		if at, ok := first[pr.p.tag]; ok && (pr.flow.To == "" || at.end != "h" && b.ends[at.end].dev == pr.flow.To) {
			out[pr.p.tag] = "reply"
			if err := b.inject(at.end, at.p.answer(), kindReply); err != nil {
				return nil, err
			}
		}
	}
	back := b.collect(kindReply)
	for _, pr := range probes {
		if at, ok := back[pr.p.tag]; ok && at.end == pr.from && at.p == pr.p.answer() {
			out[pr.p.tag] = "established"
			if err := b.inject(pr.from, pr.p, kindLater); err != nil {
				return nil, err
			}
		}
	}
	again := b.collect(kindLater)
	for _, pr := range probes {
		if at, ok := again[pr.p.tag]; ok && out[pr.p.tag] == "established" && at == first[pr.p.tag] {
			out[pr.p.tag] = "pass"
		}
	}
	return out, nil
}

// judge compares Walk with the kernel, and returns the connections on which they disagree, and all results by tag. On a busy
// machine a packet may be late: before a disagreement is believed, the kernel is asked again, with patience.
func (b *bed) judge(w *trace.Walker, probes []probe) (wrong []probe, results map[uint32]trace.Result, got map[uint32]string, err error) {
	results = map[uint32]trace.Result{}
	for _, pr := range probes {
		results[pr.p.tag] = w.Walk(pr.flow)
	}
	for _, b.patience = range []int{3, 100} {
		if got, err = b.ask(probes); err != nil {
			return nil, nil, nil, err
		}
		wrong = nil
		for _, pr := range probes {
			if !b.agrees(results[pr.p.tag], got[pr.p.tag]) {
				wrong = append(wrong, pr)
			}
		}
		if len(wrong) == 0 {
			return nil, results, got, nil
		}
		b.round++
		for i := range probes {
			probes[i].p.round = b.round
		}
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return nil, nil, nil, err
		}
	}
	return wrong, results, got, nil
}

// agrees tells whether a result may be what the kernel did. Where senders choose freely, which of the packets is lost first is
// theirs to choose.
func (b *bed) agrees(res trace.Result, got string) bool {
	switch {
	case res.Verdict == trace.Depends:
		return true
	case b.soft:
		return (res.Verdict == trace.Pass) == (got == "pass")
	}
	return verdictOf(res) == got
}

// verdictOf is a result in the words of ask.
func verdictOf(res trace.Result) string {
	if res.Verdict == trace.Block {
		return res.Half
	}
	return string(res.Verdict)
}

// reset takes rules and connections away.
func (b *bed) reset() error {
	b.round++
	return errors.Join(runInput("flush ruleset\n", "nft", "-f", "-"), b.hello(), netlink.ConntrackTableFlush(netlink.ConntrackTable))
}
