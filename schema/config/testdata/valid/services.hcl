vmnet { required_version = ">= 0.1" }

# Addresses, names and the size of packets.
nat "lab" {
  device  = "virbr-lab"
  subnet  = "10.20.0.0/24"
  subnet6 = "fd00:20::/64"
  mtu     = 1450
  dhcp {
    range = "10.20.0.100-10.20.0.199"
    lease = "12h"
    options = {
      ntp_server    = ["10.20.0.1", "10.20.0.2"]
      domain-search = ["lab.test", "example.com"]
      "252"         = "http://10.20.0.1/wpad.dat"
    }
  }
  dns {
    domain   = "lab.test"
    upstream = ["192.0.2.53", "host"]
    records = {
      www                = "db1"
      git                = ["10.20.0.5", "fd00:20::5"]
      "mirror.other.test" = "10.20.0.6"
    }
  }
}

# Addresses alone: names are somebody else's business.
nat "bare" {
  subnet = "10.21.0.0/24"
  dhcp {
    range   = "10.21.0.100-10.21.0.199"
    lease   = "infinite"
    options = { dns-server = "9.9.9.9", router = [] }
  }
}

# Nothing leads out, and nobody is asked for other names.
host_only "build" {
  subnet = "10.30.0.0/24"
  dhcp { range = "10.30.0.100-10.30.0.199" }
}

# Names alone.
host_only "names" {
  subnet = "10.31.0.0/24"
  dns { domain = "names.test" }
}

guest "db1" {
  network  = nat.lab
  mac      = "52:54:00:00:00:01"
  address  = "10.20.0.11"
  address6 = "fd00:20::11"
}

# A name without an address: it gets one of the range.
guest "db2" {
  network = nat.lab
  mac     = "52:54:00:00:00:02"
}

# An address without a MAC: only its name is known.
guest "old" {
  network = host_only.names
  address = "10.31.0.9"
}

# Its name is no name of DNS, and nobody gave it another.
guest "größe" {
  network = host_only.build
  mac     = "52:54:00:00:00:04"
  address = "10.30.0.9"
}
