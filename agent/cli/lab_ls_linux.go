package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/lab"
)

func newLabListCommand(a *app) *cobra.Command {
	var o listOptions
	match := map[string]matcher[lab.Host]{
		"name":    func(h lab.Host, v string) bool { return strings.HasPrefix(h.Name, v) },
		"network": func(h lab.Host, v string) bool { return h.Network == v },
		"power":   func(h lab.Host, v string) bool { return h.Power == v },
	}
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List the hosts of the lab",
		Example: `  piswarm lab ls
  piswarm lab ls --format json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(o.filters, match)
			if err != nil {
				return &usageError{cmd, err}
			}
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			hosts, err := l.List(cmd.Context())
			if err != nil {
				return err
			}
			return labHostList.print(a.stdout, o, f.apply(hosts))
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "names", filterKeys(match))
	return cmd
}

var labHostList = list[lab.Host]{
	columns: []column[lab.Host]{
		{name: "Name", header: "NAME", cell: func(h lab.Host) string { return h.Name }},
		{name: "Address", header: "ADDRESS", cell: func(h lab.Host) string { return h.Address }},
		{name: "Power", header: "POWER", cell: func(h lab.Host) string { return h.Power }},
		{name: "Network", header: "NETWORK", cell: labNetwork},
	},
	id: func(h lab.Host) string { return h.Name },
}

// labNetwork says how well a host reaches the others.
func labNetwork(h lab.Host) string {
	text := h.Network
	if h.Group > 0 {
		text += fmt.Sprintf(", group %d", h.Group)
	}
	if h.Loss > 0 {
		text += fmt.Sprintf(", %d %% lost", h.Loss)
	}
	return text
}
