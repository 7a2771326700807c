//go:build unix

package main

import (
	"os"
	"path/filepath"

	"github.com/piswarm/piswarm/agent/internal/reaper"
)

// asInit runs the program as the first process of a container, if that is what its name says it is. It comes before
// the command line is made, which every such container would have in memory.
func asInit() (code int, yes bool) {
	if filepath.Base(os.Args[0]) != "piswarm-init" {
		return 0, false
	}
	return reaper.Run(os.Args[1:]), true
}
