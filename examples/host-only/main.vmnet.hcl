# Guests that must not reach anything but their host, nor be reached.

vmnet {
  required_version = ">= 0.1"
}

host_only "build" { # guests and host, nobody else
  device  = "virbr-build"
  subnet  = "10.30.0.0/24"
  subnet6 = "fd00:30::/64"
}

host_only "samples" { # each guest alone with the host
  device  = "virbr-samples"
  subnet  = "10.31.0.0/24"
  isolate = true
}

guest "runner" {
  network  = host_only.build
  mac      = "52:54:00:30:00:11"
  address  = "10.30.0.11"
  address6 = "fd00:30::11"
  device   = "vnet0"
}

guest "cache" {
  network  = host_only.build
  mac      = "52:54:00:30:00:12"
  address  = "10.30.0.12"
  address6 = "fd00:30::12"
  device   = "vnet1"
}

guest "sample" {
  for_each = { a = 11, b = 12 }
  network  = host_only.samples
  mac      = format("52:54:00:31:00:%02d", each.value)
  address  = cidrhost("10.31.0.0/24", each.value)
}

expect "samples_stay_apart" {
  from  = guest.sample["a"]
  to    = guest.sample["b"]
  allow = false
}

expect "nothing_leaves" {
  from  = [host_only.build, host_only.samples]
  to    = outside
  allow = false
}
