package xtables

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzTable: no answer of the kernel makes the decoder panic. The seeds are real tables, gathered by TestSeeds.
func FuzzTable(f *testing.F) {
	for i, name := range []string{"ip", "ip6"} {
		b, err := os.ReadFile("testdata/seeds/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i == 1, b[:infoLen], b[infoLen:])
	}
	f.Fuzz(func(_ *testing.T, ip6 bool, info, entries []byte) {
		fam := families[0]
		if ip6 {
			fam = families[1]
		}
		if len(info) != infoLen {
			return
		}
		_, _ = fam.decode(nil, "filter", info, entries)
	})
}

// TestSeeds reads a table as the kernel gives it; VMNET_UPDATE_SEEDS keeps it as a seed.
func TestSeeds(t *testing.T) {
	newNamespace(t)
	loadSpecs(t, "iptables-legacy", "../xt/testdata/rules4.txt")
	loadSpecs(t, "ip6tables-legacy", "../xt/testdata/rules6.txt")
	for _, fam := range families {
		fd, err := unix.Socket(fam.af, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Fatal(err)
		}
		info, entries, err := fam.fetch(fd, "filter")
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		if n := binary.NativeEndian.Uint32(info[infoLen-8:]); n < 25 {
			t.Errorf("%s filter has only %d entries", fam.name, n)
		}
		if os.Getenv("VMNET_UPDATE_SEEDS") == "" {
			continue
		}
		if err := os.MkdirAll("testdata/seeds", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/seeds/"+fam.name, append(info, entries...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
