vmnet { required_version = ">= 0.1" }

nat "lab" {
  subnet = "10.0.0.0/24"
}

nat "lab" {
  device = "lab2"
  subnet = "10.1.0.0/24"
}

locals {
  a = 1
}

locals {
  a = 2
}

variable "v" {
  default = 1
}

variable "v" {
  default = 2
}

vmnet {
  required_version = ">= 0.1"
}

host_only "b" {
  subnet = "10.2.0.0/24"
  dhcp { range = "10.2.0.10-10.2.0.20" }
  dhcp { range = "10.2.0.30-10.2.0.40" }
}
