package schema

import (
	"fmt"
	"net/netip"
)

// Session is a connection over which somebody is logged in to this host: what a change of its network must not cut.
type Session struct {
	// Proto is "tcp", or "udp" for a server like mosh-server that keeps no connection.
	Proto string `json:"proto"`
	// Local is this host's end. Addresses are IPv4 where the socket holds IPv4 mapped into IPv6.
	Local netip.AddrPort `json:"local"`
	// Peer is the client's end. A server over UDP does not tell the kernel: its peer is the address that had asked for it, with
	// port 0, or zero.
	Peer netip.AddrPort `json:"peer,omitzero"`
	// Own tells that who runs this process sits at the other end. Several can be: two clients of one tmux.
	Own bool `json:"own,omitempty"`
	// Server is the command name (/proc/PID/comm) of the process that holds the socket: "sshd", "dropbear".
	Server string `json:"server,omitempty"`
	// PID is that process, 0 where other processes' sockets may not be read.
	PID int `json:"pid,omitempty"`
	// Start is when it started, in clock ticks since boot (field 22 of /proc/PID/stat): with PID it names the process.
	Start uint64 `json:"start,omitempty"`
	// Via is what stands between an own session and this process: "tmux", "screen", "sudo", or "".
	Via string `json:"via,omitempty"`
	// TTY is the terminal that the session has on this host: "pts/3", or "" without one.
	TTY string `json:"tty,omitempty"`
	// Certain tells that the socket itself was seen. What only the environment says (SSH_CONNECTION) is not certain.
	Certain bool `json:"certain"`
}

// String is "tcp 192.0.2.7:51234 -> 192.0.2.10:22 (sshd[4711])".
func (s Session) String() string {
	peer := "?"
	if s.Peer.IsValid() {
		peer = s.Peer.String()
	}
	text := fmt.Sprintf("%s %s -> %s", s.Proto, peer, s.Local)
	switch {
	case s.PID != 0:
		return fmt.Sprintf("%s (%s[%d])", text, s.Server, s.PID)
	case s.Server != "":
		return fmt.Sprintf("%s (%s)", text, s.Server)
	}
	return text
}
