nat "lab" {
  subnet = "10.0.0.0/24"
}
