// Package iptspec brings one iptables rule into a canonical form, so that a line of a file written by hand or by
// iptables-save(8) can be found among the rules of a live host.
//
// "-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP" in /etc/iptables/rules.v4 and
// "-d 192.168.1.100/32 -p tcp -m tcp --dport 22 -j DROP", which is what iptables -S prints, are one rule. Parse reads
// either; Spec.Canonical is equal for both; Equal compares two lines.
//
// It compares words, not meaning: "-m state --state NEW" and "-m conntrack --ctstate NEW" do the same and stay apart,
// because iptables -D tells them apart as well. It knows the options of the common matches and targets
// (iptables-extensions(8)); those of others are kept as written.
package iptspec
