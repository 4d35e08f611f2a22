vmnet { required_version = ">= 0.1" }

bridge "lan" {
  adresses = ["192.0.2.10/24"]
  colour   = "green"
}

nat "lab" {
  cidr = "10.0.0.0/24"
  subnet = "10.1.0.0/24"
  ports  = ["eno1"]
  dhcp {
    rang = "10.1.0.100-10.1.0.199"
  }
}

host_only "b" {
  subnet     = "10.2.0.0/24"
  for_eachh  = []
}
