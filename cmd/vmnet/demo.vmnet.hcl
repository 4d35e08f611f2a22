vmnet {
  required_version = ">= 0.1"
}

nat "lab" { # guests share the host's address
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
}

guest "db1" {
  network = nat.lab
  mac     = "52:54:00:12:34:56"
  address = "10.20.0.11"
  device  = "vnet0"
}

guest "web1" {
  network = nat.lab
  mac     = "52:54:00:12:34:57"
  address = "10.20.0.12"
  device  = "vnet1"
}

forward "ssh_db1" { # a port of the host leads to a guest
  tcp     = 2222
  to      = guest.db1
  to_port = 22
}

expect "updates" { # must hold, whoever wrote the rules
  from = guest.db1
  to   = "203.0.113.10"
  tcp  = 443
}
