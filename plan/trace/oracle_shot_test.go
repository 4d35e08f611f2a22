package trace_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// gunsmith makes frames for a ruleset: ordinary ones, and such as lie at the edges of what its rules ask for.
type gunsmith struct {
	*generator
	c     *court
	rules []wish
	used  map[string]bool
	wild  bool // whatever a header can say, not only what a sane sender would
	late  func(*draft)
}

// wish is what one rule wants to see: bytes of headers, and the protocol.
type wish []field

// field is a run of bytes of a header with values that decide something: bounds of ranges, keys of sets.
type field struct {
	base     string // "link", "network", "transport"
	off      int
	mask     []byte // nil for all
	values   [][]byte
	protocol bool // values are transport protocols (meta l4proto)
}

func newGunsmith(g *generator, c *court, s *schema.State) *gunsmith {
	m := &gunsmith{generator: g, c: c, used: map[string]bool{}}
	for t := range schema.Each[*schema.Table](s) {
		for _, ch := range t.Chains {
			for _, r := range ch.Rules {
				if w := wishOf(t, r); len(w) > 0 {
					m.rules = append(m.rules, w)
				}
			}
		}
	}
	return m
}

// wishOf reads what a rule compares. It need not be complete: the kernel judges whatever comes out.
func wishOf(t *schema.Table, r *schema.Rule) wish {
	type loaded struct {
		f    field
		n    int
		mask []byte
	}
	regs := map[uint32]loaded{}
	var out wish
	want := func(reg uint32, values ...[]byte) {
		if l, ok := regs[word(reg)]; ok {
			l.f.mask, l.f.values = l.mask, values
			out = append(out, l.f)
		}
	}
	for i := range r.Exprs {
		e := &r.Exprs[i]
		switch e.Name {
		case "payload":
			regs[word(e.DReg)] = loaded{f: field{base: e.Base, off: int(e.Offset)}, n: int(e.Len)}
		case "meta":
			delete(regs, word(e.DReg))
			if e.Key == "l4proto" && e.DReg != 0 {
				regs[word(e.DReg)] = loaded{f: field{protocol: true}, n: 1}
			}
		case "bitwise":
			l, ok := regs[word(e.SReg)]
			delete(regs, word(e.DReg))
			if ok && (e.Op == "" || e.Op == "bool") {
				l.mask = e.Data
				regs[word(e.DReg)] = l
			}
		case "cmp":
			want(e.SReg, e.Data)
		case "range":
			want(e.SReg, e.Data, e.Data2)
		case "in":
			var vs [][]byte
			for _, x := range e.Ranges {
				vs = append(vs, x[0], x[1])
			}
			want(e.SReg, vs...)
		case "lookup":
			s := t.SetNamed(e.Set)
			if s == nil || len(s.Elements) == 0 {
				continue
			}
			out = append(out, lookupWish(s, e.SReg, func(reg uint32) (field, int, bool) {
				l, ok := regs[word(reg)]
				return l.f, l.n, ok
			})...)
		default:
			delete(regs, word(e.DReg))
		}
	}
	return out
}

// word numbers registers in words of 32 bits.
func word(reg uint32) uint32 {
	if reg >= 1 && reg <= 4 {
		return 8 + (reg-1)*4
	}
	return reg
}

func lookupWish(s *schema.Set, reg uint32, load func(uint32) (field, int, bool)) (out wish) {
	at := 0
	for at < int(s.KeyLen) {
		f, n, ok := load(word(reg) + uint32(at/4))
		if !ok {
			at += 4
			continue
		}
		for i := range s.Elements {
			for _, k := range [][]byte{s.Elements[i].Key, s.Elements[i].KeyEnd} {
				if len(k) >= at+n {
					f.values = append(f.values, k[at:at+n])
				}
			}
		}
		if len(f.values) > 0 {
			out = append(out, f)
		}
		at += max(4, (n+3)&^3)
	}
	return out
}

// draft is a frame before its lengths and checksums are made.
type draft struct {
	from    string
	eth     [14]byte
	v6      bool
	ip      []byte // the header, with options
	ext     []byte // of IPv6
	l4      []byte // header and payload
	proto   byte
	length  int // to add to the length fields, for broken packets
	extKind byte
	lastExt int // in ext, where the next-header byte for the transport is; -1: in the IPv6 header
}

