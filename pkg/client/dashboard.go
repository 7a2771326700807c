package client

import (
	"context"
	"net/http"
)

// DashboardInvite is the body of POST /v1/dashboard.
type DashboardInvite struct {
	Write bool `json:"write"` // the browser may change things, too
}

// DashboardLink is the answer of POST /v1/dashboard.
type DashboardLink struct {
	// URL opens the page of the node that was asked and signs one browser in. It works once, and a quarter of an hour.
	URL string `json:"url"`
}

// Dashboard makes a link that signs one browser in to the page of the node: to look, or to write too.
func (c *Client) Dashboard(ctx context.Context, write bool) (DashboardLink, error) {
	var out DashboardLink
	err := c.call(ctx, readTimeout, http.MethodPost, "/v1/dashboard", DashboardInvite{write}, &out)
	return out, err
}

// MetricsToken returns what lets who has it read the metrics of every node on port 7948, as a bearer token.
func (c *Client) MetricsToken(ctx context.Context) (Token, error) {
	var out Token
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/token/metrics", nil, &out)
	return out, err
}
