package machine

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/sys/kernel/osrelease":                  "6.12.1\n",
		"proc/modules":                               "tun 57344 2 vhost_net, Live 0x0\nbridge 311296 0 - Live 0x0\next4 1 1 - Live 0x0\n",
		"proc/thread-self/status":                    "Name:\tx\nCapEff:\t0000000000003000\n",
		"proc/sys/net/netfilter/nf_conntrack_count":  "65000\n",
		"proc/sys/net/netfilter/nf_conntrack_max":    "65536\n",
		"proc/sys/net/ipv4/neigh/default/gc_thresh3": "1024\n",
		"proc/net/softnet_stat":                      "0000000a 00000002 00\n00000010 00000000 00\n",
		"lib/modules/6.11.0/modules.dep":             "",
		"dev/vmnet8":                                 "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	got, err := (&Provider{root, root}).Read(t.Context())
	want := []schema.Object{&schema.Machine{
		Release: "6.12.1", NoModules: true, NoTun: true, Modules: []string{"bridge", "tun"}, DanglingResolv: "../run/systemd/resolve/stub-resolv.conf",
		Capabilities: []string{"CAP_NET_ADMIN", "CAP_NET_RAW"}, Conntrack: 65000, ConntrackMax: 65536, NeighbourMax: map[string]uint64{"ip": 1024},
		BacklogDropped: 2, BacklogSeen: 26, VMwareDevices: []string{"/dev/vmnet8"},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got[0], err, want[0])
	}
}
