package zoo_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vmnet/vmnet/apply/zoo"
	"github.com/vmnet/vmnet/providers/hosttest/world"
)

// serve lets everybody answer.
func (b *bed) serve() {
	b.Helper()
	for _, n := range b.machines() {
		ports := []uint16{22, 53, 80, 443}
		if n == b.Host() {
			ports = []uint16{53, 8080}
		}
		if err := n.Serve(ports...); err != nil {
			b.Fatal(err)
		}
	}
}

// flows are those of a world, changed by those of cases: what one breaks is broken.
func flows(w *zoo.World, cases ...*zoo.Case) []zoo.Flow {
	out := append([]zoo.Flow{}, w.Flows...)
	for _, c := range cases {
		for _, f := range c.Flows {
			known := f.Pattern()
			for i := range out {
				if !f.Fits(out[i]) {
					continue
				}
				known = true
				if out[i].When == zoo.OK || f.When == zoo.Never {
					out[i].When = f.When
				}
			}
			if !known {
				out = append(out, f)
			}
		}
	}
	return out
}

// patience is how long a flow that must pass may take, on a busy machine; what must not is waited for as long as answers take.
const (
	patience   = 6 * time.Second
	impatience = 700 * time.Millisecond
)

// ask asks all flows at once. Neighbours are forgotten before: the answers do not rest on what was learned in better times.
func (b *bed) ask(when string, flows []zoo.Flow, broken bool) {
	b.Helper()
	b.forget()
	wrong := make([]string, len(flows))
	var all sync.WaitGroup
	for i, f := range flows {
		if broken && f.When == zoo.Unsure {
			continue
		}
		pass := f.When == zoo.OK || f.When != zoo.Never && !broken
		all.Go(func() { wrong[i] = b.answer(f, pass) })
	}
	all.Wait()
	for _, w := range wrong {
		if w != "" {
			b.Errorf("%s: %s", when, w)
		}
	}
}

// answer says what is wrong with the answer to a flow; "" for nothing.
func (b *bed) answer(f zoo.Flow, pass bool) string {
	var err error
	if !pass {
		if err = b.once(f, impatience); err == nil {
			return f.String() + " passes, and must not"
		}
		return ""
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = b.once(f, 2*time.Second); err == nil {
			return ""
		}
	}
	return fmt.Sprintf("%s must pass: %v", f, err)
}

func (b *bed) once(f zoo.Flow, limit time.Duration) error {
	from, to := b.node(f.From).Within(limit), b.address(f.To)
	at := netip.AddrPortFrom(to, f.Port)
	var a world.Answer
	var err error
	switch {
	case f.Proto == "icmp":
		return from.Ping(to)
	case f.Proto == "udp" && f.Size > 0:
		return datagram(from, at, f.Size, limit)
	case f.Proto == "udp":
		a, err = from.UDP(at)
	default:
		a, err = exchange(from, at, f.Size, limit)
	}
	if err == nil && f.As != "" && a.From.Addr().String() != f.As {
		return fmt.Errorf("%s sees %s", a.Node, a.From.Addr())
	}
	return err
}

// exchange sends bytes to a server and back.
func exchange(from *world.Node, to netip.AddrPort, size int, limit time.Duration) (world.Answer, error) {
	c, err := from.Dial(to)
	if err != nil {
		return world.Answer{}, err
	}
	defer c.Close()
	if size > 0 {
		err = c.Within(limit).Echo(bytes.Repeat([]byte("x"), size))
	}
	return c.Answer, err
}

// datagram sends one datagram of so many bytes, and waits for an answer, which is small.
func datagram(from *world.Node, to netip.AddrPort, size int, limit time.Duration) error {
	return from.Do(func() error {
		c, err := net.DialTimeout("udp", to.String(), limit)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 2048))
		return err
	})
}

func (b *bed) node(name string) *world.Node {
	for _, n := range b.machines() {
		if n.Name == name {
			return n
		}
	}
	b.Errorf("no machine is called %s", name)
	return b.Host()
}

func (b *bed) address(name string) netip.Addr {
	switch name {
	case "internet":
		return b.Server4
	case "internet6":
		return b.Server6
	case "host":
		return b.Host4.Addr()
	case "lan":
		return b.Router4
	}
	for _, g := range b.zoo.Guests {
		if g.Name == name {
			first, _, _ := strings.Cut(g.Addresses, ",")
			return netip.MustParsePrefix(first).Addr()
		}
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		b.Errorf("nothing is called %s", name)
	}
	return a
}

// forget empties the neighbour tables of all machines.
func (b *bed) forget() {
	b.Helper()
	for _, n := range b.machines() {
		if err := n.Do(func() error { return exec.CommandContext(b.Context(), "ip", "neigh", "flush", "all").Run() }); err != nil {
			b.Fatal(err)
		}
	}
}
