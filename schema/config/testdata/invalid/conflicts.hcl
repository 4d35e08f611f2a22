vmnet { required_version = ">= 0.1" }

bridge "lan" {
  device = "br0"
  mtu    = 1500
}

adapter "br0" {
  mtu = 9000
}

nat "lab" {
  subnet6 = "fd00::/64"
  mtu     = 1000
}

nat "v4" {
  subnet = "10.0.0.0/24"
}

sysctl "net.ipv4.ip_forward" {
  value = 0
}

sysctl "net/ipv6/conf/all/forwarding" {
  value = false
}

sysctl "somaxconn" {
  key   = "net.core.somaxconn"
  value = 1
}

sysctl "again" {
  key   = "net.core.somaxconn"
  value = 2
}

sysctl "kernel.panic" {
  value = 1
}

sysctl "net..x" {
  value = ""
}

sysctl "net.ipv4.conf.//.x" {
  value = 1
}
