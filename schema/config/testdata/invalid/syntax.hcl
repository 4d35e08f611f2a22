vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24
}

nat "b" {
  subnet = 10.0.0.0/24
}