// shots makes n of them.
func (m *gunsmith) shots(n int) []*shot {
	out := make([]*shot, 0, n)
	for tries := 0; len(out) < n && tries < 20*n; tries++ {
		d := m.draft()
		if !m.plausible(d) {
			continue
		}
		m.c.seq++
		s := &shot{from: d.from, tag: m.c.seq & 0xffffff}
		if m.late != nil {
			m.late(d)
		}
		s.frame = d.frame(s.tag)
		if key := connection(s.frame[14:]); key != "" {
			if m.used[key] {
				continue
			}
			m.used[key], m.used[flip(s.frame[14:])] = true, true
		}
		out = append(out, s)
	}
	return out
}

// connection names what conntrack would take the packet for.
func connection(pkt []byte) string {
	p := pointsOf(pkt)
	proto, l4 := upper(pkt)
	key := string(proto) + p.String()
	if (proto == 1 || proto == 58) && len(l4) >= 8 {
		key += string(l4[4:6])
	}
	return key
}

func flip(pkt []byte) string {
	p := pointsOf(pkt)
	p.src, p.dst, p.sport, p.dport = p.dst, p.src, p.dport, p.sport
	proto, l4 := upper(pkt)
	key := string(proto) + p.String()
	if (proto == 1 || proto == 58) && len(l4) >= 8 {
		key += string(l4[4:6])
	}
	return key
}

func (m *gunsmith) draft() *draft {
	d := m.plain()
	if len(m.rules) > 0 && m.chance(60) {
		m.grant(d, m.rules[m.r.IntN(len(m.rules))])
		if m.chance(20) {
			m.grant(d, m.rules[m.r.IntN(len(m.rules))])
		}
	}
	if m.chance(25) {
		m.flipBit(d)
	}
	return d
}

// grant gives a rule what it wants: exactly, or by one off.
func (m *gunsmith) grant(d *draft, w wish) {
	for _, f := range w {
		if f.protocol && len(f.values[0]) == 1 && m.chance(80) {
			m.transport(d, f.values[m.r.IntN(len(f.values))][0])
		}
	}
	for _, f := range w {
		if f.protocol || m.chance(10) {
			continue
		}
		b := d.bytes(f.base)
		v := bytes.Clone(f.values[m.r.IntN(len(f.values))])
		if f.off < 0 || f.off+len(v) > len(b) || f.base == "network" && f.off == 0 && len(v) < 2 {
			continue
		}
		switch m.r.IntN(4) {
		case 0:
			add(v, 1)
		case 1:
			add(v, -1)
		}
		for i := range v {
			k := byte(0xff)
			if f.mask != nil && i < len(f.mask) {
				k = f.mask[i]
			}
			b[f.off+i] = b[f.off+i]&^k | v[i]&k
		}
		if f.base == "network" {
			m.follow(d)
		}
	}
}

// add counts a big-endian number up or down by one.
func add(v []byte, by int) {
	for i := len(v) - 1; i >= 0; i-- {
		v[i] += byte(by)
		if by > 0 && v[i] != 0 || by < 0 && v[i] != 0xff {
			return
		}
	}
}

// follow makes the transport header suit the protocol that the IP header now has.
func (m *gunsmith) follow(d *draft) {
	p := d.ip[9%len(d.ip)]
	if d.v6 {
		p = d.ip[6]
	}
	if d.v6 && len(d.ext) > 0 && p != d.extKind {
		d.ext, d.lastExt = nil, -1
		m.transport(d, p)
	}
	if p != d.proto && len(d.ext) == 0 {
		m.transport(d, p)
	}
}

func (m *gunsmith) flipBit(d *draft) {
	b := d.bytes("network")
	switch m.r.IntN(5) {
	case 0:
		b = d.eth[:12]
	case 1, 2:
		b = d.l4[:len(d.l4)-tagLen]
	}
	if len(b) == 0 {
		return
	}
	i := m.r.IntN(len(b))
	b[i] ^= 1 << m.r.IntN(8)
	m.follow(d)
}

