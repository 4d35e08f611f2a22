vmnet { required_version = ">= 0.1" }

locals {
  guests = {
    web = { net = "lab", host = 10 }
    db  = { net = "build", host = 11 }
  }
  edge = guest.vm["web"]
}

variable "names" {
  type    = set(string)
  default = ["lab", "test"]
}

nat "n" {
  for_each = var.names
  device   = "virbr-${each.key}"
  subnet   = cidrsubnet("10.20.0.0/16", 8, index(sort(var.names), each.value))
}

nat "lab" {
  subnet = "10.40.0.0/24"
}

host_only "build" {
  subnet  = "10.30.0.0/24"
  isolate = true
}

guest "vm" {
  for_each = local.guests
  network  = network[each.value.net]
  mac      = mac(each.key)
  address  = cidrhost(network[each.value.net].subnet, each.value.host)
  device   = "vnet-${each.key}"
}

guest "pool" {
  count   = 2
  network = nat.n["lab"]
  address = cidrhost(nat.n["lab"].subnet, 100 + count.index)
}

forward "ssh" {
  for_each = { for k, g in guest.vm : k => g if g.network.mode == "nat" }
  tcp      = 2200 + local.guests[each.key].host
  to       = each.value
  to_port  = 22
}

forward "web" {
  tcp = 443
  to  = local.edge
}

firewall "pool" {
  allow {
    from = guest.pool
    to   = guest.vm["web"]
    tcp  = 5432
  }
  deny {
    from = [nat.n, nat.lab]
    to   = outside
  }
}

expect "pool_apart" {
  for_each = guest.vm
  from     = guest.pool[*]
  to       = each.value
  udp      = "1-1024"
  allow    = false
}

adapter "nics" {
  for_each = toset(["eno1", "eno2"])
  device   = each.key
  mtu      = 1500
}

sysctl "quiet" {
  for_each = { "net.core.somaxconn" = 4096, "net.ipv4.tcp_rmem" = "4096  131072 6291456", "net.ipv4.tcp_sack" = true }
  key      = each.key
  value    = each.value
}
