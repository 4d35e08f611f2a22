// Package ufwconf reads and writes the rules of ufw(8) as it keeps them in /etc/ufw/user.rules and user6.rules: for each
// rule a comment of words, the tuple, by which ufw knows it, and the lines that it hands to iptables-restore.
//
// Writing is for plan/sim, which foresees what ufw will write: the files themselves are ufw's alone.
package ufwconf
