package cli

import "github.com/piswarm/piswarm/agent"

// builtFrom is what the linker was told of this program, the agent and the command line being one.
func builtFrom() (version, commit string) { return agent.Version, agent.Commit }
