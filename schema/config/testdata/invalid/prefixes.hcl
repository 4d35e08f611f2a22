vmnet { required_version = ">= 0.1" }

nat "a" {
  subnet = "10.0.0.0/33"
}

nat "b" {
  subnet = "10.1.0.0"
}

nat "c" {
  subnet = "10.2.0.300/24"
}

nat "d" {
  subnet = "10.3.0.5/24"
}

nat "e" {
  subnet = "lab"
}

nat "f" {
  subnet = "10.4.0.0/x"
}

nat "g" {
  subnet = "10.5.0.0/31"
}

nat "h" {
  subnet = "0.0.0.0/0"
}

nat "i" {
  subnet = "fe80::/64"
}

nat "j" {
  subnet6 = "10.6.0.0/24"
}

nat "k" {
  subnet  = "fd00:1::/64"
  subnet6 = "fd00:2::/64"
}

nat "l" {
  subnet = "::ffff:10.0.0.0/120"
}

nat "m" {
  subnet = "010.7.0.0/24"
}

bridge "n" {
  addresses = ["192.0.2.0/24", "192.0.2.255/24", "192.0.2.7", "127.0.0.5/8"]
}

nat "o" {
  subnet = "2001:db8::1/64"
}

nat "p" {
  subnet = "2001:db8::/130"
}
