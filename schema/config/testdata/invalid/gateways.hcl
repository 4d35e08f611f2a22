vmnet { required_version = ">= 0.1" }

nat "a" {
  subnet  = "10.0.0.0/24"
  gateway = "10.1.0.1"
}

nat "b" {
  subnet  = "10.2.0.0/24"
  gateway = "10.2.0.0"
}

nat "c" {
  subnet  = "10.3.0.0/24"
  gateway = "10.3.0.255"
}

nat "d" {
  subnet  = "10.4.0.0/24"
  gateway = "10.4.0.1/24"
}

nat "e" {
  subnet   = "10.5.0.0/24"
  gateway6 = "fd00::1"
}

nat "f" {
  subnet6  = "fd00:6::/64"
  gateway6 = "fd00:6::"
}

bridge "g" {
  addresses = ["192.0.2.10/24"]
  gateway   = "198.51.100.1"
}

bridge "h" {
  gateway = "192.0.2.1"
}

bridge "i" {
  addresses = ["203.0.113.10/24"]
  gateway   = "203.0.113.10"
}

bridge "j" {
  addresses = ["198.18.0.10/24"]
  gateway   = "198.18.0.1"
}

bridge "k" {
  addresses = ["198.19.0.10/24", "2001:db8::a/64"]
  gateway   = "198.19.0.1"
  gateway6  = "198.19.0.2"
}

bridge "l" {
  addresses = ["192.0.2.10/24"]
}
