# Who may talk to whom. The first rule that matches wins; what a network's mode implies comes after.

vmnet {
  required_version = ">= 0.1"
}

nat "front" {
  device  = "virbr-front"
  subnet  = "10.40.0.0/24"
  subnet6 = "fd00:40::/64"
}

nat "back" {
  device  = "virbr-back"
  subnet  = "10.41.0.0/24"
  subnet6 = "fd00:41::/64"
}

guest "web" {
  network  = nat.front
  mac      = "52:54:00:40:00:11"
  address  = "10.40.0.11"
  address6 = "fd00:40::11"
  device   = "vnet0"
}

guest "db" {
  network  = nat.back
  mac      = "52:54:00:41:00:11"
  address  = "10.41.0.11"
  address6 = "fd00:41::11"
  device   = "vnet1"
}

forward "web" {
  tcp = 443
  to  = guest.web
}

firewall "tiers" {
  allow { # networks do not meet unless they are told to
    from = nat.front
    to   = guest.db
    tcp  = 5432
  }
  allow { # updates, from one mirror
    from = nat.back
    to   = ["203.0.113.10", "2001:db8:113::10"]
    tcp  = [80, 443]
  }
  deny {
    from = nat.back
    to   = outside
  }
  deny { # guests have no business with the host's own shell
    from = [nat.front, nat.back]
    to   = host
    tcp  = 22
  }
}

expect "db_is_private" {
  from  = outside
  to    = guest.db
  allow = false
}
