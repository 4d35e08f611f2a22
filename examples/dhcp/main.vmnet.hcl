# Guests that need nothing set by hand: addresses, names and the size of packets come from the host.

vmnet {
  required_version = ">= 0.1"
}

nat "lab" {
  device = "virbr-lab"
  subnet = "10.20.0.0/24"
  mtu    = 1450 # the uplink is a tunnel; DHCP tells the guests

  dhcp {
    range   = "10.20.0.100-10.20.0.199"
    lease   = "12h"
    options = { ntp-server = "10.20.0.1" } # by the names of dnsmasq --help dhcp, or by number
  }

  dns {
    domain   = "lab.internal"
    upstream = ["203.0.113.10"] # other names; without it, whom the host asks
    records = {
      git = "web"                      # another name for a guest
      nas = ["10.20.0.5", "10.20.0.6"] # machines that are no guests of this file
    }
  }
}

# Addresses and names, and nothing else: no gateway, and nobody outside is asked for names.
host_only "build" {
  device = "virbr-build"
  subnet = "10.30.0.0/24"
  dhcp { range = "10.30.0.100-10.30.0.199" }
}

# Its address is kept for it, and its name leads there: web.lab.internal.
guest "web" {
  network = nat.lab
  mac     = "52:54:00:20:00:11"
  address = "10.20.0.11"
  device  = "vnet0"
}

# It gets some address of the range; its name leads to whichever that is.
guest "runner" {
  network = nat.lab
  mac     = "52:54:00:20:00:12"
  device  = "vnet1"
}

guest "builder" {
  network = host_only.build
  mac     = "52:54:00:30:00:11"
  device  = "vnet2"
}
