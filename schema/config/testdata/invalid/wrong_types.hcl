vmnet { required_version = ">= 0.1" }

bridge "lan" {
  device    = ["br0"]
  ports     = "eno1"
  addresses = [["192.0.2.10/24"], null, bridge.lan2]
  mtu       = "big"
  stp       = "perhaps"
}

bridge "lan2" {
  device = bridge.lan3
}

bridge "lan3" {
  ports = [bridge.lan4]
}

bridge "lan4" {
}

nat "lab" {
  subnet = { a = 1 }
  uplink = ["eno1"]
}

guest "a" {
  network = "nat.lab"
  mac     = true
  address = nat.lab
}

guest "b" {
  network = guest.a
  mac     = "52:54:00:00:00:01"
}

guest "c" {
  network = ["lab"]
  mac     = "52:54:00:00:00:02"
}

expect "e" {
  from  = any
  to    = any
  allow = 3
  probe = []
}

sysctl "net.core.somaxconn" {
  value = [1]
}

adapter "eno3" {
  mtu   = 20
  reset = "no way"
}