// bytes are those of a header.
func (d *draft) bytes(base string) []byte {
	switch base {
	case "link":
		return d.eth[:]
	case "network":
		if !d.v6 {
			return d.ip[:20] // options stay as they are
		}
		return d.ip
	case "transport":
		return d.l4[:len(d.l4)-tagLen]
	}
	return nil
}

// plain is a frame as a sane sender would make it.
func (m *gunsmith) plain() *draft {
	d := &draft{v6: m.chance(30), lastExt: -1}
	src, dst := m.pairOf(d)
	if d.v6 {
		d.ip = make([]byte, 40)
		d.ip[0] = 0x60
		d.ip[7] = m.hops()
		copy(d.ip[8:], src.AsSlice())
		copy(d.ip[24:], dst.AsSlice())
	} else {
		d.ip = make([]byte, 20)
		d.ip[0] = 0x45
		d.ip[8] = m.hops()
		binary.BigEndian.PutUint16(d.ip[4:], uint16(m.r.IntN(65536)))
		d.ip[6] = pick(m.generator, byte(0x40), 0)
		copy(d.ip[12:], src.AsSlice())
		copy(d.ip[16:], dst.AsSlice())
	}
	if m.chance(20) {
		d.setTOS(byte(m.r.IntN(256)))
	}
	m.macs(d, dst)
	m.transport(d, pick(m.generator, byte(6), 6, 6, 17, 17, 17, 1, 58, pick(m.generator, byte(47), 50, 51, 132, 2, 89, 103)))
	switch {
	case d.v6 && m.wild && m.chance(12) && len(d.ext) == 0:
		m.extend(d, pick(m.generator, byte(60), 60, 0, 43, 51))
	case !d.v6 && m.wild && m.chance(5):
		m.options(d)
	}
	return d
}

// hops is a TTL or hop limit.
func (m *gunsmith) hops() byte {
	return pick(m.generator, byte(64), 64, 64, 2, pick(m.generator, byte(1), 1, 0, 3), 255, byte(m.r.IntN(256)))
}

func (d *draft) setTOS(v byte) {
	if d.v6 {
		d.ip[0], d.ip[1] = 0x60|v>>4, v<<4|d.ip[1]&15
		return
	}
	d.ip[1] = v
}

// pairOf chooses who speaks to whom.
func (m *gunsmith) pairOf(d *draft) (src, dst netip.Addr) {
	lab := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, byte(m.labHost())}) }
	out := func() netip.Addr { return netip.MustParseAddr(pick(m.generator, outHosts...)) }
	own := func() netip.Addr { return netip.MustParseAddr(pick(m.generator, hostAddr...)) }
	if d.v6 {
		lab = func() netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 0x20, 15: byte(m.labHost())})
		}
		out = func() netip.Addr { return netip.MustParseAddr(pick(m.generator, outHosts6...)) }
		own = func() netip.Addr {
			return netip.MustParseAddr(pick(m.generator, "2001:db8:20::1", "2001:db8:2::10"))
		}
	}
	switch m.r.IntN(20) {
	case 0, 1, 2, 3, 4:
		src, dst = lab(), out()
	case 5, 6, 7, 8:
		src, dst = out(), lab()
	case 9, 10, 11, 12:
		src, dst = lab(), lab()
	case 13, 14:
		src, dst = lab(), own()
	case 15, 16:
		src, dst = out(), own()
	case 17:
		src, dst = own(), own()
	case 18:
		src, dst = own(), lab()
	default:
		src, dst = own(), out()
	}
	d.from = labEnd(src)
	return src, dst
}

func (m *gunsmith) labHost() int {
	if m.chance(70) {
		return 8 + m.r.IntN(8)
	}
	return 2 + m.r.IntN(253)
}

// labEnd is the end of the court that has an address: as in furnish.
func labEnd(a netip.Addr) string {
	b := a.AsSlice()
	last := b[len(b)-1]
	switch {
	case a == netip.MustParseAddr("192.0.2.10") || a == netip.MustParseAddr("2001:db8:2::10") || a.IsLoopback():
		return "h"
	case !inLab(a):
		return "w"
	case last == 1:
		return "h"
	case last&4 != 0:
		return "b"
	}
	return "a"
}

func inLab(a netip.Addr) bool {
	return netip.MustParsePrefix("10.20.0.0/24").Contains(a) || netip.MustParsePrefix("2001:db8:20::/64").Contains(a)
}

