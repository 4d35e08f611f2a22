vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = = "10.0.0.0/24"
}

guest "a" {
  network = nat.lab
  address = "10.0.0.300"
}

guest "b" {
  network = nat.elsewhere
  address = "10.0.0.4"
  address = "10.0.0.5"
}
