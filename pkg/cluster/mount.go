package cluster

import (
	"encoding/csv"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// ParseMount reads the value of --mount in docker's form, for example
// type=bind,source=/srv/data,target=/data,readonly or type=tmpfs,target=/tmp,tmpfs-size=64m.
func ParseMount(s string) (Mount, error) {
	m, err := parseMount(s)
	if err != nil {
		return Mount{}, fmt.Errorf("bad mount %q: %w", shorten(s), err)
	}
	return m, nil
}

const mountExample = "for example type=bind,source=/srv/data,target=/data"

func parseMount(s string) (Mount, error) {
	// docker reads the value as a line of CSV, so that a path with a comma can be quoted.
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return Mount{}, fmt.Errorf("not a comma-separated list of KEY=VALUE, %s", mountExample)
	}
	m := Mount{Type: MountVolume}
	seen := map[string]bool{}
	for _, field := range fields {
		name, value, hasValue := strings.Cut(strings.TrimSpace(field), "=")
		key, ok := mountKeys[strings.ToLower(name)]
		if !ok {
			return Mount{}, fmt.Errorf("unknown or unsupported key %q: want type, source, target, readonly and tmpfs-size, %s", shorten(name), mountExample)
		}
		if seen[key] {
			return Mount{}, fmt.Errorf("%s is given twice", key)
		}
		seen[key] = true
		if !hasValue && key != "readonly" {
			return Mount{}, fmt.Errorf("%s has no value, %s", key, mountExample)
		}
		switch key {
		case "type":
			m.Type = MountType(strings.ToLower(value))
		case "source":
			m.Source = value
		case "target":
			m.Target = value
		case "readonly":
			if m.ReadOnly = true; hasValue {
				if m.ReadOnly, err = strconv.ParseBool(value); err != nil {
					return Mount{}, fmt.Errorf("readonly=%s: want readonly, readonly=true or readonly=false", shorten(value))
				}
			}
		case "tmpfs-size":
			if m.SizeBytes, err = parseSize(value); err != nil {
				return Mount{}, err
			}
		}
	}
	return m, m.validate()
}

// mountKeys gives docker's names of each key.
var mountKeys = map[string]string{
	"type": "type", "source": "source", "src": "source", "target": "target", "dst": "target",
	"destination": "target", "readonly": "readonly", "ro": "readonly", "tmpfs-size": "tmpfs-size",
}

func (m Mount) validate() error {
	if m.Target == "" {
		return fmt.Errorf("target is missing, %s", mountExample)
	}
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" || !isText(m.Target) {
		return fmt.Errorf("target %q must be an absolute path other than /, %s", shorten(m.Target), mountExample)
	}
	if m.SizeBytes < 0 || m.SizeBytes > 0 && m.Type != MountTmpfs {
		return fmt.Errorf("a size is for type=tmpfs alone and not negative, for example type=tmpfs,target=/tmp,tmpfs-size=64m")
	}
	switch m.Type {
	case MountBind:
		if !path.IsAbs(m.Source) || !isText(m.Source) {
			return fmt.Errorf("the source of a bind mount must be an absolute path on the node, %s", mountExample)
		}
	case MountVolume:
		// The name becomes that of a directory on the node, so it must not lead out of its parent.
		if !isName(m.Source, "_-.") {
			return fmt.Errorf("a volume needs a name of letters, digits, -, _ and dots, for example type=volume,source=data,target=/data")
		}
	case MountTmpfs:
		if m.Source != "" {
			return fmt.Errorf("a tmpfs has no source, for example type=tmpfs,target=/tmp,tmpfs-size=64m")
		}
	default:
		return fmt.Errorf("unknown type %q: want bind, volume or tmpfs, %s", shorten(string(m.Type)), mountExample)
	}
	return nil
}

// parseSize reads a number of bytes with docker's suffixes: 64m, 64mb and 64MiB are all 64·1024·1024.
func parseSize(s string) (int64, error) {
	bad := fmt.Errorf("bad size %q: want a number with b, k, m or g, for example 64m", shorten(s))
	s = strings.ToLower(s)
	number := strings.TrimRight(s, "bikmgt")
	factor := 1.0
	switch s[len(number):] {
	case "", "b":
	case "k", "kb", "kib":
		factor = 1 << 10
	case "m", "mb", "mib":
		factor = 1 << 20
	case "g", "gb", "gib":
		factor = 1 << 30
	case "t", "tb", "tib":
		factor = 1 << 40
	default:
		return 0, bad
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, bad
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || n*factor >= math.MaxInt64 {
		return 0, bad
	}
	return int64(n * factor), nil
}
