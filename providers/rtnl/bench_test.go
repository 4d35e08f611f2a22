package rtnl

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/providers/hosttest/world"
	"github.com/vmnet/vmnet/schema"
)

// crowd makes n bridges with ten ports each, an IPv4 and an IPv6 address on every bridge.
func crowd(b *testing.B, n int) {
	b.Helper()
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "link add br%d up type bridge\n", i)
		for j := range 5 {
			fmt.Fprintf(&batch, "link add v%d.%d master br%d up numtxqueues 1 numrxqueues 1 type veth peer name w%d.%d master br%d\n", i, j, i, i, j, i)
		}
		fmt.Fprintf(&batch, "addr add 10.%d.%d.1/24 dev br%d\naddr add fd00:%x::1/64 dev br%d nodad\n", i/250, i%250, i, i, i)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("ip -batch: %v\n%s", err, out)
	}
}

// BenchmarkReadLinks compares ways to read 1,101 links. What counts is the ratio to the first, the kernel's own work,
// which takes as long whatever one does with the answer.
func BenchmarkReadLinks(b *testing.B) {
	world.InNewHost(b, func() {
		crowd(b, 100)
		p, err := Open()
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		body := make([]byte, unix.SizeofIfInfomsg)
		ways := []struct {
			name string
			read func() (int, error)
		}{
			{"raw dump", func() (int, error) {
				n := 0
				_, err := dump(b.Context(), p.conn, unix.RTM_GETLINK, body, func([]byte) (int, bool) { n++; return 0, false })
				return n, err
			}},
			{"vmnet", func() (int, error) {
				links, err := p.readLinks(b.Context())
				return len(links), err
			}},
			{"vishvananda LinkList", func() (int, error) {
				links, err := netlink.LinkList()
				return len(links), err
			}},
		}
		took := make([]float64, len(ways))
		b.ReportAllocs()
		rounds := 0
		for b.Loop() { // in turns: what else runs on the machine hits all alike
			rounds++
			for i, w := range ways {
				start := b.Elapsed()
				if n, err := w.read(); err != nil || n != 1101 {
					b.Fatalf("%s: %d links, %v", w.name, n, err)
				}
				took[i] += (b.Elapsed() - start).Seconds()
			}
		}
		for i, w := range ways {
			b.ReportMetric(took[i]/float64(rounds)*1e3, strings.ReplaceAll(w.name, " ", "_")+"-ms")
		}
		b.ReportMetric(took[1]/took[0], "vmnet/raw")
		b.ReportMetric(took[2]/took[0], "vishvananda/raw")
	})
}

// BenchmarkReadAll compares reading everything with the bare dumps of the same.
func BenchmarkReadAll(b *testing.B) {
	for _, networks := range []int{10, 100} {
		b.Run(fmt.Sprint(networks*11+1, " links"), func(b *testing.B) {
			world.InNewHost(b, func() {
				crowd(b, networks)
				p, err := Open()
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				var raw, ours float64
				for b.Loop() {
					start := b.Elapsed()
					for _, d := range decoders() {
						for _, f := range d.family {
							if _, err := dump(b.Context(), p.conn, d.typ, d.header(f), func([]byte) (int, bool) { return 0, false }); err != nil {
								b.Fatal(err)
							}
						}
					}
					raw += (b.Elapsed() - start).Seconds()
					start = b.Elapsed()
					objects, err := p.Read(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					ours += (b.Elapsed() - start).Seconds()
					_ = schema.NewState(objects...)
				}
				b.ReportMetric(ours/raw, "vmnet/raw")
			})
		})
	}
}
