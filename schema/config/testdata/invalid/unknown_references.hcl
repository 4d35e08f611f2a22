vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = var.subnets
  uplink = bridge.lan
}

variable "subnet" {
  default = "10.0.0.0/24"
}

host_only "build" {
  subnet = local.nowhere
}

host_only "twin" {
  subnet = "10.8.0.0/24"
}

nat "twin" {
  device = "twin2"
  subnet = "10.9.0.0/24"
}

guest "a" {
  network = nat.labb
  address = nat.lab.gatway
}

guest "b" {
  network = nat.build
  mac     = each.key
}

guest "c" {
  network = network.twin
  mac     = mac(firewall.x)
  device  = vnet3
}

expect "e" {
  from = guest.vm["x"]
  to   = outsid
}

guest "vm" {
  for_each = { a = "10.8.0.5" }
  network  = host_only.twin
  address  = each.value
}

forward "f" {
  tcp = 22
  to  = adaptr.x
}

expect "g" {
  from = guest.vm
  to   = sysctl.x
}
