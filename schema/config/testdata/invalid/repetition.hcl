vmnet { required_version = ">= 0.1" }

guest "a" {
  for_each = ["x", "y"]
  network  = nat.lab
  mac      = mac(each.key)
}

guest "b" {
  for_each = { x = 1 }
  count    = 2
  network  = nat.lab
}

guest "c" {
  count   = -1
  network = nat.lab
}

guest "d" {
  count   = 1.5
  network = nat.lab
}

guest "e" {
  for_each = null
  network  = nat.lab
}

guest "f" {
  for_each = toset([1, 2])
  network  = nat.lab
}

guest "g" {
  for_each = "x"
  network  = nat.lab
}

nat "lab" {
  for_each = toset(["a"])
  subnet   = "10.0.0.0/24"
}

guest "h" {
  network = nat.lab
  mac     = mac("h")
}

nat "a-long-name" {
  for_each = toset(["first", "second"])
  subnet   = "10.${index(["first", "second"], each.key) + 1}.0.0/24"
}

forward "f" {
  tcp = 22
  to  = guest.k
}

guest "k" {
  count   = 2
  network = nat.lab["a"]
  address = cidrhost(nat.lab["a"].subnet, 10 + count.index)
}

adapter "nics" {
  for_each = toset(["eno1"])
}

sysctl "all" {
  count = 1
  value = 1
}

vmnet_x "y" {
  count = 1
}
