// Package nft reads every nftables table of a network namespace, complete, and changes tables and single rules in one
// transaction each.
//
// It prints nothing, decides nothing, and never writes what it does not understand: a table of others is put back from the
// very bytes that were read. Read Provider first; the terms of a rule are those of schema.Expr.
//
// # Why
//
//   - An own decoder. google/nftables v0.3.0 drops expressions it does not know, ignores that a dump was interrupted, and
//     fails for a whole chain on one "ct original" (read-back of github.com/google/nftables, expr.go, rule.go); a verdict
//     built on that would be unsound. Here an unknown expression is kept with its bytes.
//   - An own writer. That library asks an acknowledgement for every message, which overflows the receive buffer at some 200
//     rules: ENOBUFS, though the batch is committed. More than 2,340 elements in one message wrap its 16-bit length and are
//     lost in silence. Here only errors and the last message are answered, and messages are cut below 64 KiB.
//   - One dump for each chain. The kernel walks a table from its start for every buffer of a dump; 100,000 rules in 1,000
//     chains are read 18 times faster chain by chain.
//   - A snapshot is what lies between two equal generations (NFT_MSG_GETGEN), and every batch is bound to the generation
//     that was read (NFNL_BATCH_GENID): the kernel refuses it with ERESTART when anybody wrote meanwhile.
//   - Rules of iptables-nft are lowered to bytecode (package xt), but written back as they were.
package nft
