// Package dnsmasq runs the DHCP and DNS servers of networks: real dnsmasq(8), one for each, bound to its device and nothing else.
//
// A server is ours by its place. /run/vmnet/dnsmasq/DEVICE holds what it was told:
//
//	dnsmasq.conf   everything that it reads once
//	reservations   addresses and names for guests, by MAC (--dhcp-hostsfile)
//	names          names and addresses (--addn-hosts)
//	SUM.pid        its process; SUM is the digest of the configuration that it was started with
//
// and /var/lib/vmnet/dnsmasq/DEVICE.leases outlives a reboot. Configuration is read back from these files, each line of them: what
// somebody else wrote into them is seen, named, and taken back.
//
// Its process is known by the configuration that its command line names and by the network namespace that it is in, never by its
// name; it is held by a pidfd (pidfd_open(2)) while it is looked at and signalled, so that the number cannot become another's meanwhile.
//
// # Why
//
//   - --bind-dynamic, not --bind-interfaces: with the latter dnsmasq answers questions that come in by another link and are sent to the
//     bridge's address (it says so itself), which makes an open resolver of a host with an uplink.
//   - --except-interface=lo: --interface alone brings lo along, and two servers would fight for port 53 of 127.0.0.1.
//   - Reservations and names are files of their own because SIGHUP reads these again, and nothing else (dnsmasq(8), NOTES). Every other change is a restart: some 20 ms
//     in which a question is asked again. The leases are in their file.
//   - The digest is in the name of the pid file because dnsmasq has no other word to remember something by. Whether a file was
//     changed after the process had read it is seen without a clock.
//   - dnsmasq itself forks when it is ready, and says why when it is not: no waiting, no guessing.
//   - Where systemd runs it is a transient unit, which is started again when it dies (Restart=on-failure); elsewhere the daemon
//     that dnsmasq makes of itself, whose death the next plan names.
package dnsmasq