// macs fills the Ethernet header as the sender's network would have it.
func (m *gunsmith) macs(d *draft, dst netip.Addr) {
	d.eth[12], d.eth[13] = 8, 0
	if d.v6 {
		d.eth[12], d.eth[13] = 0x86, 0xdd
	}
	e := m.c.ends[d.from]
	if e == nil {
		return
	}
	to := e.gateway
	if o := m.c.ends[labEnd(dst)]; o != nil && d.from != "w" && o.dev != "eno1" && o != e && !m.chance(5) {
		to = o.mac
	}
	copy(d.eth[:], to)
	copy(d.eth[6:], e.mac)
	if d.from != "w" && m.chance(15) { // somebody behind the port, of whom nobody has heard
		copy(d.eth[6:], []byte{0x52, 0x56, 0, 0, byte(m.r.IntN(4)), byte(m.r.IntN(256))})
	}
}

// transport makes a header of a protocol, and a payload with room for the tag.
func (m *gunsmith) transport(d *draft, proto byte) {
	if d.v6 && proto == 1 {
		proto = 58
	}
	if !d.v6 && proto == 58 {
		proto = 1
	}
	if d.v6 && proto == 51 { // no transport of IPv6, but a header before it
		m.transport(d, pick(m.generator, byte(6), 17, 58))
		if len(d.ext) == 0 {
			m.extend(d, 51)
		}
		return
	}
	d.setProto(proto)
	port := func() uint16 {
		if m.chance(50) {
			return somePorts[m.r.IntN(len(somePorts))] + uint16(m.r.IntN(3)) - 1
		}
		return uint16(1 + m.r.IntN(65535))
	}
	var h []byte
	switch proto {
	case 6:
		h = make([]byte, 20)
		h[12] = 0x50
		h[13] = 0x02
		if m.wild && m.chance(30) {
			h[13] = byte(m.r.IntN(256))
		}
		binary.BigEndian.PutUint16(h[14:], uint16(m.r.IntN(65536)))
		if m.wild && m.chance(25) {
			h = append(h, m.tcpOptions()...)
			h[12] = byte(len(h)/4) << 4
		}
	case 17, 136:
		h = make([]byte, 8)
	case 132:
		h = append(make([]byte, 12), m.chunks()...)
		if m.wild && m.chance(20) {
			h[7] = 1
		}
	case 1, 58:
		h = make([]byte, 8)
		h[0] = map[byte]byte{1: 8, 58: 128}[proto]
		if m.wild && m.chance(30) {
			h[0], h[1] = m.icmpType(proto), byte(m.r.IntN(3))
		}
		binary.BigEndian.PutUint32(h[4:], m.r.Uint32())
	case 2:
		h = []byte{0x11, 0, 0, 0, 0, 0, 0, 0}
	case 47:
		h = []byte{0, 0, 8, 0}
	case 51:
		h = make([]byte, 24)
		h[0], h[1] = 59, 4
		binary.BigEndian.PutUint32(h[4:], m.r.Uint32())
	default:
		h = make([]byte, 16)
		binary.BigEndian.PutUint64(h, m.r.Uint64())
	}
	if withPorts(proto) {
		binary.BigEndian.PutUint16(h, port())
		binary.BigEndian.PutUint16(h[2:], port())
	}
	pay := 0
	if m.chance(30) {
		pay = m.r.IntN(40)
	}
	d.l4 = append(h, make([]byte, pay*2+tagLen)...)
}

// chunks are what SCTP carries: an INIT, or some others. The last one's length is to be filled in, mostly.
func (m *gunsmith) chunks() []byte {
	if !m.wild || m.chance(50) {
		return []byte{1, 0, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1}
	}
	var b []byte
	for n := 1 + m.r.IntN(3); n > 0; n-- {
		size := 4 + m.r.IntN(20)
		c := make([]byte, (size+3)&^3)
		c[0] = pick(m.generator, byte(m.r.IntN(15)), byte(m.r.IntN(15)), 1, 4, 5, 8, 9, 10, byte(m.r.IntN(256)))
		c[3] = byte(size)
		if n == 1 && m.chance(90) {
			c[2], c[3] = 0xff, 0xff
		}
		b = append(b, c...)
	}
	return b
}

