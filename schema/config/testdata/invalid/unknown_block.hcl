vmnet { required_version = ">= 0.1" }

networks "lab" {
  subnet = "10.0.0.0/24"
}

vm "db1" {
  mac = "52:54:00:00:00:01"
}

nat "lab" {
  subnet = "10.0.0.0/24"
  guest "db1" {
    address = "10.0.0.5"
  }
  gateway {
  }
}

subnet = "10.0.0.0/24"
