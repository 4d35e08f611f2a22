vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

guest "a" {
  network = nat.lab
  address = "10.0.0.10"
}

expect "a" {
  from = outside
  to   = guest.a
  tcp  = 0
}

expect "b" {
  from = outside
  to   = guest.a
  tcp  = 65536
}

expect "c" {
  from = outside
  to   = guest.a
  tcp  = ["9000-8000", 22.5, "ssh", true]
}

expect "d" {
  from = outside
  to   = guest.a
  udp  = []
}

expect "e" {
  from = outside
  to   = guest.a
  icmp = 8
}

expect "f" {
  from = outside
  to   = guest.a
  tcp  = -1
}
