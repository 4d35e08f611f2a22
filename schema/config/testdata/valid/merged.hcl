vmnet { required_version = ">= 0.1" }

# One link, three blocks: a port of the bridge, an adapter to watch, an uplink.
bridge "lan" {
  device    = "br0"
  ports     = ["eno1"]
  addresses = ["192.0.2.10/24", "192.0.2.11/24"]
}

adapter "eno1" {
  mtu   = 9000
  reset = true
}

adapter "eno2" {}

adapter "br0" { mtu = 9000 }

nat "lab" {
  subnet = "10.20.0.0/24"
  uplink = adapter.eno2
}

nat "up" {
  subnet = "10.21.0.0/24"
  uplink = "eno5"
  mtu    = 1400
}

forward "printer" {
  tcp = 9100
  to  = "10.20.0.77"
}

guest "watcher" {
  network = bridge.lan
  device  = "eno1"
}

sysctl "net.ipv4.ip_forward" { value = 1 }