func (m *gunsmith) icmpType(proto byte) byte {
	if proto == 1 {
		return pick(m.generator, byte(0), 3, 4, 5, 8, 9, 11, 12, 13, 14, 17, 18, byte(m.r.IntN(256)))
	}
	return pick(m.generator, byte(1), 2, 3, 4, 128, 129, 130, 137, byte(m.r.IntN(256)))
}

func (d *draft) setProto(proto byte) {
	d.proto = proto
	switch {
	case !d.v6:
		d.ip[9] = proto
	case d.lastExt >= 0:
		d.ext[d.lastExt] = proto
	default:
		d.ip[6] = proto
	}
}

// tcpOptions are some, such as senders use, with room at the end.
func (m *gunsmith) tcpOptions() []byte {
	var b []byte
	for range 1 + m.r.IntN(3) {
		b = append(b, pick(m.generator, []byte{2, 4, byte(m.r.IntN(6)), byte(m.r.IntN(256))}, []byte{4, 2}, []byte{3, 3, 7}, []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 0}, []byte{1})...)
	}
	b = append(b, 1)
	for len(b)%4 != 0 {
		b = append(b, pick(m.generator, byte(0), 1))
	}
	return b
}

// options puts options into the header of IPv4.
func (m *gunsmith) options(d *draft) {
	var b []byte
	if m.chance(60) {
		b = append(b, 148, 4, 0, 0)
	}
	if m.chance(40) {
		b = append(b, 7, 7, 4, 0, 0, 0, 0)
	}
	b = append(b, 1)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	d.ip = append(d.ip, b...)
	d.ip[0] = 0x40 | byte(len(d.ip)/4)
}

// extend puts an IPv6 extension header in front of the transport header.
func (m *gunsmith) extend(d *draft, kind byte) {
	d.ext = make([]byte, 8)
	d.lastExt = 0
	switch kind {
	case 60, 0:
		d.ext[2], d.ext[3] = 1, 4 // PadN
	case 43: // of a type that nothing is left of
		d.ext[2], d.ext[3] = 0, 0
	case 51:
		d.ext = make([]byte, 24)
		d.ext[1] = 4
		binary.BigEndian.PutUint32(d.ext[4:], m.r.Uint32())
	}
	d.ext[0] = d.proto
	d.ip[6], d.extKind = kind, kind
}

// frame makes lengths, the tag and the checksums.
func (d *draft) frame(tag uint32) []byte {
	l4 := bytes.Clone(d.l4)
	putTag(l4, tag)
	ip := bytes.Clone(d.ip)
	total := len(ip) + len(d.ext) + len(l4)
	var pseudo []byte
	if d.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(total-40+d.length))
		pseudo = append(pseudo, ip[8:40]...)
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(total+d.length))
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
		pseudo = append(pseudo, ip[12:20]...)
	}
	pseudo = append(pseudo, 0, 0, 0, d.proto)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(l4)))
	d.finish(l4, tag, pseudo)
	return slices.Concat(d.eth[:], ip, d.ext, l4)
}

// finish fills in what a transport header says of itself.
func (d *draft) finish(l4 []byte, tag uint32, pseudo []byte) {
	at, from := -1, pseudo
	switch d.proto {
	case 6:
		if len(l4) < 20 {
			return
		}
		binary.BigEndian.PutUint32(l4[4:], tag<<8)
		binary.BigEndian.PutUint32(l4[8:], tag<<8)
		at = 16
	case 17:
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		at = 6
	case 136:
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		at = 6
	case 1:
		at, from = 2, nil
	case 58:
		at = 2
	case 2:
		at, from = 2, nil
	case 132:
		for at := 12; at+4 <= len(l4); {
			size := binary.BigEndian.Uint16(l4[at+2:])
			if size == 0xffff {
				binary.BigEndian.PutUint16(l4[at+2:], uint16(len(l4)-at))
			}
			at += max(4, int(size+3)&^3)
		}
		binary.BigEndian.PutUint32(l4[8:], 0)
		binary.LittleEndian.PutUint32(l4[8:], crc32c(l4))
		return
	}
	if at < 0 || len(l4) < at+2 {
		return
	}
	l4[at], l4[at+1] = 0, 0
	sum := checksum(append(bytes.Clone(from), l4...))
	if sum == 0 && (d.proto == 17 || d.proto == 136) {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], sum)
}

