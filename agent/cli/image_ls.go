package cli

import (
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newImageListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List the images that the nodes hold",
		Example: `  piswarm image ls
  piswarm image ls --filter node=pi1`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(o.filters, imageMatchers)
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			images, err := c.Images(cmd.Context())
			if err != nil {
				return err
			}
			return imageList(o.noTrunc).print(a.stdout, o, f.apply(images))
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "image IDs", filterKeys(imageMatchers))
	return cmd
}

var imageMatchers = map[string]matcher[client.Image]{
	"node": func(i client.Image, v string) bool { return slices.Contains(i.Nodes, v) },
	"reference": func(i client.Image, v string) bool {
		repository, _ := repositoryAndTag(i.Name)
		return v == i.Name || v == repository || v == familiar(i.Name)
	},
}

func imageList(whole bool) list[client.Image] {
	return list[client.Image]{
		columns: []column[client.Image]{
			{name: "Repository", header: "REPOSITORY", cell: func(i client.Image) string { r, _ := repositoryAndTag(i.Name); return r }},
			{name: "Tag", header: "TAG", cell: func(i client.Image) string { _, t := repositoryAndTag(i.Name); return t }},
			{name: "ID", header: "IMAGE ID", cell: func(i client.Image) string { return imageID(i, whole) }},
			{name: "Size", header: "SIZE", cell: func(i client.Image) string { return units.HumanSizeWithPrecision(float64(i.SizeBytes), 3) }},
			{name: "Nodes", header: "NODES", cell: func(i client.Image) string { return strings.Join(i.Nodes, ", ") }},
			{name: "Digest", header: "DIGEST", cell: func(i client.Image) string { return i.Digest }, hidden: true},
		},
		fill: filledImage,
		id:   func(i client.Image) string { return imageID(i, whole) },
	}
}

func imageID(i client.Image, whole bool) string {
	if whole {
		return i.Digest
	}
	return shortID(i.Digest, false)
}

// repositoryAndTag splits an image's name as docker's list shows it.
func repositoryAndTag(name string) (repository, tag string) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name, "<none>"
	}
	tag = "<none>"
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return reference.FamiliarName(named), tag
}
