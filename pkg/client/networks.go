package client

import (
	"context"
	"net/http"
)

// Networks lists the networks of the cluster.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	var out []Network
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/networks", nil, &out)
	return out, err
}

// Network returns a network.
func (c *Client) Network(ctx context.Context, name string) (Network, error) {
	return get[Network](ctx, c, "/v1/networks", name)
}

// CreateNetwork makes a network.
func (c *Client) CreateNetwork(ctx context.Context, in NetworkCreate) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/networks", in, &out)
	return out, err
}

// RemoveNetwork removes a network that no service belongs to.
func (c *Client) RemoveNetwork(ctx context.Context, name string) (Written, error) {
	return remove(ctx, c, "/v1/networks", name)
}
