// Package xt reads the blobs in which iptables keeps its matches and targets: in the "match" and "target" expressions of
// iptables-nft (net/netfilter/nft_compat.c) and in the entries of iptables-legacy (net/netfilter/x_tables.c).
//
// A blob becomes two things: bytecode of nftables that does the same, so that one engine understands all rules (schema.Expr
// documents the terms), and the text "iptables -S" prints. What no row of expressions can say, such as "one of these ports
// is either of the two", is a list of alternatives (schema.Expr.Any). What has no equal at all, because it counts, remembers,
// draws lots or asks the clock, stays one opaque expression xtmatch or xttarget with its text; it is never dropped and never
// guessed at. What a rule only names, an ipset, is asked for (Sets).
//
// The layouts are those of include/uapi/linux/netfilter/xt_*.h and netfilter_ipv{4,6}/ip{,6}t_*.h on a 64-bit machine. The
// door is Match and Target; Split and Quote of schema/iptspec take the texts apart again.
//
// # Why
//
//   - Lowering follows the kernel's match functions, not the tools' manuals: -m tcp looks at the transport header only, and
//     -p tcp is a test of its own.
//   - A match whose bytecode would differ from it for any packet is kept opaque, or becomes alternatives. Negated owner:
//     xt_owner matches packets without a socket, "meta skuid !=" does not.
//   - Texts are compared with iptables -S for every extension, both backends, both families: over testdata/rules*.txt, and
//     over the test files of iptables itself, which package xtables' tests fetch. What the lowered rules mean is judged by the
//     kernel, in plan/trace.
//   - ebtables has matches of its own under names that iptables has too, laid out otherwise: the family decides.
package xt
