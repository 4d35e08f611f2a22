// Package guest runs a test on a second kernel: Debian's own, booted under QEMU, on the file system of this machine. What
// the running kernel cannot do (VLAN-aware bridges, bonds, VRFs …) can be tried there, and what it can do is tried twice.
//
// TestMain calls Main in place of world.Main, and a test wraps its body in Run:
//
//	func TestMain(m *testing.M) { os.Exit(guest.Main(m)) }
//
//	func TestVLANs(t *testing.T) {
//		guest.Run(t, func() { … }) // subtests too: one boot serves them all
//	}
//
// Run boots the kernel with the running test binary as its first process, which loads modules, takes this machine's files
// (read-only, over 9p) with an overlay in memory as its root, and starts the binary once more for that very test. Output
// and result come back. Nothing is installed, no root is needed, the network of this machine is not touched. With KVM of
// Intel or AMD it takes a second or two, without it QEMU interprets the guest: a boot takes 4 to 6 seconds then, and the
// test runs 6 times slower than outside. Keep to one boot a package.
//
// It needs qemu-system-x86_64 (package qemu-system-x86) and a kernel that the command providers/hosttest/guest/fetch puts
// into the user's cache directory; where one is missing, the test fails and says so.
//
// # Why
//
//   - 2025-11: the test binary is the guest's init: no agent to build and to speak to, no shell and no modprobe inside.
//   - 2025-11: Debian's full kernel, because its cloud kernel has no 9p, and virtiofs needs root. It is unpacked beforehand:
//     under interpretation the unpacking costs as much as the boot. Other machines than q35 hang or are slower.
//   - 2025-11: /dev/kvm alone is not enough: some clouds have one (kvm_pvm) on which stock kernels do not boot.
package guest
