vmnet { required_version = "~> 0.1" }

bridge "lan" {
  addresses = ["192.0.2.10/24", "2001:db8::a/64"]
  gateway   = "192.0.2.1"
  gateway6  = "fe80::1"
  stp       = true
  ports     = ["eno1", "eno2"]
}

nat "lab" {
  subnet   = "10.20.0.0/24"
  gateway  = "10.20.0.254"
  subnet6  = "fd00:20::/64"
  gateway6 = "fd00:20::fe"
}

nat "six" {
  subnet  = "fd00:21::/64"
  gateway = "fd00:21::9"
}

guest "db1" {
  network  = nat.lab
  address  = "10.20.0.11"
  address6 = "fd00:20::11"
}

guest "six" {
  network = nat.six
  address = "fd00:21::11"
}

forward "dns" {
  tcp = 53
  udp = 53
  to  = guest.db1
}

forward "web" {
  tcp     = "8000-8009"
  to      = guest.six
  to_port = 80
}

expect "reach" {
  from  = [guest.db1, guest.six]
  to    = ["2001:db8::53", "192.0.2.53"]
  udp   = 53
  icmp  = true
  probe = true
}
