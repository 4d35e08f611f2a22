vmnet { required_version = ">= 0.1" }

bridge "a" {
  ports = ["eno1", "eno2", "eno1"]
}

bridge "b" {
  ports = ["eno2", "virbr-lab", "b", "eno 3"]
}

nat "lab" {
  device = "virbr-lab"
  subnet = "10.0.0.0/24"
  uplink = "eno1"
}

nat "self" {
  subnet = "10.1.0.0/24"
  uplink = "self"
}

nat "c" {
  subnet = "10.2.0.0/24"
  uplink = host_only.build
}

nat "d" {
  subnet = "10.3.0.0/24"
  uplink = guest.g
}

nat "e" {
  subnet = "10.4.0.0/24"
  uplink = "bridge.a"
}

host_only "build" {
  subnet = "10.5.0.0/24"
}

guest "g" {
  network = host_only.build
  device  = "eno2"
}
