// Package nftconf finds rules in the text of an nftables configuration file, such as /etc/nftables.conf, by what they
// mean: "tcp dport { ssh } counter drop # nobody logs in" in a file and "tcp dport 22 drop", which is how nft(8) lists the
// rule, are one rule.
//
// It knows the shape of the language (blocks, statements, comments, defines, includes) and a few of its synonyms, and
// nothing else: a rule that is spelled in another way is not found, and none is taken for another. It evaluates nothing:
// a file is a list of commands, and what a later one takes away is still found here.
package nftconf
