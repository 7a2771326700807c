package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// firstPort is the value of --health-tcp without one.
const firstPort = "published"

// addHealth adds the flags for how a node sees whether a task serves.
func (o *specFlags) addHealth() {
	f := o.flags
	command := f.String("health-cmd", "", "healthy is a task in whose container this shell `command` ends with 0")
	http := f.String("health-http", "", "healthy is a task that answers a GET of this `path`, also with a port, :8080/healthz")
	tcp := f.String("health-tcp", "", "healthy is a task to which a connection can be opened, on this `port` if another than the published one")
	f.Lookup("health-tcp").NoOptDefVal = firstPort
	off := f.Bool("no-healthcheck", false, "check nothing, whatever the image says")

	kinds := []string{"health-cmd", "health-http", "health-tcp"}
	o.on(func() (change, error) {
		var given []string
		for _, kind := range kinds {
			if f.Changed(kind) {
				given = append(given, "--"+kind)
			}
		}
		if *off {
			given = append(given, "--no-healthcheck")
		}
		if len(given) > 1 {
			return nil, fmt.Errorf("%s contradict each other: leave out all but one", strings.Join(given, " and "))
		}
		// What is given takes the place of the check there was; the times stay.
		var h cluster.Health
		var err error
		switch {
		case *off:
			return func(s *cluster.Spec) error {
				s.Container.Health = cluster.Health{Disabled: true}
				return nil
			}, nil
		case *command != "":
			h.Cmd = []string{"/bin/sh", "-c", *command}
		case f.Changed("health-http"):
			h.HTTP, h.Port, err = cluster.ParseHealthHTTP(*http)
		case f.Changed("health-tcp"):
			h.TCP = true
			h.Port, err = parseHealthPort(*tcp)
		}
		onlyOn := len(given) == 0
		return func(s *cluster.Spec) error {
			to := &s.Container.Health
			if to.Disabled = false; !onlyOn {
				to.Cmd, to.HTTP, to.TCP, to.Port = h.Cmd, h.HTTP, h.TCP, h.Port
			}
			return nil
		}, err
	}, append(kinds, "no-healthcheck")...)

	span := func(flag, usage string, at func(*cluster.Health) *time.Duration) {
		v := f.Duration(flag, 0, usage)
		o.on(timing(flag, func(h *cluster.Health) { *at(h) = *v }), flag)
	}
	span("health-interval", "`time` from one check to the next (default: the image's, else 30s)", func(h *cluster.Health) *time.Duration { return &h.Interval })
	span("health-timeout", "`time` after which a check has failed (default: the image's, else 30s)", func(h *cluster.Health) *time.Duration { return &h.Timeout })
	span("health-start-period", "`time` at the start in which failures do not count", func(h *cluster.Health) *time.Duration { return &h.StartPeriod })
	span("health-start-interval", "`time` from one check to the next in the start period (default: the image's, else 5s)", func(h *cluster.Health) *time.Duration { return &h.StartInterval })
	retries := f.Int("health-retries", 0, "`number` of failures in a row that make a task unhealthy (default: the image's, else 3)")
	o.on(timing("health-retries", func(h *cluster.Health) { h.Retries = *retries }), "health-retries")
}

// timing is the effect of a flag that says when to check. It is refused where nothing is checked.
func timing(flag string, set func(*cluster.Health)) func() (change, error) {
	return func() (change, error) {
		return func(s *cluster.Spec) error {
			if s.Container.Health.Disabled {
				return fmt.Errorf("--%s has no effect, because the health check is off: --no-healthcheck=false brings back the image's", flag)
			}
			set(&s.Container.Health)
			return nil
		}, nil
	}
}

func parseHealthPort(s string) (uint16, error) {
	if s == firstPort {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("--health-tcp=%s: want a port from 1 to 65535, for example --health-tcp=8080", s)
	}
	return uint16(n), nil
}

// misplacedPort refuses a first argument that was meant as the port of --health-tcp, whose value is optional and so
// must be joined to it.
func misplacedPort(cmd *cobra.Command, args []string) error {
	f := cmd.Flags().Lookup("health-tcp")
	if !f.Changed || f.Value.String() != firstPort || len(args) == 0 || strings.Trim(args[0], "0123456789") != "" {
		return nil
	}
	return usageErrorf(cmd, "%s is not taken for the port of --health-tcp: write --health-tcp=%s", args[0], args[0])
}
