vmnet {
  required_version = ">= 0.1"
  confirm          = "120s"
  foreign          = "fix"
  risk_limit       = "drop"
}

variable "uplink" {
  type        = string
  default     = "eno1"
  description = "NIC that leads to the LAN"
}

locals { lab = cidrsubnet("10.20.0.0/16", 8, 0) }

bridge "lan" {
  device    = "br0"
  ports     = [var.uplink]
  addresses = ["192.0.2.10/24"]
  gateway   = "192.0.2.1"
  mtu       = 1500
  stp       = false
}

nat "lab" {
  device = "virbr-lab"
  subnet = local.lab
  uplink = bridge.lan
  dhcp { range = "10.20.0.100-10.20.0.199" }
}

host_only "build" {
  subnet = "10.30.0.0/24"
}

guest "db1" {
  network = nat.lab
  mac     = "52:54:00:12:34:56"
  address = "10.20.0.11"
  device  = "vnet3"
}

forward "ssh_db1" {
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}

firewall "lab" {
  allow {
    from = nat.lab
    to   = outside
    tcp  = [80, 443]
  }
  deny {
    from = nat.lab
    to   = "192.0.2.0/24"
  }
}

adapter "eno3" {
  mtu   = 9000
  reset = true
}

sysctl "net.core.netdev_max_backlog" { value = 10000 }

expect "db1_updates" {
  from  = guest.db1
  to    = "203.0.113.10"
  tcp   = 443
  allow = true
}
