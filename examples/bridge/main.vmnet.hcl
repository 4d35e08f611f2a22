# Guests sit on the LAN itself, side by side with the host.

vmnet {
  required_version = ">= 0.1"
}

variable "uplink" {
  type        = string
  default     = "eno1"
  description = "NIC that leads to the LAN"
}

bridge "lan" {
  device    = "br0"
  ports     = [var.uplink] # its addresses and routes move to the bridge, and its MAC with them
  addresses = ["192.0.2.10/24", "2001:db8:2::10/64"]
  gateway   = "192.0.2.1"
  gateway6  = "2001:db8:2::1"
}

guest "web" {
  network = bridge.lan
  mac     = "52:54:00:02:00:51"
  address = "192.0.2.51"
  device  = "vnet0"
}

guest "db" {
  network = bridge.lan
  mac     = "52:54:00:02:00:52"
  address = "192.0.2.52"
  device  = "vnet1"
}

# Whoever administers the host from the LAN must not lose it: a plan that would cut this is refused.
protect "management" {
  flow {
    from = "192.0.2.0/24"
    to   = host
    tcp  = 22
  }
}
