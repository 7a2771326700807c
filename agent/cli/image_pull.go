package cli

import "github.com/spf13/cobra"

func newImagePullCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Fetch an image from its registry, for the whole cluster",
		Long: `Fetch an image from its registry. One node does; the others fetch the image from it when they need it, so it crosses
the internet once.`,
		Example:           `  piswarm image pull nginx:1.27`,
		Args:              exactArgs(1, "one image, for example nginx:1.27"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := normalise(args[0])
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			progress := newImageProgress(a)
			images, err := c.PullImage(cmd.Context(), image.String(), progress.step)
			if err != nil {
				progress.clear()
				return err
			}
			return progress.done("Pulled", images)
		},
		DisableFlagsInUseLine: true,
	}
}
