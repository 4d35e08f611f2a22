vmnet {
  confirm = "60s"
}
