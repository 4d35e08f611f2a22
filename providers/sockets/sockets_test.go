package sockets

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// The real kernel lists what listens, and nothing else.
func TestKernel(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		for _, where := range []string{"127.0.0.1:8080", "[::1]:8081", "0.0.0.0:22", "[::]:443"} {
			network := "tcp4"
			if strings.HasPrefix(where, "[") {
				network = "tcp6"
			}
			l, err := net.Listen(network, where)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		u, err := net.ListenPacket("udp4", "0.0.0.0:53")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		connected, err := net.Dial("udp4", "127.0.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		defer connected.Close()

		objects, err := New().WithProcesses().Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for l := range schema.Each[*schema.Listener](schema.NewState(objects...)) {
			got = append(got, l.Ref().Name)
			if want := fmt.Sprintf("[%d]", os.Getpid()); !strings.HasSuffix(l.Process, want) {
				t.Errorf("%s belongs to %q, want …%s", l.Ref(), l.Process, want)
			}
		}
		want := []string{"tcp 0.0.0.0:22", "tcp 127.0.0.1:8080", "tcp [::1]:8081", "tcp [::]:443", "udp 0.0.0.0:53"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestCheapByDefault(t *testing.T) {
	t.Parallel()
	world.InNewHost(t, func() {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		objects, err := New().Read(t.Context())
		if err != nil || len(objects) != 1 {
			t.Fatalf("Read = %v, %v", objects, err)
		}
		if p := objects[0].(*schema.Listener).Process; p != "" {
			t.Errorf("process %q without being asked", p)
		}
	})
}

// FuzzParse feeds tables that no kernel would print.
func FuzzParse(f *testing.F) {
	f.Add([]byte("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n"))
	f.Add([]byte("   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		found, err := parse(bytes.NewReader(table), "tcp")
		for _, s := range found {
			if err == nil && (!s.Local.IsValid() || s.Local.Port() == 0) {
				t.Errorf("parse(%q) found %v", table, s)
			}
		}
	})
}
