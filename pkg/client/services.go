package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Services lists the services of the cluster.
func (c *Client) Services(ctx context.Context) ([]ServiceStatus, error) {
	var out []ServiceStatus
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/services", nil, &out)
	return out, err
}

// Service returns all that is known of a service.
func (c *Client) Service(ctx context.Context, name string) (Service, error) {
	var out Service
	path, err := pathOf("/v1/services", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodGet, path, nil, &out)
	return out, err
}

// CreateService adds a service. It returns when the wish is written, not when its tasks run.
func (c *Client) CreateService(ctx context.Context, spec cluster.Spec) (Written, error) {
	var out Written
	err := c.call(ctx, createTimeout, http.MethodPost, "/v1/services", spec, &out)
	return out, err
}

// ScaleService changes how many tasks a replicated service has. It returns when the wish is written.
func (c *Client) ScaleService(ctx context.Context, name string, replicas int) (Written, error) {
	var out Written
	path, err := pathOf("/v1/services", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, writeTimeout, http.MethodPost, path+"/scale", Scale{Replicas: replicas}, &out)
	return out, err
}

// RemoveService removes a service. It returns when the wish is written; its tasks end afterwards.
func (c *Client) RemoveService(ctx context.Context, name string) (Written, error) {
	var out Written
	path, err := pathOf("/v1/services", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, writeTimeout, http.MethodDelete, path, nil, &out)
	return out, err
}

// Tasks lists the tasks of a service, or of all services if the name is empty.
func (c *Client) Tasks(ctx context.Context, service string) ([]Task, error) {
	var out []Task
	path := "/v1/tasks"
	if service != "" {
		path += "?" + url.Values{"service": {service}}.Encode()
	}
	err := c.call(ctx, readTimeout, http.MethodGet, path, nil, &out)
	return out, err
}
