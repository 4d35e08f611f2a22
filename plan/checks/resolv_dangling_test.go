package checks

import (
	"testing"

	"github.com/vmnet/vmnet/schema"
)

func TestResolvDangling(t *testing.T) {
	found(t, resolvDangling(), lab(&schema.Machine{DanglingResolv: "../run/systemd/resolve/stub-resolv.conf"}), "leads to ../run/systemd/resolve/stub-resolv.conf", "systemd-resolved")
	healthy(t, resolvDangling(), "a file", lab())
}
