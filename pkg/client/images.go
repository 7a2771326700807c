package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// imageSilence is how long an image may take without a byte or a word. A Pi Zero unpacks a large layer in minutes.
const imageSilence = 10 * time.Minute

// Images lists the images that the nodes hold.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var out []Image
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/images", nil, &out)
	return out, err
}

// ResolveImage finds out what a reference means now. A registry may be asked.
func (c *Client) ResolveImage(ctx context.Context, name string) (ImageResolved, error) {
	var out ImageResolved
	path := "/v1/images/resolve?" + url.Values{"name": {name}}.Encode()
	err := c.call(ctx, writeTimeout, http.MethodGet, path, nil, &out)
	return out, err
}

// TagImage gives an image that the node holds one more name.
func (c *Client) TagImage(ctx context.Context, name, target string) (Written, error) {
	var out Written
	err := c.call(ctx, writeTimeout, http.MethodPost, "/v1/images/tag", ImageTag{Name: name, Target: target}, &out)
	return out, err
}

// RemoveImage removes an image from the node that is asked.
func (c *Client) RemoveImage(ctx context.Context, name string) (Written, error) {
	var out Written
	path := "/v1/images?" + url.Values{"name": {name}}.Encode()
	err := c.call(ctx, writeTimeout, http.MethodDelete, path, nil, &out)
	return out, err
}

// LoadImages gives the agent the images of a tar file as `docker save` or an OCI builder writes it, and returns those
// that it took. The agent's steps are told to progress, which may be nil.
func (c *Client) LoadImages(ctx context.Context, tar io.Reader, progress func(Progress)) ([]cluster.Image, error) {
	return c.imageStream(ctx, "/v1/images/load", "application/x-tar", tar, progress)
}

// PullImage has the agent fetch an image from its registry. The agent's steps are told to progress, which may be nil.
func (c *Client) PullImage(ctx context.Context, image string, progress func(Progress)) ([]cluster.Image, error) {
	body, err := json.Marshal(ImagePull{Image: image})
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", image, err)
	}
	return c.imageStream(ctx, "/v1/images/pull", "application/json", bytes.NewReader(body), progress)
}

func (c *Client) imageStream(ctx context.Context, path, contentType string, body io.Reader, progress func(Progress)) ([]cluster.Image, error) {
	end, err := c.stream(ctx, imageSilence, path, contentType, body, progress)
	return end.Images, err
}
