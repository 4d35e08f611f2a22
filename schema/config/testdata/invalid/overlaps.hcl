vmnet { required_version = ">= 0.1" }

nat "a" {
  subnet = "10.0.0.0/16"
}

nat "b" {
  subnet = "10.0.5.0/24"
}

host_only "c" {
  subnet = "10.0.5.0/24"
}

bridge "d" {
  addresses = ["10.0.0.10/8", "10.0.0.11/8"]
}

nat "e" {
  subnet = "fd00:1::/64"
}

nat "f" {
  subnet6 = "fd00:1::/96"
  subnet  = "172.16.0.0/24"
}
