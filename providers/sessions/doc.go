// Package sessions finds out who is at this host and how to reach them: which login runs this process, over which connection,
// who else is logged in over the network, and on which terminals people can be told.
//
// It changes nothing, runs no program, and reads /proc (proc(5)) alone. Of connections and terminals it sees those of the
// network namespace of the calling thread. Find is the door; what it finds is a Who.
//
// # Why
//
//   - SSH_CONNECTION is not enough: sudo strips it, and in tmux it is that of whoever started the server. So the way up from
//     this process is walked, and the socket of the server at its end is read.
//   - What makes a server is its socket, an established one on a port of this host that somebody listens on; its name is a hint
//     where sockets may not be read. So a login through dropbear, telnetd or ttyd is found as one through OpenSSH, whose session
//     processes have changed their names twice (sshd-session in 9.8, sshd-auth in 10.0).
//   - A terminal multiplexer is no child of who looks at it. Both tmux and screen hold the terminals of their clients open, so
//     the way goes on from the processes of those terminals (2026-11).
//   - In doubt a session counts as one's own, and two logins as the same: what is asked is what must not be cut, and whether a
//     confirmation comes over a new connection.
package sessions
