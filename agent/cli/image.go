package cli

import (
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newImageCommand(a *app) *cobra.Command {
	cmd := newGroup("image", "Manage images",
		newImageListCommand(a), newImageLoadCommand(a), newImagePullCommand(a), newImageRemoveCommand(a))
	cmd.Example = `  piswarm image load -i greeter.tar
  piswarm image ls`
	return cmd
}

// imageProgress shows the steps of a load or pull: on a terminal one line that changes, else a line for each step
// that says something new.
type imageProgress struct {
	app    *app
	screen *screen // nil when stdout is not a terminal
	named  map[string]bool
	last   string
	drawn  time.Time
}

func newImageProgress(a *app) *imageProgress {
	return &imageProgress{app: a, screen: newScreen(a.stdout), named: map[string]bool{}}
}

// redrawPause keeps a fast stream of steps from costing more than what it shows.
const redrawPause = 100 * time.Millisecond

func (p *imageProgress) step(step client.Progress) {
	if p.screen == nil {
		// Sending and loading go on side by side: each is named once, not at every turn from one to the other.
		if step.Message != "" && !p.named[step.Message] {
			fmt.Fprintln(p.app.stdout, oneLine(step.Message))
			p.named[step.Message] = true
		}
		return
	}
	now := p.app.now()
	if step.Message == p.last && now.Sub(p.drawn) < redrawPause {
		return
	}
	p.last, p.drawn = step.Message, now
	p.screen.draw([]string{oneLine(step.Message + " " + bytesString(step.Current, step.Total))})
}

// done takes the changing line away and names what is there now.
func (p *imageProgress) done(verb string, images []cluster.Image) error {
	p.clear()
	for _, i := range images {
		if _, err := fmt.Fprintf(p.app.stdout, "%s image: %s\n", verb, familiar(i.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *imageProgress) clear() {
	if p.screen != nil {
		p.screen.draw(nil)
	}
}

func bytesString(current, total int64) string {
	switch {
	case total > 0:
		return units.HumanSize(float64(current)) + " of " + units.HumanSize(float64(total))
	case current > 0:
		return units.HumanSize(float64(current))
	}
	return ""
}
