vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

bridge "lan" {
  addresses = ["192.0.2.10/24"]
  gateway   = "192.0.2.1"
}

guest "a" {
  network = nat.lab
  address = "10.1.0.5"
}

guest "b" {
  network = nat.lab
  address = "10.0.0.1"
}

guest "c" {
  network = nat.lab
  address = "10.0.0.20"
}

guest "d" {
  network = nat.lab
  address = "10.0.0.20"
}

guest "e" {
  network = nat.lab
  address = "10.0.0.255"
}

guest "f" {
  network  = nat.lab
  address  = "10.0.0.21/24"
  address6 = "fd00::5"
}

guest "g" {
  network = bridge.lan
  address = "192.0.2.10"
}

guest "h" {
  network = bridge.lan
  address = "192.0.2.1"
}

guest "i" {
  network = bridge.lan
  address = "198.51.100.7"
}

guest "j" {
  network = nat.lab
  address = "300.0.0.1"
}

guest "k" {
  network  = nat.lab
  address6 = "10.0.0.30"
}

guest "l" {
  network = bridge.lan
  address = "fe80::1%br0"
}
