package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/providers/rtnl"
	"github.com/vmnet/vmnet/schema"
)

// TestBridgesAsTheKernel sends frames through random bridges and looks where they come out.
func TestBridgesAsTheKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() { judgeBridges(t, 30, false) })
}

// JudgeVLANBridges does so with bridges that filter by VLAN, which not every kernel has.
func JudgeVLANBridges(t *testing.T) {
	t.Helper()
	judgeBridges(t, 20, true)
}

const (
	labPorts  = 5
	labFrames = 200
	labProto  = 0x88b5 // IEEE 802.1 local experimental: no program and no rule cares
)

// lab is a bridge br0 with the ports p0 … behind which f0 … are the machines: nothing but the test sends or answers there.
type lab struct {
	*rand.Rand
	ends  []*labEnd // f0 …, and br0 last
	read  *rtnl.Provider
	sent  uint32
	learn []string // MAC addresses that were heard
}

// labEnd is a place where frames are made and seen.
type labEnd struct {
	name  string
	fd    int
	index int
}

func judgeBridges(t *testing.T, rounds int, vlans bool) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := &lab{Rand: rand.New(rand.NewPCG(seed, 0))}
	if err := l.cable(); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	frames, wrong, stopped := 0, 0, 0
	for round := range rounds {
		setup := l.bridge(vlans)
		if err := l.build(setup); err != nil {
			t.Fatal(err)
		}
		shots, err := l.round(t)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shots {
			frames++
			if s.want == "nowhere" {
				stopped++
			}
			if s.want != s.got {
				wrong++
				t.Errorf("round %d: %s\nthe kernel: %s\nvmnet:      %s\n%s", round, s.what, s.got, s.want, setup)
			}
			if wrong > 5 {
				t.Fatal("and so on")
			}
		}
	}
	t.Logf("%d frames through %d bridges, %d of them got nowhere", frames, rounds, stopped)
}

// cable makes the ports and their machines, which stay for all rounds.
func (l *lab) cable() error {
	for _, family := range []string{"default", "all"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+family+"/disable_ipv6", []byte("1"), 0o644); err != nil {
			return err
		}
	}
	var lines []string
	for i := range labPorts {
		lines = append(lines, fmt.Sprintf("link add p%d address 02:00:00:00:01:%02x type veth peer name f%d", i, i, i), fmt.Sprintf("link set p%d up", i), fmt.Sprintf("link set f%d up", i))
	}
	if err := batch("ip", lines); err != nil {
		return err
	}
	for i := range labPorts {
		e, err := newLabEnd(fmt.Sprintf("f%d", i))
		if err != nil {
			return err
		}
		l.ends = append(l.ends, e)
	}
	p, err := rtnl.Open()
	l.read = p
	return err
}

func (l *lab) close() {
	for _, e := range l.ends {
		unix.Close(e.fd)
	}
	l.read.Close()
}

// settled waits for the carrier of the bridge: until the kernel's work queue has seen that it came (link_watch.c), what the
// host sends is dropped.
func (l *lab) settled() error {
	for range 1000 {
		dev, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		state, err := os.ReadFile("/sys/class/net/br0/operstate")
		if err != nil {
			return err
		}
		if up := strings.TrimSpace(string(state)) == "up"; up == (dev.Flags&net.FlagRunning != 0) {
			carrier, err := os.ReadFile("/sys/class/net/br0/carrier")
			if err != nil {
				return err
			}
			if up == (strings.TrimSpace(string(carrier)) == "1") {
				return nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.New("br0 does not settle")
}

func batch(tool string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	args := []string{"-batch", "-"}
	if lines[0] == "-force" {
		args, lines = append(args, "-force"), lines[1:]
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s\n%s", tool, err, out, strings.Join(lines, "\n"))
	}
	return nil
}

func newLabEnd(name string) (*labEnd, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	e := &labEnd{name, fd, dev.Index}
	// The tag of a frame is beside it, not in it (packet(7), PACKET_AUXDATA).
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20); err != nil {
		return nil, err
	}
	return e, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index})
}

func htons(n uint16) uint16 { return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n)) }

// setting is a random bridge, as commands.
type setting struct{ ip, bridge []string }

func (s setting) String() string {
	return strings.Join(append(slices.Clone(s.ip), s.bridge...), "\n")
}

func (l *lab) chance(percent int) bool { return l.IntN(100) < percent }

