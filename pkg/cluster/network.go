package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Network is a name that services share, and the value of a network/<name> record. All containers of a cluster are on one
// flat pod network and reach one another in any case; what a network gives them is each other's aliases.
type Network struct {
	// ID tells it from an earlier one of the same name.
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"createdAt"` // for people
}

// NetworkRef is a service's part in a network.
type NetworkRef struct {
	Name string `json:"name"`
	// Aliases are further names of the service for the containers of the services of that network.
	Aliases []string `json:"aliases,omitempty"`
}

const (
	maxNetworks = 32 // of a service
	maxAliases  = 32 // of a service on a network
)

// reservedNetworks are names that have a meaning of their own for who knows docker, and none here.
var reservedNetworks = []string{"bridge", "host", "ingress", "none"}

// ValidateNetworkName refuses a name that a network cannot have. It is a part of a key of the state.
func ValidateNetworkName(name string) error {
	if !isName(name, "_-.") {
		return fmt.Errorf("bad network name %q: want letters, digits, -, _ and dots, a letter or digit at both ends, at most %d of them, for example backend", shorten(name), maxName)
	}
	if slices.Contains(reservedNetworks, name) {
		return fmt.Errorf("bad network name %q: docker has a meaning of its own for it, and it would not be that: choose another one", name)
	}
	return nil
}

// Validate refuses a network that must not enter the state.
func (n Network) Validate() error {
	if err := ValidateNetworkName(n.Name); err != nil {
		return err
	}
	if err := ValidateLabels(n.Labels); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	return nil
}

func (s Spec) validateNetworks() error {
	if len(s.Networks) > maxNetworks {
		return fmt.Errorf("%d networks are too many: want at most %d", len(s.Networks), maxNetworks)
	}
	seen := map[string]bool{}
	for _, n := range s.Networks {
		if err := ValidateNetworkName(n.Name); err != nil {
			return err
		}
		if seen[n.Name] {
			return fmt.Errorf("network %s is named twice: name each once", n.Name)
		}
		seen[n.Name] = true
		if len(n.Aliases) > maxAliases {
			return fmt.Errorf("%d aliases on network %s are too many: want at most %d", len(n.Aliases), n.Name, maxAliases)
		}
		for _, alias := range n.Aliases {
			if !isName(alias, "_-.") || strings.Contains(alias, "..") {
				return fmt.Errorf("bad alias %q on network %s: want a name as of a host, for example db", shorten(alias), n.Name)
			}
		}
	}
	return nil
}
