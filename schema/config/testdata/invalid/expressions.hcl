vmnet { required_version = ">= 0.1" }

locals {
  a = nosuchfunction(1)
  b = cidrsubnet("10.0.0.0/24", 20, 1)
  c = cidrhost("10.0.0.0/30", 4)
  d = 1 + "x"
  e = jsondecode("{")
  f = file("no-such-file")
  g = lookup({ a = 1 }, "b")
}

nat "lab" {
  subnet = cidrsubnet("10.0.0.0/33", 8, 0)
}

guest "a" {
  network = nat.lab
  address = cidrhost(nat.lab.subnet, 5)
  mac     = lowr("52:54:00:00:00:01")
}
