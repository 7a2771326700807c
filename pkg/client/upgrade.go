package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// upgradeSilence is how long a file of an upgrade may take without a byte on its way, or the node to look at it.
const upgradeSilence = 2 * time.Minute

// NodeUpgrade says what a node, found by its name or ID, has of piswarm, and how its last upgrade went. It comes from the
// node itself.
func (c *Client) NodeUpgrade(ctx context.Context, name string) (Upgrade, error) {
	var out Upgrade
	path, err := pathOf("/v1/nodes", name)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodGet, path+"/upgrade", nil, &out)
	return out, err
}

// UpgradeNode hands a file to a node, found by its name or ID, that installs it by itself from then on: see
// [Client.NodeUpgrade].
func (c *Client) UpgradeNode(ctx context.Context, name string, file UpgradeFile, body io.Reader) error {
	path, err := pathOf("/v1/nodes", name)
	if err != nil {
		return err
	}
	ctx, silence, stop := limitSilence(ctx, upgradeSilence)
	defer stop()
	resp, err := c.send(ctx, http.MethodPost, path+"/upgrade?"+file.Query().Encode(), "application/octet-stream", silence.reader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var out Written
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&out); err != nil {
		return fmt.Errorf("the agent's answer is not what this version of piswarm understands: %w", err)
	}
	return nil
}

// Query is how a file is described in a request.
func (f UpgradeFile) Query() url.Values {
	return url.Values{
		"kind": {string(f.Kind)}, "sha256": {f.SHA256}, "size": {strconv.FormatInt(f.Size, 10)}, "downgrade": {strconv.FormatBool(f.Downgrade)},
	}
}
