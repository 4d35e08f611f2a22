vmnet "x" {
  required_version = ">= 0.1"
}

nat {
  subnet = "10.0.0.0/24"
}

nat "my net" {
  subnet = "10.1.0.0/24"
  device = "a"
}

guest "a" "b" {
  network = nat.c
  address = "10.2.0.5"
}

nat "c" {
  subnet = "10.2.0.0/24"
}

nat "" {
  subnet = "10.3.0.0/24"
}
