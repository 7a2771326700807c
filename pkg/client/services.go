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

// ServiceDetails returns all that is known of each service.
func (c *Client) ServiceDetails(ctx context.Context) ([]Service, error) {
	var out []Service
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/services?detail=true", nil, &out)
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

// UpdateService replaces the spec of a service. It returns when the wish is written, not when its tasks follow.
func (c *Client) UpdateService(ctx context.Context, name string, update ServiceUpdate) (Written, error) {
	var out Written
	path, err := pathOf("/v1/services", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, createTimeout, http.MethodPut, path, update, &out)
	return out, err
}

// RollbackService gives a service back the spec that it had before its last update. It returns when the wish is written.
func (c *Client) RollbackService(ctx context.Context, name string) (Written, error) {
	return c.rollback(ctx, name, "")
}

// RollbackServiceFrom is RollbackService of a service whose record is still of that version.
func (c *Client) RollbackServiceFrom(ctx context.Context, name, version string) (Written, error) {
	return c.rollback(ctx, name, "?"+url.Values{"version": {version}}.Encode())
}

func (c *Client) rollback(ctx context.Context, name, query string) (Written, error) {
	var out Written
	path, err := pathOf("/v1/services", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, writeTimeout, http.MethodPost, path+"/rollback"+query, nil, &out)
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
	return c.tasks(ctx, service, url.Values{})
}

// TaskHistory is Tasks and, after each, what its nodes remember of the tasks before it.
func (c *Client) TaskHistory(ctx context.Context, service string) ([]Task, error) {
	return c.tasks(ctx, service, url.Values{"history": {"true"}})
}

func (c *Client) tasks(ctx context.Context, service string, query url.Values) ([]Task, error) {
	var out []Task
	path := "/v1/tasks"
	if service != "" {
		query.Set("service", service)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	err := c.call(ctx, readTimeout, http.MethodGet, path, nil, &out)
	return out, err
}
