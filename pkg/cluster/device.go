package cluster

import (
	"fmt"
	"path"
	"strings"
)

// ParseDevice reads the value of --device: /dev/gpiomem, /dev/gpiomem:/dev/x or /dev/gpiomem:/dev/x:rw. As in
// docker, the second part may already be the permissions.
func ParseDevice(s string) (Device, error) {
	parts := strings.Split(s, ":")
	d := Device{Host: parts[0], Container: parts[0], Permissions: "rwm"}
	switch {
	case len(parts) == 2 && isPermissions(parts[1]):
		d.Permissions = parts[1]
	case len(parts) == 2:
		d.Container = parts[1]
	case len(parts) == 3:
		d.Container, d.Permissions = parts[1], parts[2]
	case len(parts) > 3:
		return Device{}, fmt.Errorf("bad device %q: want HOST[:CONTAINER[:PERMISSIONS]], for example /dev/gpiomem", shorten(s))
	}
	if err := d.validate(); err != nil {
		return Device{}, fmt.Errorf("bad device %q: %w", shorten(s), err)
	}
	return d, nil
}

func (d Device) validate() error {
	for _, p := range []string{d.Host, d.Container} {
		if !path.IsAbs(p) || path.Clean(p) == "/" || !isText(p) {
			return fmt.Errorf("%q is not the absolute path of a device, for example /dev/gpiomem", shorten(p))
		}
	}
	if !isPermissions(d.Permissions) {
		return fmt.Errorf("bad permissions %q: want some of r, w and m, each once, for example /dev/gpiomem:/dev/gpiomem:rw", shorten(d.Permissions))
	}
	return nil
}

// isPermissions tells whether s is one to three of r, w and m, each at most once.
func isPermissions(s string) bool {
	if s == "" || strings.Trim(s, "rwm") != "" {
		return false
	}
	return strings.Count(s, "r") <= 1 && strings.Count(s, "w") <= 1 && strings.Count(s, "m") <= 1
}
