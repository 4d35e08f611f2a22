vmnet { required_version = ">= 0.1" }

protect "nothing" {
}

protect "words" {
  interfce = "eno1"
  flow {
    form = "198.51.100.0/24"
    to   = host
    tcp  = 22
  }
}

protect "half" {
  flow {
    to = host
  }
  flow {
    from = outside
    tcp  = 70000
  }
}

protect "types" {
  interface = ["eno1"]
}

protect "name" {
  interface = "a name that is too long"
}

protect "inside" {
  interface = "eno1"
  flow {
    from = "198.51.100.7/24"
    to   = hots
    interface = "eno2"
    flow {
    }
  }
  allow {
  }
}

protect "families" {
  flow {
    from = "2001:db8::/32"
    to   = "192.0.2.10"
    tcp  = 22
  }
}

protct "x" {
  interface = "eno1"
}
