package iptspec

import (
	"testing"
)

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		file, live string
		want       bool
	}{
		{"-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP", "-d 192.168.1.100/32 -p tcp -m tcp --dport 22 -j DROP", true},
		{"-A INPUT -s 10.0.0.0/8 -p tcp --sport 22 -j DROP", "-s 10.0.0.0/8 -p tcp -m tcp --sport 22 -j DROP", true},
		{"[12:840] -A INPUT -p tcp -s 10.1.2.3/255.0.0.0 --sport ssh -j DROP", "-s 10.0.0.0/8 -p tcp -m tcp --sport 22 -j DROP", true},
		{"-A INPUT -j DROP", "-A FORWARD -j DROP", false},
		{"-t nat -A POSTROUTING -j MASQUERADE", "-A POSTROUTING -j MASQUERADE", true},
		{"-A INPUT ! -s 10.0.0.1 -j DROP", "-s 10.0.0.1/32 -j DROP", false},
		{"-A INPUT -s ! 10.0.0.1 -j DROP", "! -s 10.0.0.1/32 -j DROP", true},
		{"-A INPUT -m state --state NEW -j ACCEPT", "-m conntrack --ctstate NEW -j ACCEPT", false},
		{"-A INPUT -m state --state RELATED,ESTABLISHED,NEW -j ACCEPT", "-m state --state NEW,RELATED,ESTABLISHED -j ACCEPT", true},
		{"-A INPUT -m conntrack --ctstate NEW -p tcp --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT", true},
		{"-A INPUT -p tcp -m conntrack --ctstate NEW --dport 80 -j ACCEPT", "-p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j ACCEPT", true},
		{"-A INPUT -p tcp --syn -j DROP", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", true},
		{"-A INPUT -p tcp ! --syn -j DROP", "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", true},
		{`-A INPUT -m comment --comment 'a "b" c' -j DROP`, `-m comment --comment "a \"b\" c" -j DROP`, true},
		{`-A INPUT -m comment --comment "a b" -j DROP`, `-m comment --comment "a  b" -j DROP`, false},
		{`-A INPUT -m comment --comment "-j ACCEPT" -j DROP`, `-m comment --comment "-j ACCEPT" -j DROP`, true},
		{"-A INPUT -m comment --comment -j -j DROP", `-m comment --comment "-j" -j DROP`, true},
		{"-A INPUT -j REJECT", "-j REJECT --reject-with icmp-port-unreachable", true},
		{"-A INPUT -j REJECT", "-j REJECT --reject-with tcp-reset", false},
		{"-A INPUT -p icmp --icmp-type echo-request -j ACCEPT", "-p icmp -m icmp --icmp-type 8 -j ACCEPT", true},
		{"-A INPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT", "-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT", true},
		{"-A INPUT -s 2001:DB8:0::1 -j DROP", "-s 2001:db8::1/128 -j DROP", true},
		{"-A INPUT -m limit --limit 60/minute --limit-burst 5 -j LOG --log-level warning", "-m limit --limit 1/sec -j LOG", true},
		{"-A INPUT -j MARK --set-mark 1", "-j MARK --set-xmark 0x1/0xffffffff", true},
		{"-A INPUT -m mark --mark 0x1/0xffffffff -j DROP", "-m mark --mark 1 -j DROP", true},
		{"-A INPUT -p tcp -m multiport --dports 80,https -j ACCEPT", "-p tcp -m multiport --dports 80,443 -j ACCEPT", true},
		{"-A INPUT -p tcp --dport 1024: -j DROP", "-p tcp -m tcp --dport 1024:65535 -j DROP", true},
		{"-A INPUT -p tcp -m tcp -j DROP", "-p tcp -j DROP", true},
		{"-A INPUT -i + -s 0.0.0.0/0 -p all -j DROP", "-j DROP", true},
		{"-A INPUT -i eth+ -j DROP", "-i eth+ -j DROP", true},
		{"-A INPUT -s 10/8 -j DROP", "-s 10.0.0.0/8 -j DROP", true},
		{"-A INPUT -s 10.0.0.1/255.0.0.255 -j DROP", "-s 10.0.0.1/255.0.0.255 -j DROP", true},
		{"iptables -I FORWARD 1 -d 192.0.2.1 -j DROP", "-d 192.0.2.1/32 -j DROP", true},
		{"-A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.2:80", "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80", true},
		{"-A INPUT -g other", "-j other", false},
		{"-A INPUT -m set --match-set a src,dst -j DROP", "-m set --match-set a src,dst -j DROP", true},
		{"-A INPUT -m recent --update --seconds 60 --name x --mask 255.255.255.255 --rsource -j DROP", "-m recent --update --seconds 60 --name x --mask 255.255.255.255 --rsource -j DROP", true},
		{"-A INPUT ! -f -j DROP", "! -f -j DROP", true},
	} {
		if got := Equal(tt.file, tt.live); got != tt.want {
			a, errA := Parse(tt.file)
			b, errB := Parse(tt.live)
			t.Errorf("Equal(%q, %q) = %v\n  %q %v\n  %q %v", tt.file, tt.live, got, a.Canonical(), errA, b.Canonical(), errB)
		}
	}
}

func TestParse(t *testing.T) {
	s, err := Parse(`[1:40] -A DOCKER-USER -m comment --comment "vmnet:nat.lab" -j ACCEPT`)
	if err != nil {
		t.Fatal(err)
	}
	if s.Chain != "DOCKER-USER" || s.Comment != "vmnet:nat.lab" {
		t.Errorf("Parse: chain %q, comment %q", s.Chain, s.Comment)
	}
	if got, want := s.Canonical(), `-m comment --comment "vmnet:nat.lab" -j ACCEPT`; got != want {
		t.Errorf("Canonical() = %q, want %q", got, want)
	}
	for _, bad := range []string{`-A INPUT -m comment --comment "x`, "DROP", "-A", "-A INPUT -p", "-A INPUT !", "-A INPUT ! ! -s 1.2.3.4", "-A INPUT --foo 1"} {
		if s, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", bad, s.Canonical())
		}
	}
}

func TestSplitQuote(t *testing.T) {
	for _, s := range []string{"a", "a b", `a "b"`, `it's`, `back\slash`, "", "-j", "tab\there"} {
		got, err := Split("x " + Quote(s) + " y")
		if err != nil || len(got) != 3 || got[1] != s {
			t.Errorf("Split(Quote(%q)) = %q, %v", s, got, err)
		}
	}
}

// FuzzParse: whatever can be parsed has a canonical form that parses to itself.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"-A FORWARD -d 192.168.1.100 -p tcp --dport 22 -j DROP",
		`[0:0] -A INPUT ! -s 10.0.0.0/8 -i eth+ -p udp -m multiport --dports 53,67:68 -m comment --comment "a b" -j LOG --log-prefix "x: "`,
		"-A INPUT -m limit --limit 3/min --limit-burst 10 -j REJECT --reject-with tcp-reset",
		"-A INPUT -p icmp --icmp-type ping -m state --state NEW,ESTABLISHED -g other",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := Parse(line)
		if err != nil {
			return
		}
		c := s.Canonical()
		again, err := Parse(c)
		if err != nil || again.Canonical() != c {
			t.Errorf("%q is %q, which is %q (%v)", line, c, again.Canonical(), err)
		}
	})
}
