package cli

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newVersionCommand(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Print the versions of the command line and of the agent",
		Example: `  piswarm version
  piswarm version --format '{{.Client.Version}}'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runVersion(cmd, a, format)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&format, "format", "", "`format`, json or a Go template")
	completeFlag(cmd, "format", "json")
	return cmd
}

// versions is what `piswarm version` knows; Agent is nil if none answers.
type versions struct {
	Client client.Version  `json:"client"`
	Agent  *client.Version `json:"agent"`
}

// runVersion prints the version of this program also where no agent runs: then it is often the first question.
func runVersion(cmd *cobra.Command, a *app, format string) error {
	v := versions{Client: buildVersion()}
	c, err := a.connect()
	if err != nil {
		return err
	}
	agent, agentErr := c.Version(cmd.Context())
	if agentErr == nil {
		v.Agent = &agent
	}
	var out bytes.Buffer
	switch format {
	case "":
		fmt.Fprintf(&out, "piswarm %s\n", versionString(v.Client))
		if v.Agent != nil {
			fmt.Fprintf(&out, "agent   %s on %s\n", versionString(agent), agent.Node)
		}
	case "json":
		err = writeJSON(&out, v)
	default:
		tmpl, parseErr := newTemplate(format)
		if parseErr != nil {
			return parseErr
		}
		if err = tmpl.Execute(&out, v); err != nil {
			return templateError(err)
		}
		out.WriteByte('\n')
	}
	if err != nil {
		return err
	}
	if _, err := a.stdout.Write(out.Bytes()); err != nil {
		return err
	}
	if agentErr != nil {
		fmt.Fprintln(a.stderr, "warning: "+oneLine(agentErr.Error()))
	}
	return nil
}

func versionString(v client.Version) string {
	commit := shortID(v.Commit, false)
	if commit != "" {
		commit = "commit " + commit + ", "
	}
	return fmt.Sprintf("%s (%s%s, %s/%s)", v.Version, commit, v.Go, v.OS, v.Arch)
}

func buildVersion() client.Version {
	version, commit := builtFrom()
	return client.Version{Version: version, Commit: commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}
