package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/upgrade"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func upgradeDir(paths Paths) upgrade.Dir { return upgrade.Dir(filepath.Join(paths.Data, "upgrade")) }

// Upgrade exchanges this machine's piswarm for another one, if the agent was given one. It is a process beside the agent.
func Upgrade(ctx context.Context, paths Paths, log *slog.Logger) error {
	return upgrade.Keeper{Dir: upgradeDir(paths), Socket: filepath.Join(paths.Run, "piswarm.sock"), Log: log}.Run(ctx)
}

// upgrades hands nodes another piswarm, and asks them how that goes.
type upgrades struct{ *session }

func (u upgrades) Installed(ctx context.Context, node string) (client.Upgrade, error) {
	if node == u.store.Self() {
		return u.agent.upgrade.Installed(ctx)
	}
	var out client.Upgrade
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, peers.BaseURL(node)+api.UpgradePath, http.NoBody)
	if err != nil {
		return out, err
	}
	answer, err := u.send(node, request)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(answer, &out)
}

func (u upgrades) Install(ctx context.Context, node string, file client.UpgradeFile, body io.Reader) error {
	if node == u.store.Self() {
		return u.take(ctx, file, body)
	}
	url := peers.BaseURL(node) + api.UpgradePath + "?" + file.Query().Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	request.ContentLength = file.Size
	_, err = u.send(node, request)
	return err
}

// send asks a node. One that answers with a refusal is taken at its word.
func (u upgrades) send(node string, request *http.Request) ([]byte, error) {
	answer, err := u.peers.Do(node, request, api.MaxUpgradeAnswer)
	switch {
	case peers.Refused(err):
		if version := u.reader.View().Reports[node].Node.Version; version != "" && version != Version {
			err = fmt.Errorf("%w (it has piswarm %s)", err, version)
		}
		return nil, api.Refusal(err)
	case err != nil:
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	return answer, nil
}

// take takes in a file for this node.
func (u upgrades) take(ctx context.Context, file client.UpgradeFile, body io.Reader) error {
	var running []string
	for _, t := range u.reader.View().Reports[u.store.Self()].Tasks {
		if t.State == cluster.Running {
			running = append(running, t.ID)
		}
	}
	err := u.agent.upgrade.Take(ctx, file, body, running)
	if errors.Is(err, upgrade.ErrRefused) {
		return api.Refusal(err)
	}
	return err
}
