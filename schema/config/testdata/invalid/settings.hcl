vmnet {
  required_version = "new"
  confirm          = "soon"
  foreign          = "fixx"
  risk_limit       = "everything"
}
