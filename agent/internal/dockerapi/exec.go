package dockerapi

// execs are commands that are made and not yet started.
type execs struct{}
