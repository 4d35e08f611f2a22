package sim_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/plan/sim"
	"github.com/vmnet/vmnet/schema"
)

func labServer() *schema.Dnsmasq {
	ip := netip.MustParseAddr
	return &schema.Dnsmasq{
		Device: "virbr-lab", Address: "nat.lab", Listen: []netip.Addr{ip("10.20.0.1")}, State: schema.ServiceRunning,
		DHCP: &schema.DHCP{First: ip("10.20.0.100"), Last: ip("10.20.0.199"), Lease: 3600}, DNS: &schema.DNS{},
	}
}

func TestServerSocketsOfOthers(t *testing.T) {
	ip := netip.MustParseAddr
	tests := []struct {
		other schema.Listener
		taken bool
	}{
		{schema.Listener{Proto: "udp", Addr: ip("0.0.0.0"), Port: 67}, true},
		{schema.Listener{Proto: "udp", Addr: ip("0.0.0.0"), Port: 67, Device: "virbr0"}, false},
		{schema.Listener{Proto: "udp", Addr: ip("0.0.0.0"), Port: 67, Device: "virbr-lab"}, true},
		{schema.Listener{Proto: "tcp", Addr: ip("0.0.0.0"), Port: 53}, true},
		{schema.Listener{Proto: "tcp", Addr: ip("::"), Port: 53}, true},
		{schema.Listener{Proto: "tcp", Addr: ip("10.20.0.1"), Port: 53}, true},
		{schema.Listener{Proto: "udp", Addr: ip("127.0.0.53"), Port: 53}, false},
		{schema.Listener{Proto: "udp", Addr: ip("192.168.122.1"), Port: 53}, false},
		{schema.Listener{Proto: "tcp", Addr: ip("0.0.0.0"), Port: 67}, false},
	}
	for _, tt := range tests {
		tt.other.Process = "named[812]"
		s := schema.NewState(&schema.Link{Name: "virbr-lab", Type: "bridge", Up: new(true)}, &tt.other)
		err := sim.Do(s, schema.Change{Ref: labServer().Ref(), After: labServer()})
		if errors.Is(err, unix.EADDRINUSE) != tt.taken || (err != nil) != tt.taken {
			t.Errorf("beside %s: got %v, want it taken: %v", &tt.other, err, tt.taken)
		}
	}
}

func TestServerWithoutItsLink(t *testing.T) {
	s := schema.NewState()
	create := schema.Change{Ref: labServer().Ref(), After: labServer()}
	if err := sim.Do(s, create); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a link: got %v, want that it is not there", err)
	}
	link := &schema.Link{Name: "virbr-lab", Type: "bridge", Up: new(true), Facts: &schema.LinkFacts{Index: 3}}
	s.Put(link)
	if err := sim.Do(s, create); err != nil {
		t.Fatal(err)
	}
	if err := sim.Do(s, schema.Change{Ref: link.Ref(), Before: s.Link("virbr-lab")}); err != nil {
		t.Fatal(err)
	}
	if d, ok := s.Get(create.Ref).(*schema.Dnsmasq); !ok || d.Facts == nil || !d.Facts.Deaf {
		t.Errorf("after the end of its link it is %v, want it deaf", s.Get(create.Ref))
	}
}
