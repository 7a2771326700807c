package client

import (
	"context"
	"net/http"
)

// Status returns the state of the whole cluster as this node sees it.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/status", nil, &out)
	return out, err
}

// Version returns what the agent was built from.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/version", nil, &out)
	return out, err
}

// Init makes a new cluster with this node as its first, and returns the token that lets others in.
func (c *Client) Init(ctx context.Context, init Init) (Token, error) {
	var out Token
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/init", init, &out)
	return out, err
}

// Join makes this node a member of the cluster that the token belongs to.
func (c *Client) Join(ctx context.Context, join Join) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/join", join, &out)
	return out, err
}

// Leave takes this node out of its cluster.
func (c *Client) Leave(ctx context.Context) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/leave", nil, &out)
	return out, err
}

// Token returns the secret that lets nodes into the cluster.
func (c *Client) Token(ctx context.Context) (Token, error) {
	var out Token
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/token", nil, &out)
	return out, err
}
