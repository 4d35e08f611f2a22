vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

host_only "build" {
  subnet = "10.1.0.0/24"
}

bridge "lan" {
}

guest "a" {
  network = nat.lab
  address = "10.0.0.10"
}

guest "nowhere" {
  network = nat.lab
  mac     = "52:54:00:00:00:01"
}

guest "b" {
  network = host_only.build
  address = "10.1.0.10"
}

guest "c" {
  network = bridge.lan
  address = "192.0.2.10"
}

forward "one" {
  tcp = 2222
  to  = guest.a
}

forward "two" {
  tcp = ["2000-3000", 80]
  to  = guest.a
}

forward "three" {
  udp = 2222
  to  = guest.a
}

forward "four" {
  tcp = "80"
  to  = guest.nowhere
}

forward "five" {
  tcp = 81
  to  = guest.b
}

forward "six" {
  tcp = 82
  to  = guest.c
}

forward "seven" {
  tcp = 83
  to  = nat.lab
}

forward "eight" {
  tcp = 84
  to  = "10.9.0.1"
}

forward "nine" {
  tcp = 85
  to  = "guest.a"
}

forward "ten" {
  tcp     = [86, 87]
  to      = guest.a
  to_port = 1
}

forward "eleven" {
  tcp     = "90-99"
  to      = guest.a
  to_port = 65530
}

forward "twelve" {
  tcp     = 100
  to      = guest.a
  to_port = [22]
}
