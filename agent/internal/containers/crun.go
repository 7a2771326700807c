package containers

import "github.com/containerd/containerd/api/types/runc/options"

// runtimeOptions tell the shim which program makes the container. crun starts in a fraction of the time and memory of runc,
// which counts on a small Pi. It wants all controllers in the one tree of version 2. A container keeps the program that it
// was made with.
func runtimeOptions(cgroups cgroupFacts, look func(string) (string, error)) *options.Options {
	if cgroups.v2 {
		if path, err := look("crun"); err == nil {
			return &options.Options{BinaryName: path}
		}
	}
	return &options.Options{} // runc
}
