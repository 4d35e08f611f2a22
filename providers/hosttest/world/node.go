package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
)

// Node is a machine of the world. Its methods may be called from any goroutine.
type Node struct {
	Name string

	ns      *namespace
	timeout time.Duration
	source  netip.Addr // invalid: as routed
	servers *servers
}

type servers struct {
	mu   sync.Mutex
	open []io.Closer
}

func newNode(name string, ns *namespace) *Node {
	return &Node{Name: name, ns: ns, timeout: DefaultTimeout, servers: &servers{}}
}

// Within returns the same machine with another patience.
func (n *Node) Within(d time.Duration) *Node {
	c := *n
	c.timeout = d
	return &c
}

// From returns the same machine asking from one of its addresses.
func (n *Node) From(a netip.Addr) *Node {
	c := *n
	c.source = a
	return &c
}

// Do runs fn on a thread inside the machine's network namespace. Sockets opened there stay there.
func (n *Node) Do(fn func() error) error { return n.ns.do(fn) }

// FD is the network namespace, to open others' handles in it; valid until the world is closed.
func (n *Node) FD() int { return n.ns.fd() }

// Sysctl writes a network setting of this machine: Sysctl("ipv4.ip_forward", "1") without the leading "net.".
func (n *Node) Sysctl(key, value string) error {
	path := []byte(key)
	for i, c := range path {
		if c == '.' {
			path[i] = '/'
		}
	}
	return n.Do(func() error { return sysctl(string(path), value) })
}

// Route adds a route to the machine.
func (n *Node) Route(to netip.Prefix, via netip.Addr) error {
	return n.Do(func() error { return route(to, via) })
}

// Configure gives a guest's eth0 an address, and a default route where the gateway is valid.
func (n *Node) Configure(p netip.Prefix, gateway netip.Addr) error {
	g := Guest{Addrs: []netip.Prefix{p}}
	if gateway.IsValid() {
		g.Gateways = []netip.Addr{gateway}
	}
	return n.Do(func() error { return configure(g) })
}

func (n *Node) close() error {
	n.servers.mu.Lock()
	defer n.servers.mu.Unlock()
	var errs []error
	for _, c := range n.servers.open {
		errs = append(errs, c.Close())
	}
	n.servers.open = nil
	return errors.Join(append(errs, n.ns.file.Close())...)
}

func (n *Node) keep(c io.Closer) {
	n.servers.mu.Lock()
	defer n.servers.mu.Unlock()
	n.servers.open = append(n.servers.open, c)
}

// Answer is what a server of this package says to whoever asks.
type Answer struct {
	// Node is the name of the machine that answered.
	Node string `json:"node"`
	// From is where the question came from, as the server sees it.
	From netip.AddrPort `json:"from"`
	// MSS is the largest TCP segment the server will send on this connection, in bytes (TCP_MAXSEG, tcp(7)).
	MSS int `json:"mss,omitempty"`
	// OwnMSS is the same at the asking end.
	OwnMSS int `json:"-"`
}

func (n *Node) answer(from netip.AddrPort, mss int) []byte {
	b, err := json.Marshal(Answer{Node: n.Name, From: from, MSS: mss})
	if err != nil {
		return fmt.Appendf(nil, "{\"node\": %q}\n", err)
	}
	return append(b, '\n')
}
