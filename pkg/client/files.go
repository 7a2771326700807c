package client

import (
	"context"
	"net/http"
)

// Secrets lists the secrets of the cluster, without their values: those leave a node only as files of its containers.
func (c *Client) Secrets(ctx context.Context) ([]File, error) {
	var out []File
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/secrets", nil, &out)
	return out, err
}

// Secret returns all that is shown of a secret.
func (c *Client) Secret(ctx context.Context, name string) (File, error) {
	return get[File](ctx, c, "/v1/secrets", name)
}

// CreateSecret makes a secret. It is sealed on the node that is asked, before that keeps it or hands it on.
func (c *Client) CreateSecret(ctx context.Context, in FileCreate) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/secrets", in, &out)
	return out, err
}

// RemoveSecret removes a secret that no service uses.
func (c *Client) RemoveSecret(ctx context.Context, name string) (Written, error) {
	return remove(ctx, c, "/v1/secrets", name)
}

// SameSecret is an error unless a secret has those labels and that value already.
func (c *Client) SameSecret(ctx context.Context, in FileCreate) (Written, error) {
	return c.same(ctx, "/v1/secrets", in)
}

// Configs lists the configs of the cluster, without their data.
func (c *Client) Configs(ctx context.Context) ([]File, error) {
	var out []File
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/configs", nil, &out)
	return out, err
}

// Config returns a config, with its data.
func (c *Client) Config(ctx context.Context, name string) (Config, error) {
	return get[Config](ctx, c, "/v1/configs", name)
}

// CreateConfig makes a config.
func (c *Client) CreateConfig(ctx context.Context, in FileCreate) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/configs", in, &out)
	return out, err
}

// RemoveConfig removes a config that no service uses.
func (c *Client) RemoveConfig(ctx context.Context, name string) (Written, error) {
	return remove(ctx, c, "/v1/configs", name)
}

// SameConfig is an error unless a config has those labels and that data already.
func (c *Client) SameConfig(ctx context.Context, in FileCreate) (Written, error) {
	return c.same(ctx, "/v1/configs", in)
}

// same puts a secret or a config where none may be changed: what is there already is well, all else is refused.
func (c *Client) same(ctx context.Context, collection string, in FileCreate) (Written, error) {
	var out Written
	path, err := pathOf(collection, in.Name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodPut, path, in, &out)
	return out, err
}

func get[T any](ctx context.Context, c *Client, collection, name string) (T, error) {
	var out T
	path, err := pathOf(collection, name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodGet, path, nil, &out)
	return out, err
}

func remove(ctx context.Context, c *Client, collection, name string) (Written, error) {
	var out Written
	path, err := pathOf(collection, name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, writeTimeout, http.MethodDelete, path, nil, &out)
	return out, err
}
