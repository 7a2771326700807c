package cluster

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

const maxStopGracePeriod = time.Hour

var (
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	userForm   = regexp.MustCompile(`^[^:\s\x00]+(:[^:\s\x00]+)?$`)
)

func (c Container) validate() error {
	if c.Image == "" || strings.ContainsAny(c.Image, " \t\r\n") || !isText(c.Image) {
		return fmt.Errorf("bad image %q: want a reference, for example nginx:1.27", shorten(c.Image))
	}
	if c.Digest != "" && !digestForm.MatchString(c.Digest) {
		return fmt.Errorf("bad image digest %q: want sha256: and 64 hexadecimal digits", shorten(c.Digest))
	}
	for _, s := range slices.Concat(c.Entrypoint, c.Args) {
		if !isText(s) {
			return fmt.Errorf("bad argument %q: want UTF-8 text without NUL", shorten(s))
		}
	}
	for _, s := range c.Env {
		if err := validateEnv(s); err != nil {
			return err
		}
	}
	if c.Workdir != "" && (!path.IsAbs(c.Workdir) || !isText(c.Workdir)) {
		return fmt.Errorf("bad working directory %q: want an absolute path, for example /app", shorten(c.Workdir))
	}
	if c.User != "" && !userForm.MatchString(c.User) {
		return fmt.Errorf("bad user %q: want USER or USER:GROUP, for example 1000:1000", shorten(c.User))
	}
	if c.Hostname != "" && !isName(c.Hostname, "-.") {
		return fmt.Errorf("bad host name %q: want letters, digits, - and dots, at most %d of them, for example web", shorten(c.Hostname), maxName)
	}
	if err := ValidateLabels(c.Labels); err != nil {
		return fmt.Errorf("container label: %w", err)
	}
	for _, s := range slices.Concat(c.CapAdd, c.CapDrop) {
		if name, err := NormalizeCapability(s); err != nil {
			return err
		} else if name != s {
			return fmt.Errorf("capability %q is written %s", s, name)
		}
	}
	if c.StopSignal != "" {
		if _, err := NormalizeSignal(c.StopSignal); err != nil {
			return err
		}
	}
	if c.StopGracePeriod < 0 || c.StopGracePeriod > maxStopGracePeriod {
		return fmt.Errorf("a stop grace period of %s is not possible: want 0s to %s, for example 10s", c.StopGracePeriod, maxStopGracePeriod)
	}
	if err := validateMounts(c.Mounts); err != nil {
		return err
	}
	if err := c.validateFiles(); err != nil {
		return err
	}
	return validateDevices(c.Devices)
}

func validateMounts(mounts []Mount) error {
	targets := map[string]bool{}
	for _, m := range mounts {
		if err := m.validate(); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if t := path.Clean(m.Target); targets[t] {
			return fmt.Errorf("two mounts have the target %s: give each its own", shorten(t))
		} else {
			targets[t] = true
		}
	}
	return nil
}

func validateDevices(devices []Device) error {
	targets := map[string]bool{}
	for _, d := range devices {
		if err := d.validate(); err != nil {
			return fmt.Errorf("device: %w", err)
		}
		if t := path.Clean(d.Container); targets[t] {
			return fmt.Errorf("two devices are %s in the container: give each its own path", shorten(t))
		} else {
			targets[t] = true
		}
	}
	return nil
}
