package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent"
)

func newDoctorCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "doctor [OPTIONS]",
		Short: "Examine this machine, and say how to mend what is wrong",
		Long: `Examine this machine, whether an agent runs on it or not: what a node needs, and what a Raspberry Pi suffers from. Each
problem comes with what to do about it, and makes the exit code 1. Without root, some things cannot be looked at.`,
		Example: `  sudo piswarm doctor
  piswarm doctor --format json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeFindings(a, o, agent.Examine(cmd.Context()))
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&o.format, "format", "table", "`format`, table, json, or a Go template, also after the word table")
	completeFlag(cmd, "format", "table", "json")
	return cmd
}

// findings is how they are printed.
var findings = list[agent.Finding]{
	columns: []column[agent.Finding]{
		{name: "Check", header: "CHECK", cell: func(f agent.Finding) string { return f.Check }},
		{name: "Result", header: "RESULT", cell: findingResult},
		{name: "Fix", header: "FIX", cell: func(f agent.Finding) string { return f.Fix }},
	},
	id: func(f agent.Finding) string { return f.Check },
}

// findingResult is the problem, or ok, and the figures.
func findingResult(f agent.Finding) string {
	result := f.Problem
	if f.OK {
		result = "ok"
	}
	if f.Note != "" {
		result += " (" + f.Note + ")"
	}
	return result
}

// writeFindings prints all; a problem is an error for whoever asks by a script.
func writeFindings(a *app, o listOptions, all []agent.Finding) error {
	if err := findings.print(a.stdout, o, all); err != nil {
		return err
	}
	bad := slices.DeleteFunc(slices.Clone(all), func(f agent.Finding) bool { return f.OK })
	if len(bad) > 0 {
		return fmt.Errorf("%s found on this machine: each has its fix beside it", plural(len(bad), "problem"))
	}
	return nil
}
