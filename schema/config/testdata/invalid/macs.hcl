vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

guest "a" {
  network = nat.lab
  mac     = "52:54:00:AA:BB:CC"
}

guest "b" {
  network = nat.lab
  mac     = "52-54-00-aa-bb-cc"
}

guest "c" {
  network = nat.lab
  mac     = "52:54:00:aa:bb"
}

guest "d" {
  network = nat.lab
  mac     = "01:00:5e:00:00:01"
}

guest "e" {
  network = nat.lab
  mac     = "00:00:00:00:00:00"
}

guest "f" {
  network = nat.lab
  mac     = "52:54:00:aa:bb:cg"
}
