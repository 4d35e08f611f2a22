vmnet { required_version = ">= 0.1" }

nat "a" {
  subnet = "10.0.0.0/24"
  dhcp { range = "10.0.0.100" }
}

nat "b" {
  subnet = "10.1.0.0/24"
  dhcp { range = "10.1.0.199-10.1.0.100" }
}

nat "c" {
  subnet = "10.2.0.0/24"
  dhcp { range = "10.2.0.100-10.3.0.10" }
}

nat "d" {
  subnet = "10.4.0.0/24"
  dhcp { range = "10.4.0.1-10.4.0.10" }
}

nat "e" {
  subnet = "10.5.0.0/24"
  dhcp { range = "10.5.0.100-10.5.0.255" }
}

nat "f" {
  subnet = "10.6.0.0/24"
  dhcp { range = "10.6.0.100-lots" }
}
