vmnet { required_version = ">= 0.1" }

variable "uplink" {
  type = string
}

variable "count_of_guests" {
  type    = number
  default = "many"
}

variable "bad" {
  type = strin
}

variable "computed" {
  default = cidrhost("10.0.0.0/24", 1)
}

variable "depends" {
  default = var.uplink
}

variable "extra" {
  nullable = false
  default  = 1
}
