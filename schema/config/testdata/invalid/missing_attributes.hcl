vmnet { required_version = ">= 0.1" }

nat "lab" {
}

host_only "b" {
  subnet = "10.2.0.0/24"
  dhcp {
  }
}

guest "a" {
  mac = "52:54:00:00:00:01"
}

guest "b" {
  network = host_only.b
}

forward "f" {
}

expect "e" {
  tcp = 22
}

sysctl "net.core.somaxconn" {
}

guest "c" {
  network = null
  address = "10.2.0.7"
}
