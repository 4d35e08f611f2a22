vmnet { required_version = ">= 0.1" }

nat "a" { subnet = "10.0.0.0/24" }
nat "b" { subnet = "10.0.1.0/24" }
nat "c" { subnet = "10.0.2.0/24" }
host_only "d" { subnet = "10.0.3.0/24" }
bridge "lan" {}

guest "a1" {
  network = nat.a
  address = "10.0.0.11"
}

guest "l1" {
  network = bridge.lan
  mac     = "52:54:00:00:00:01"
  device  = "vnet9"
}

firewall "first" {
  allow {
    from = guest.a1
    to   = nat.b
    tcp  = [22, "8000-8100"]
  }
  deny {
    from = nat.a
    to   = nat.b
  }
  allow {
    from = outside
    to   = nat.c
    icmp = true
  }
  deny { to = "198.51.100.0/24" }
  deny {
    from = nat.c
  }
}
