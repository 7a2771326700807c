package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/piswarm/piswarm/pkg/client"
)

// The agent knows services by name alone, and nodes by name or whole ID. People also have what --quiet and create
// printed: an ID or the beginning of one. The resolve functions turn that into what the agent knows; a word that
// means nothing is left as it is, for the agent to say so.

func resolveServices(ctx context.Context, c *client.Client, words []string) ([]string, error) {
	services, err := c.Services(ctx)
	if err != nil {
		return nil, err
	}
	return resolve("service", serviceIdentities(services), words)
}

func serviceIdentities(services []client.ServiceStatus) []identity {
	known := make([]identity, len(services))
	for i, s := range services {
		known[i] = identity{name: s.Name, id: s.ID, key: s.Name}
	}
	return known
}

func resolveNodes(ctx context.Context, c *client.Client, words []string) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	known := make([]identity, len(nodes))
	for i, n := range nodes {
		known[i] = identity{name: n.Name, id: n.ID, key: n.ID}
	}
	return resolve("node", known, words)
}

// identity is how a thing can be called, and the key by which the agent knows it for certain.
type identity struct{ name, id, key string }

func resolve(what string, known []identity, words []string) ([]string, error) {
	resolved := make([]string, len(words))
	for i, word := range words {
		key, err := resolveOne(what, known, word)
		if err != nil {
			return nil, err
		}
		resolved[i] = key
	}
	return resolved, nil
}

// resolveOne prefers a name to an ID, and a whole ID to the beginning of one.
func resolveOne(what string, known []identity, word string) (string, error) {
	if word == "" {
		return "", fmt.Errorf("a %s cannot have an empty name", what)
	}
	for _, k := range known {
		if k.name == word {
			return word, nil
		}
	}
	for _, k := range known {
		if k.id == word {
			return k.key, nil
		}
	}
	found := ""
	for _, k := range known {
		if !strings.HasPrefix(k.id, word) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%q is the beginning of several %s IDs: write more of it, or the name", word, what)
		}
		found = k.key
	}
	if found == "" {
		return word, nil
	}
	return found, nil
}