// bridge throws the dice for one.
func (l *lab) bridge(vlans bool) setting {
	aware := vlans && l.chance(85)
	var s setting
	add := func(format string, args ...any) { s.ip = append(s.ip, fmt.Sprintf(format, args...)) }
	line := fmt.Sprintf("link add br0 address 02:00:00:00:00:b0 type bridge mcast_snooping %d", l.IntN(2))
	if vlans {
		line += fmt.Sprintf(" vlan_default_pvid %d", []int{0, 1, 10}[l.IntN(3)])
	}
	if aware {
		line += " vlan_filtering 1"
	}
	add("%s", line)
	add("link set br0 up")
	for i := range labPorts {
		if l.chance(8) {
			continue // not a port
		}
		add("link set p%d master br0", i)
		l.port(&s, i)
		if aware {
			l.vlans(&s, fmt.Sprintf("p%d", i), "")
		}
		for _, n := range l.Perm(4)[:l.IntN(4)] {
			mac, vlan := fmt.Sprintf("02:00:00:00:02:%x%x", i, n), ""
			if n == 3 {
				mac = fmt.Sprintf("02:00:00:00:06:%02x", i)
			}
			if aware && l.chance(80) {
				vlan = fmt.Sprintf(" vlan %d", l.vid())
			}
			s.bridge = append(s.bridge, fmt.Sprintf("fdb replace %s dev p%d master static%s", mac, i, vlan))
		}
		if l.chance(12) {
			s.bridge = append(s.bridge, fmt.Sprintf("link set dev p%d state %d", i, l.IntN(5)))
		}
	}
	if aware {
		l.vlans(&s, "br0", " self")
	}
	return s
}

func (l *lab) vid() int { return []int{1, 10, 11, 12, 20}[l.IntN(5)] }

// port throws the dice for the switches of a port.
func (l *lab) port(s *setting, i int) {
	line := ""
	for word, percent := range map[string]int{
		"isolated on": 30, "hairpin on": 20, "learning off": 40, "flood off": 25, "mcast_flood off": 25, "bcast_flood off": 25, "proxy_arp on": 5, "locked on": 8,
	} {
		if l.chance(percent) {
			line += " " + word
		}
	}
	if line != "" {
		s.ip = append(s.ip, fmt.Sprintf("link set p%d type bridge_slave%s", i, line))
	}
}

// vlans throws the dice for the VLANs of a port or of the bridge.
func (l *lab) vlans(s *setting, dev, self string) {
	if l.chance(15) {
		s.bridge = append(s.bridge, fmt.Sprintf("vlan del vid 1-20 dev %s%s", dev, self))
	}
	for range 1 + l.IntN(4) {
		line := fmt.Sprintf("vlan add vid %d dev %s%s", l.vid(), dev, self)
		if l.chance(40) {
			line += " pvid"
		}
		if l.chance(50) {
			line += " untagged"
		}
		if !strings.Contains(line, "pvid") && l.chance(20) {
			line = fmt.Sprintf("vlan add vid 10-12 dev %s%s", dev, self)
		}
		s.bridge = append(s.bridge, line)
		if l.chance(10) {
			s.bridge = append(s.bridge, fmt.Sprintf("vlan set vid %s dev %s state %d", strings.Fields(line)[3], dev, l.IntN(5)))
		}
	}
}

// build makes it so.
func (l *lab) build(s setting) error {
	if n := len(l.ends); n > labPorts {
		unix.Close(l.ends[n-1].fd)
		l.ends = l.ends[:n-1]
		if err := batch("ip", []string{"link del br0"}); err != nil {
			return err
		}
	}
	if err := batch("ip", s.ip); err != nil {
		return err
	}
	// Some are refused, such as entries in a VLAN that the port is not in: what came of them is read.
	if err := batch("bridge", append([]string{"-force"}, s.bridge...)); err != nil && !strings.Contains(err.Error(), "RTNETLINK answers") {
		return err
	}
	if err := l.settled(); err != nil {
		return err
	}
	e, err := newLabEnd("br0")
	if err != nil {
		return err
	}
	l.ends = append(l.ends, e)
	return nil
}

// shot is one frame, what became of it and what should have.
type shot struct{ what, want, got string }

// round teaches the bridge some addresses, reads it, and sends frames.
func (l *lab) round(t *testing.T) ([]shot, error) {
	t.Helper()
	l.learn = nil
	for i := range labPorts {
		mac := fmt.Sprintf("02:00:00:00:03:%02x", i)
		l.learn = append(l.learn, mac)
		if err := l.shoot(l.ends[i], frame{src: mac, dst: "ff:ff:ff:ff:ff:ff", tag: uint16([]int{0, 0, 10}[l.IntN(3)])}); err != nil {
			return nil, err
		}
	}
	objects, err := l.read.Read(t.Context())
	if err != nil {
		return nil, err
	}
	if _, err := l.collect(); err != nil {
		return nil, err
	}
	state := schema.NewState(objects...)
	b := newFabrics(state)["br0"]
	var shots []shot
	first := l.sent
	for range labFrames {
		in, f := l.frame()
		shots = append(shots, shot{what: fmt.Sprintf("in by %s: %+v", in.name, f), want: l.expected(state, b, in, f)})
		if err := l.shoot(in, f); err != nil {
			return nil, err
		}
	}
	got, err := l.collect()
	for i := range shots {
		shots[i].got = cameOut(got[first+uint32(i)+1])
	}
	return shots, err
}

