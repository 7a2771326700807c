//go:build !linux

package cli

import "runtime/debug"

// builtFrom is what the Go linker noted by itself: this program has no agent that could say.
func builtFrom() (version, commit string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return info.Main.Version, commit
}
