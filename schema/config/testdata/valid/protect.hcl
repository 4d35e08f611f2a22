vmnet { required_version = ">= 0.1" }

bridge "lan" {
  device    = "br0"
  ports     = ["eno1"]
  addresses = ["192.0.2.10/24"]
}

adapter "eno2" {}

protect "management" {
  interface = adapter.eno2
  flow {
    from = "198.51.100.0/24"
    to   = host
    tcp  = 22
  }
  flow {
    from = ["192.0.2.0/24", "2001:db8:1::/64"]
    to   = host
    tcp  = [22, "5900-5910"]
    icmp = true
  }
}

protect "lan" {
  interface = bridge.lan
}

protect "each" {
  for_each  = toset(["eno3", "eno4"])
  interface = each.key
}