// expected is what vmnet says.
func (l *lab) expected(s *schema.State, b *fabric, in *labEnd, f frame) string {
	var port *schema.Link
	if in.name != "br0" {
		port = s.Link("p" + in.name[1:])
		if *port.Master != "br0" {
			return cameOut(nil)
		}
	}
	d := b.deliver(port, f)
	if d.stop != nil && d.stop.code == "" {
		return "unknown: " + d.stop.text
	}
	var out []string
	for _, e := range d.exits {
		out = append(out, fmt.Sprintf("f%s tag %d", e.port.Name[1:], e.tag))
	}
	if d.up {
		out = append(out, fmt.Sprintf("br0 tag %d", d.upTag))
	}
	return cameOut(out)
}

func cameOut(where []string) string {
	if len(where) == 0 {
		return "nowhere"
	}
	slices.Sort(where)
	return strings.Join(where, ", ")
}

// frame throws the dice for one; its sender is heard for the first time, so that what the bridge learns decides nothing.
func (l *lab) frame() (*labEnd, frame) {
	in := l.ends[l.IntN(len(l.ends))]
	f := frame{src: fmt.Sprintf("02:00:00:04:%02x:%02x", byte(l.sent>>8), byte(l.sent))}
	if l.chance(55) {
		f.tag = uint16(l.vid())
	}
	if l.chance(15) && in.name != "br0" { // for locked ports; from nowhere else: even a static entry follows its machine to other ports
		f.src = "02:00:00:00:06:0" + in.name[1:]
	}
	switch n := l.IntN(100); {
	case n < 25:
		f.dst, f.cast = "ff:ff:ff:ff:ff:ff", toAll
	case n < 40:
		f.dst, f.cast = "01:00:5e:7f:00:01", toMany
	case n < 50:
		f.dst = "02:00:00:00:05:05"
	case n < 70:
		f.dst = fmt.Sprintf("02:00:00:00:02:%x%x", l.IntN(labPorts), l.IntN(3))
	case n < 85:
		f.dst = l.learn[l.IntN(len(l.learn))]
	case n < 93:
		f.dst = "02:00:00:00:00:b0"
	default:
		f.dst = fmt.Sprintf("02:00:00:00:01:%02x", l.IntN(labPorts))
	}
	return in, f
}

// shoot sends a frame with the next number in it.
func (l *lab) shoot(from *labEnd, f frame) error {
	l.sent++
	var b []byte
	for _, mac := range []string{f.dst, f.src} {
		a, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		b = append(b, a...)
	}
	proto := uint16(labProto)
	if f.tag != 0 {
		proto = unix.ETH_P_8021Q
		b = binary.BigEndian.AppendUint16(b, proto)
		b = binary.BigEndian.AppendUint16(b, f.tag)
	}
	b = binary.BigEndian.AppendUint16(b, labProto)
	b = binary.BigEndian.AppendUint32(b, l.sent)
	b = append(b, make([]byte, 46)...)
	err := unix.Sendto(from.fd, b, 0, &unix.SockaddrLinklayer{Protocol: htons(proto), Ifindex: from.index})
	if err != nil && (from.name != "br0" || err != unix.ENETDOWN) {
		return fmt.Errorf("send by %s: %w", from.name, err)
	}
	return nil
}

// collect waits until no more frames come, and says where each number came out, with which tag.
func (l *lab) collect() (map[uint32][]string, error) {
	got := map[uint32][]string{}
	for quiet := 0; quiet < 3; quiet++ {
		time.Sleep(4 * time.Millisecond)
		for _, e := range l.ends {
			for {
				n, s, ok, err := e.next()
				if err != nil {
					return nil, err
				}
				if !ok {
					break
				}
				if n != 0 {
					got[n] = append(got[n], s)
					quiet = 0
				}
			}
		}
	}
	return got, nil
}

// next is the next frame seen at an end; number 0 for one that is not ours, or that left here.
func (e *labEnd) next() (number uint32, where string, ok bool, err error) {
	var b, oob [256]byte
	n, on, _, from, err := unix.Recvmsg(e.fd, b[:], oob[:], 0)
	switch {
	case err == unix.EAGAIN:
		return 0, "", false, nil
	case err == unix.ENETDOWN:
		return 0, "", true, nil
	case err != nil:
		return 0, "", false, fmt.Errorf("receive at %s: %w", e.name, err)
	}
	if sa, isLink := from.(*unix.SockaddrLinklayer); !isLink || sa.Pkttype == unix.PACKET_OUTGOING || n < 18 || binary.BigEndian.Uint16(b[12:]) != labProto {
		return 0, "", true, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		return 0, "", false, err
	}
	tag := uint16(0)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 {
			if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 { // struct tpacket_auxdata
				tag = binary.NativeEndian.Uint16(m.Data[16:]) & 0xfff
			}
		}
	}
	return binary.BigEndian.Uint32(b[14:]), fmt.Sprintf("%s tag %d", e.name, tag), true, nil
}
