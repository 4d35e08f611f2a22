# Guests share the host's address: they reach the world through it, and are reached from it by declared ports only.

vmnet {
  required_version = ">= 0.1"
}

nat "lab" {
  device  = "virbr-lab"
  subnet  = "10.20.0.0/24" # the host takes the first address, 10.20.0.1
  subnet6 = "fd00:20::/64"
}

guest "web" {
  network  = nat.lab
  mac      = "52:54:00:20:00:11"
  address  = "10.20.0.11"
  address6 = "fd00:20::11"
  device   = "vnet0"
}

guest "db" {
  network  = nat.lab
  mac      = "52:54:00:20:00:12"
  address  = "10.20.0.12"
  address6 = "fd00:20::12"
  device   = "vnet1"
}

forward "web" {
  tcp = [80, 443]
  to  = guest.web
}

forward "ssh_db" {
  tcp     = 2222
  to      = guest.db
  to_port = 22
}

expect "db_updates" {
  from = guest.db
  to   = "203.0.113.10"
  tcp  = 443
}
