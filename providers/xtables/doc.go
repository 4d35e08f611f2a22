// Package xtables reads the tables of iptables-legacy, and writes single rules into chains that iptables manages, by the
// iptables of their backend.
//
// It does not read the tables of iptables-nft: those are nftables tables (package nft). Read Provider first.
//
// # Why
//
//   - Only tables named in /proc/net/ip_tables_names are opened: asking the kernel for any other creates it, with its
//     hooks (net/netfilter/x_tables.c, xt_find_table_lock), and reading must have no side effects.
//   - CAP_NET_ADMIN is enough to read a table, over any socket. That list is readable by root and its group only: where a
//     service runs as another user, "SupplementaryGroups=root" (or chmod o+r, which lasts as long as the network namespace) opens it.
//   - The table comes from the kernel in one piece (IPT_SO_GET_ENTRIES), without a program in between: text loses what it
//     cannot print.
//   - Writing goes through the tool, one rule at a time, by full specification and never by number: the tool of the backend
//     that owns a chain is the only one that leaves the chain readable to its owner.
package xtables
