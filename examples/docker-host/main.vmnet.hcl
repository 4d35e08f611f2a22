# Virtual machines on a host that runs Docker as well.

vmnet {
  required_version = ">= 0.1"
  foreign          = "fix" # Docker's own door (DOCKER-USER) may be used
}

nat "vms" {
  device  = "virbr-vms"
  subnet  = "10.50.0.0/24"
  subnet6 = "fd00:50::/64"
}

guest "app" {
  network  = nat.vms
  mac      = "52:54:00:50:00:11"
  address  = "10.50.0.11"
  address6 = "fd00:50::11"
  device   = "vnet0"
}

guest "build" {
  network  = nat.vms
  mac      = "52:54:00:50:00:12"
  address  = "10.50.0.12"
  address6 = "fd00:50::12"
  device   = "vnet1"
}

forward "app" {
  tcp     = 8443
  to      = guest.app
  to_port = 443
}

expect "build_fetches" {
  from = guest.build
  to   = "203.0.113.10"
  tcp  = 443
}
