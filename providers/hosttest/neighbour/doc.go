// Package neighbour runs real firewall managers beside vmnet in tests: firewalld, ufw, Docker, libvirt, fail2ban, one or all;
// and sshd, with real clients that log in from other machines of a world.
//
// Start is called inside world.InNewHost, and the neighbour then works on that host: its network, its /run, and an /etc and
// /var of its own, as the packages ship them, whatever this machine has configured. Nothing of the machine changes, and all
// dies with the host.
//
//	world.InNewHost(t, func() {
//		w, err := world.New(world.Spec{})
//		…
//		neighbour.Start(t, neighbour.UFW, neighbour.Opts{})
//		neighbour.Start(t, neighbour.Docker, neighbour.Opts{})
//		neighbour.Sh(t, "ufw route allow in on virbr0; iptables -S")
//	})
//
// A program that is missing fails the test, with the command that installs it: "make tools" as root.
//
// # Why
//
//   - Each daemon is the first process of a process namespace: whatever it started, however detached, ends with it.
//   - /etc is copied, not overlaid: in a user namespace an overlay cannot copy up files whose owner has no number there.
//   - Docker runs for an ordinary user as well, as it needs no container here.
package neighbour
