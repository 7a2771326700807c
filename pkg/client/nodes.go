package client

import (
	"context"
	"net/http"
)

// Nodes lists the nodes of the cluster.
func (c *Client) Nodes(ctx context.Context) ([]NodeStatus, error) {
	var out []NodeStatus
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/nodes", nil, &out)
	return out, err
}

// NodeDetails returns all that is known of each node.
func (c *Client) NodeDetails(ctx context.Context) ([]Node, error) {
	var out []Node
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/nodes?detail=true", nil, &out)
	return out, err
}

// Waiting lists the nodes of the agent's LAN that say that they are in no cluster. Anyone on the LAN can say so: they are
// for people to see, and are admitted by other means.
func (c *Client) Waiting(ctx context.Context) ([]NodeStatus, error) {
	var out []NodeStatus
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/waiting", nil, &out)
	return out, err
}

// Node returns all that is known of a node, found by its name or ID.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	var out Node
	path, err := pathOf("/v1/nodes", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodGet, path, nil, &out)
	return out, err
}

// UpdateNode changes the settings of a node, found by its name or ID.
func (c *Client) UpdateNode(ctx context.Context, name string, update NodeUpdate) (Written, error) {
	var out Written
	path, err := pathOf("/v1/nodes", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, writeTimeout, http.MethodPatch, path, update, &out)
	return out, err
}

// RemoveNode forgets a node that is gone for good, found by its name or ID. One that is ready is refused unless forced.
func (c *Client) RemoveNode(ctx context.Context, name string, force bool) (Written, error) {
	var out Written
	path, err := pathOf("/v1/nodes", name)
	if err != nil {
		return out, err
	}
	if force {
		path += "?force=true"
	}
	err = c.call(ctx, writeTimeout, http.MethodDelete, path, nil, &out)
	return out, err
}
