package client

import (
	"context"
	"errors"
	"net/http"
	"time"
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

// rotateSilence is how long a change of the token may go on without a word.
const rotateSilence = 2 * time.Minute

// RotateToken moves the cluster to a new token. The agent's steps are told to progress, which may be nil.
func (c *Client) RotateToken(ctx context.Context, progress func(Progress)) (Rotation, error) {
	end, err := c.stream(ctx, rotateSilence, "/v1/token/rotate", "application/json", http.NoBody, progress)
	if err == nil && end.Rotation == nil {
		err = errors.New("the agent's answer to POST /v1/token/rotate has no token in it")
	}
	if err != nil {
		return Rotation{}, err
	}
	return *end.Rotation, nil
}

// Token returns the secret that lets nodes into the cluster.
func (c *Client) Token(ctx context.Context) (Token, error) {
	var out Token
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/token", nil, &out)
	return out, err
}
