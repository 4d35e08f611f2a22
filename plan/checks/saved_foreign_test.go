package checks

import "testing"

func TestSavedForeign(t *testing.T) {
	found(t, savedForeign(), lab(file("/etc/iptables/rules.v4", "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\nCOMMIT\n")),
		"/etc/iptables/rules.v4 holds rules of docker", "rules.v4:3: :DOCKER")
	healthy(t, savedForeign(), "an administrator's rules", lab(file("/etc/iptables/rules.v4", "*filter\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A FORWARD -o docker0 -j ACCEPT\nCOMMIT\n")))
}
