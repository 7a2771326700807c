package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// familiar is an image's name as people write it: greeter:latest for docker.io/library/greeter:latest.
func familiar(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	if tagged, ok := named.(reference.Tagged); ok {
		// Who wrote a tag wants to see the tag, not also the 64 digits it stood for.
		if short, err := reference.WithTag(reference.TrimNamed(named), tagged.Tag()); err == nil {
			named = short
		}
	}
	return reference.FamiliarString(named)
}

// shortID is as much of an ID as tells it from others on a shelf, or all of it.
func shortID(id string, whole bool) string {
	const length = 12
	id = strings.TrimPrefix(id, "sha256:")
	if whole || len(id) <= length {
		return id
	}
	return id[:length]
}

// shorten cuts text to the width, the last character standing for what is missing.
func shorten(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	if width <= 1 {
		return string(runes[:max(width, 0)])
	}
	return string(runes[:width-1]) + "…"
}

func portString(p cluster.Port) string {
	s := fmt.Sprintf("*:%d->%d/%s", p.Published, p.Target, p.Protocol)
	if p.Mode == cluster.PortHost {
		s += " (host)"
	}
	return s
}

func portsString(ports []cluster.Port) string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = portString(p)
	}
	return strings.Join(all, ", ")
}

func platformString(os, arch, variant string) string {
	if os == "" && arch == "" {
		return ""
	}
	return cluster.Platform{OS: os, Arch: arch, Variant: variant}.String()
}

// ago is how long something is past, in docker's words. It is empty where the times make no sense: a Pi without a
// clock says 1970 until it has asked the network.
func ago(now, then time.Time) string {
	age := now.Sub(then)
	if age < -time.Minute || then.Year() < 2020 {
		return ""
	}
	return units.HumanDuration(max(age, 0)) + " ago"
}

func capitalised(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// plural is "1 task", "2 tasks".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
