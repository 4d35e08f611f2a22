package trace

import (
	"slices"

	"github.com/vmnet/vmnet/schema"
)

// fromHostItself is the routing decision for a packet of the host. To nobody is to itself (ip_route_output_key); in IPv6 it is
// the socket that sees to that.
func (r *sweep) fromHostItself(q question) (way, bool) {
	dst, ok := r.class(q.dst)
	if !ok {
		return way{}, false
	}
	if dst == zero && !(r.p.v6 && q.again) {
		return way{kind: "local", dev: r.w.lo, devName: r.w.lo.name}, true
	}
	return r.decide(q)
}

// fromSocket is the routing decision for what a program sends.
func (r *sweep) fromSocket(src cells) (way, bool) {
	q := r.ofPacket(src, r.p.dst(), r.w.lo)
	if r.p.v6 {
		var ok bool
		if q.by, ok = r.scope(); !ok {
			return way{}, false
		}
	}
	if r.p.framed { // raw_sendmsg
		q.raw, q.tos = true, cells{}
	}
	return r.fromHostItself(q)
}

// asksSource tells whether rules look at source addresses: a program that leaves its own open is routed before it has one.
func (r *sweep) asksSource() bool {
	return slices.ContainsFunc(r.w.fib[family(r.p.v6)].rules, func(ru *schema.PolicyRule) bool { return ru.Src.IsValid() && ru.Src.Bits() > 0 })
}

// erroneous tells an answer that is none.
func (r *sweep) erroneous(res way) bool {
	return slices.Contains([]string{"none", "blackhole", "unreachable", "prohibit"}, res.kind)
}

// withSource is the routing decision of connect(2), which in IPv4 looks once more when it has chosen a source (ip_route_connect).
// sendto(2) does not, and whether a program of UDP connects is not known.
func (r *sweep) withSource(first way, by *device) (way, *device, bool) {
	if r.p.v6 || r.p.layer4.known() && r.p.proto != protoTCP && r.p.proto != protoUDP || !r.asksSource() {
		return first, by, true
	}
	res, ok := r.fromSocket(r.p.src())
	if !ok {
		return way{}, nil, false
	}
	if r.p.proto != protoTCP {
		if res.kind == first.kind && res.dev == first.dev { // who the next one is behind it does not decide here
			return first, by, true
		}
		return way{}, nil, r.unmodelled("route", res.ref(), res.text()+": if the program connects its socket before it sends")
	}
	out, ok := r.outDevice(res)
	return res, out, ok
}

// scope is the link that a program names together with an address that means nothing beyond it (RFC 4007): that to which the
// packet is to go, or the only one there is; nil for other addresses.
func (r *sweep) scope() (*device, bool) {
	dst, ok := r.class(r.p.dst())
	if !ok || dst != linkLocal {
		return nil, ok
	}
	own, ok := r.isLocal(r.p.dst())
	if !ok || own {
		return nil, ok
	}
	if d := r.w.devices[r.dest]; d != nil {
		if d.master != nil && d.master.bridge {
			d = d.master
		}
		return d, true
	}
	var one *device
	for _, d := range r.w.devices {
		if d != r.w.lo && d.up && !d.noIPv6 && (d.master == nil || !d.master.bridge) {
			if one != nil {
				return nil, r.unmodelled("route", schema.LinkRef(""), r.text(r.p.dst())+" is of a link: of which one, nobody says")
			}
			one = d
		}
	}
	return one, true
}