// plausible keeps what tells something about rules: not what every host drops for reasons of its own, unless wild.
func (m *gunsmith) plausible(d *draft) bool {
	if kind := binary.BigEndian.Uint16(d.eth[12:]); d.v6 != (kind == 0x86dd) || !d.v6 && kind != 0x0800 {
		return false
	}
	if d.v6 {
		if d.ip[0]>>4 != 6 {
			return false
		}
	} else if d.ip[0] != 0x40|byte(len(d.ip)/4) || d.ip[6]&0xbf != 0 || d.ip[7] != 0 {
		return false
	}
	pt := pointsOf(append(bytes.Clone(d.ip), d.l4...))
	if !ordinary(pt.src) || !ordinary(pt.dst) || labEnd(pt.src) != d.from && (d.from == "h" || labEnd(pt.src) == "h") {
		return false
	}
	if d.from != "h" && pt.src == pt.dst || !slices.Contains(earProtos, d.proto) {
		return false
	}
	if proto, l4 := upper(slices.Concat(d.ip, d.ext, d.l4)); d.v6 && (proto != d.proto || len(l4) < tagLen) {
		return false // a chain of headers that leads nowhere
	}
	if d.proto == 47 && d.l4[1]&7 != 0 {
		return false // NAT drops versions of GRE that it does not know
	}
	if withPorts(d.proto) && (pt.sport == 0 || pt.dport == 0) {
		return false
	}
	if size := 4 * int(d.l4[min(12, len(d.l4)-1)]>>4); d.proto == 6 && (size < 20 || size > len(d.l4)) {
		return false
	}
	if !m.wild && d.proto == 6 && (d.l4[12] != 0x50 || d.l4[13] != 2) {
		return false
	}
	if !m.wild && (d.proto == 1 && d.l4[0] != 8 || d.proto == 58 && d.l4[0] != 128) {
		return false
	}
	return d.from == "h" || m.plausibleMACs(d, pt.dst)
}

// plausibleMACs keeps senders from taking each other's MAC address: the bridge would learn it, and be another one for the
// frames that follow.
func (m *gunsmith) plausibleMACs(d *draft, dst netip.Addr) bool {
	e := m.c.ends[d.from]
	to, from := net.HardwareAddr(d.eth[:6]), net.HardwareAddr(d.eth[6:12])
	for _, o := range m.c.ends {
		if bytes.Equal(from, o.gateway) || o != e && bytes.Equal(from, o.mac) {
			return false
		}
	}
	if !m.wild {
		o := m.c.ends[labEnd(dst)]
		peer := o != nil && o != e && o.dev != "eno1" && e.dev != "eno1"
		return bytes.Equal(from, e.mac) && (peer && bytes.Equal(to, o.mac) || !peer && bytes.Equal(to, e.gateway))
	}
	if d.from != "w" { // what is flooded meets the rules once for each port
		known := bytes.Equal(to, e.gateway)
		for _, o := range m.c.ends {
			known = known || o.dev != "eno1" && bytes.Equal(to, o.mac)
		}
		if !known {
			return false
		}
	}
	return d.eth[0]&1 == 0 && d.eth[6]&1 == 0
}

// ordinary addresses are routed to an end of the court that answers for them.
func ordinary(a netip.Addr) bool {
	b := a.AsSlice()
	last := b[len(b)-1]
	if a.Is4() {
		switch {
		case b[0] == 0 || b[0] == 127 || b[0] >= 224:
			return false
		case inLab(a) || netip.MustParsePrefix("192.0.2.0/24").Contains(a):
			return last != 0 && last != 255
		}
		return true
	}
	if b[0] < 0x20 || b[0] > 0x3f {
		return false
	}
	if netip.MustParsePrefix("2001:db8:20::/64").Contains(a) || netip.MustParsePrefix("2001:db8:2::/64").Contains(a) {
		for _, x := range b[8:15] {
			if x != 0 {
				return false
			}
		}
		return last != 0 && last != 255
	}
	return true
}

// crc32c is the checksum of SCTP (RFC 9260, appendix A).
func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
