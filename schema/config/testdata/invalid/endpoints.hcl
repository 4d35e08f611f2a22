vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

guest "nowhere" {
  network = nat.lab
  mac     = "52:54:00:00:00:01"
}

adapter "eno1" {
}

expect "a" {
  from = "nat.lab"
  to   = "internet"
}

expect "b" {
  from = "192.0.2.5/24"
  to   = "everywhere"
}

expect "c" {
  from = adapter.eno1
  to   = { a = 1 }
}

expect "d" {
  from = []
  to   = [null, true, "outsde"]
}

expect "e" {
  from = nat.lab
  to   = "2001:db8::1"
}

firewall "f" {
  allow {
    from = guest.nowhere
    to   = outside
    tcp  = 99999
  }
  reject {
  }
  deny {
    form = host
  }
}
