vmnet { required_version = ">= 0.1" }

nat "a" {
  subnet = "10.0.0.0/24"
  dhcp {
    range = "10.0.0.100-10.0.0.199"
    lease = "30s"
    options = {
      ntp-srver    = "10.0.0.1"
      dns-server   = "one.one.one.one"
      mtu          = [1500, 1400]
      "51"         = "3600"
      "26"         = "1400"
      tftp-server  = "a\"b"
      routerr      = {}
    }
  }
  dns {
    domain   = "-lab.test"
    upstream = ["dns.example.com", "10.0.0.1", "host"]
    records = {
      "a_b!"  = "10.0.0.5"
      www     = "db1"
      both    = ["10.0.0.5", "www"]
      nowhere = "elsewhere"
      db1     = "www"
    }
  }
}

nat "b" {
  subnet = "10.1.0.0/24"
  dhcp {
    range = "10.1.0.100-10.1.0.199"
    lease = "soon"
    options = "none"
  }
  dns { domain = "once.test" }
  dns { domain = "twice.test" }
}

nat "c" {
  subnet6 = "fd00:1::/64"
  dhcp { range = "fd00:1::100-fd00:1::200" }
}

guest "db1" {
  network = nat.a
  mac     = "52:54:00:00:00:01"
  address = "10.0.0.11"
}

guest "db2" {
  network = nat.a
  name    = "DB1"
  mac     = "52:54:00:00:00:02"
}

guest "db3" {
  network = nat.a
  name    = "db 3"
  mac     = "52:54:00:00:00:03"
}

guest "db4" {
  network = nat.a
  address = "10.0.0.150"
}
