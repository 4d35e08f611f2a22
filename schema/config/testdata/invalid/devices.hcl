vmnet { required_version = ">= 0.1" }

nat "a-very-long-network-name" {
  subnet = "10.0.0.0/24"
}

nat "b" {
  device = "virbr/lab"
  subnet = "10.1.0.0/24"
}

nat "c" {
  device = "virbr lab"
  subnet = "10.2.0.0/24"
}

nat "d" {
  device = "virbr0"
  subnet = "10.3.0.0/24"
}

nat "e" {
  device = "virbr0"
  subnet = "10.4.0.0/24"
}

guest "f" {
  network = nat.d
  device  = "virbr0"
}

guest "g" {
  network = nat.d
  device  = "vnet1"
}

guest "h" {
  network = nat.d
  device  = "vnet1"
}

adapter "eno1" {
}

adapter "second" {
  device = "eno1"
}

nat "i" {
  device = ""
  subnet = "10.5.0.0/24"
}

nat "j" {
  device = "lo"
  subnet = "10.6.0.0/24"
}

nat "k" {
  device = "a-name-of-more-than-15-bytes"
  subnet = "10.7.0.0/24"
}

nat "l" {
  device = ".."
  subnet = "10.8.0.0/24"
}

nat "лаборатория" {
  subnet = "10.99.0.0/24"
}
