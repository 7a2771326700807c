package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func (k fileKind) newListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List " + k.kind + "s",
		Example: fmt.Sprintf(`  piswarm %[1]s ls
  piswarm %[1]s ls --filter label=team=door --format '{{.Name}} {{.Services}}'`, k.kind),
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(o.filters, fileMatchers)
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			files, err := k.list(c, cmd.Context())
			if err != nil {
				return err
			}
			return fileList(a, o.noTrunc).print(a.stdout, o, f.apply(files))
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(fileMatchers))
	return cmd
}

var fileMatchers = map[string]matcher[client.File]{
	"id":    func(f client.File, v string) bool { return strings.HasPrefix(f.ID, v) },
	"label": func(f client.File, v string) bool { return hasLabel(f.Labels, v) },
	"name":  func(f client.File, v string) bool { return strings.HasPrefix(f.Name, v) },
}

func fileList(a *app, whole bool) list[client.File] {
	return list[client.File]{
		columns: []column[client.File]{
			{name: "ID", header: "ID", cell: func(f client.File) string { return shortID(f.ID, whole) }},
			{name: "Name", header: "NAME", cell: func(f client.File) string { return f.Name }},
			{name: "CreatedAt", header: "CREATED", cell: func(f client.File) string { return ago(a.now(), f.CreatedAt) }},
			{name: "Services", header: "SERVICES", cell: func(f client.File) string { return strings.Join(f.Services, ", ") }, hidden: true},
			{name: "Labels", header: "LABELS", cell: func(f client.File) string {
				var all []string
				for _, key := range slices.Sorted(maps.Keys(f.Labels)) {
					all = append(all, key+"="+f.Labels[key])
				}
				return strings.Join(all, ",")
			}, hidden: true},
		},
		fill: filledFile,
		id:   func(f client.File) string { return shortID(f.ID, whole) },
	}
}
