//go:build !unix

package main

// asInit is for the nodes; elsewhere there is the command line alone.
func asInit() (code int, yes bool) { return 0, false }
