package cluster

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"
)

// Health says how a node sees whether a task serves. At most one of Cmd, HTTP and TCP is set; with none of them the
// image's own check is used, if it has one.
type Health struct {
	// Disabled turns off the image's check, too.
	Disabled bool `json:"disabled,omitempty"`
	// Cmd is run in the container; exit code 0 says that it is healthy.
	Cmd []string `json:"cmd,omitempty"`
	// HTTP is the path of a GET request; an answer of 200 to 399 says that it is healthy.
	HTTP string `json:"http,omitempty"`
	// TCP is a check that a connection can be opened.
	TCP bool `json:"tcp,omitempty"`
	// Port of the container for HTTP and TCP; 0 is that of the first published TCP port.
	Port uint16 `json:"port,omitempty"`

	// The rest is docker's, with docker's defaults for zero: see WithDefaults.
	Interval      time.Duration `json:"interval,omitempty"`
	Timeout       time.Duration `json:"timeout,omitempty"`
	Retries       int           `json:"retries,omitempty"` // failures, one after the other, that make it unhealthy
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`
	StartInterval time.Duration `json:"startInterval,omitempty"` // during the start period
}

// docker's defaults.
const (
	defaultHealthInterval      = 30 * time.Second
	defaultHealthTimeout       = 30 * time.Second
	defaultHealthStartInterval = 5 * time.Second
	defaultHealthRetries       = 3
)

const (
	maxHealthTime    = 24 * time.Hour
	minHealthTime    = time.Millisecond // docker's
	maxHealthRetries = 1000
)

// Checks tells whether a check is given.
func (h Health) Checks() bool { return len(h.Cmd) > 0 || h.HTTP != "" || h.TCP }

// WithDefaults returns the check with docker's defaults where it says nothing.
func (h Health) WithDefaults() Health {
	h.Interval = cmp.Or(h.Interval, defaultHealthInterval)
	h.Timeout = cmp.Or(h.Timeout, defaultHealthTimeout)
	h.Retries = cmp.Or(h.Retries, defaultHealthRetries)
	h.StartInterval = cmp.Or(h.StartInterval, defaultHealthStartInterval)
	return h
}

// Over returns the check that holds for a container whose image brings the given one: what is said here wins, field
// by field, as in docker.
func (h Health) Over(image Health) Health {
	if h.Disabled {
		return Health{Disabled: true}
	}
	if !h.Checks() {
		h.Cmd, h.HTTP, h.TCP, h.Port, h.Disabled = image.Cmd, image.HTTP, image.TCP, image.Port, image.Disabled
	}
	h.Interval = cmp.Or(h.Interval, image.Interval)
	h.Timeout = cmp.Or(h.Timeout, image.Timeout)
	h.Retries = cmp.Or(h.Retries, image.Retries)
	h.StartPeriod = cmp.Or(h.StartPeriod, image.StartPeriod)
	h.StartInterval = cmp.Or(h.StartInterval, image.StartInterval)
	return h
}

// HealthPort returns the port of the container that an HTTP or TCP check of the spec goes to; 0 if there is none.
func (s Spec) HealthPort() uint16 {
	if s.Container.Health.Port != 0 {
		return s.Container.Health.Port
	}
	for _, p := range s.Ports {
		if p.Protocol == TCP {
			return p.Target
		}
	}
	return 0
}

// ParseHealthHTTP reads the value of --health-http: a path such as /healthz, or one with a port of the container
// before it, such as :8080/healthz.
func ParseHealthHTTP(s string) (httpPath string, port uint16, err error) {
	httpPath = s
	if rest, ok := strings.CutPrefix(s, ":"); ok {
		number, after, _ := strings.Cut(rest, "/")
		n, err := parsePortNumber(number)
		if err != nil {
			return "", 0, fmt.Errorf("bad health check %q: %w", shorten(s), err)
		}
		port, httpPath = uint16(n), "/"+after
	}
	if err := validateHealthPath(httpPath); err != nil {
		return "", 0, err
	}
	return httpPath, port, nil
}

func validateHealthPath(s string) error {
	if !path.IsAbs(s) || !isText(s) || strings.ContainsAny(s, " \t\r\n") {
		return fmt.Errorf("bad health check %q: want a path such as /healthz, or with a port, :8080/healthz", shorten(s))
	}
	return nil
}

// validateHealth checks the container's check against the whole spec, for it may go to a published port.
func (s Spec) validateHealth() error {
	h := s.Container.Health
	kinds := 0
	for _, given := range []bool{len(h.Cmd) > 0, h.HTTP != "", h.TCP} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return fmt.Errorf("more than one kind of health check: choose --health-cmd, --health-http or --health-tcp")
	case h.Disabled && kinds > 0:
		return fmt.Errorf("--no-healthcheck and a health check contradict each other: leave out one")
	case h.Retries < 0 || h.Retries > maxHealthRetries:
		return fmt.Errorf("%d health retries are not possible: want 1 to %d", h.Retries, maxHealthRetries)
	case (h.HTTP != "" || h.TCP) && s.HealthPort() == 0:
		return fmt.Errorf("the health check has no port to go to: publish one, or name it, for example --health-http :8080/healthz or --health-tcp=8080")
	}
	if h.HTTP != "" {
		if err := validateHealthPath(h.HTTP); err != nil {
			return err
		}
	}
	for _, word := range h.Cmd {
		if !isText(word) {
			return fmt.Errorf("bad health command %q: want UTF-8 text without NUL", shorten(word))
		}
	}
	for _, d := range []struct {
		flag string
		time.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"start-period", h.StartPeriod}, {"start-interval", h.StartInterval}} {
		if d.Duration != 0 && (d.Duration < minHealthTime || d.Duration > maxHealthTime) {
			return fmt.Errorf("--health-%s %s is not possible: want %s to %s, for example 10s", d.flag, d.Duration, minHealthTime, maxHealthTime)
		}
	}
	return nil
}
