vmnet { required_version = ">= 0.1" }

locals {
  a = local.b
  b = local.c
  c = local.a
  d = local.d
}

nat "x" {
  subnet = "10.1.0.0/24"
  uplink = nat.y
}

nat "y" {
  subnet = "10.2.0.0/24"
  uplink = local.up
}

locals {
  up = nat.x
}

nat "z" {
  subnet  = "10.3.0.0/24"
  gateway = cidrhost(nat.z.subnet, 1)
}

nat "w" {
  subnet = "10.4.0.0/24"
  uplink = network["x"]
}
