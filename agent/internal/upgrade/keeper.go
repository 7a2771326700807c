package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// Keeper carries out what was ordered.
type Keeper struct {
	Dir    Dir
	Socket string // of the agent
	Log    *slog.Logger

	limits limits
	agent  agent
}

// way is how piswarm is installed on a machine. Each of its steps may be done again.
type way interface {
	// unpack makes dir/new be the program that was offered.
	unpack(context.Context) error
	// keep sees to it that the old one can be had again.
	keep(context.Context) error
	// exchange installs the new one, goBack the old.
	exchange(context.Context) error
	goBack(context.Context) error
}

// agent is the process of the agent, whoever starts it.
type agent interface {
	// process is the one that answers now.
	process() (pid int, err error)
	// restart ends it, and not its containers; who looks after it starts it again.
	restart(ctx context.Context, pid int, within, look time.Duration) error
}

// Run carries out what was ordered, if anything was, and notes what came of it. An error is one of the keeper itself: it
// is to be tried again.
func (k Keeper) Run(ctx context.Context) error {
	if k.agent == nil {
		k.limits, k.agent = usual, socket{k.Socket}
	}
	unlock, ok, err := k.Dir.lock()
	if err != nil || !ok {
		return err // another one is at it
	}
	defer unlock()
	o, due, err := k.Dir.ordered()
	if err != nil || !due {
		return err
	}
	var w way = program{k.Dir, o}
	if o.Kind == client.UpgradePackage {
		w = debian{k.Dir, o}
	}
	k.Log.Info("exchanging piswarm", "from", o.From, "kind", o.Kind)
	end := k.carryOut(ctx, o, w)
	end.SHA256 = o.SHA256
	if err := ctx.Err(); err != nil {
		return err // the machine goes down: it goes on when it is up again
	}
	if err := k.Dir.write(stateFile, end); err != nil {
		return err
	}
	k.Log.Info("exchanging piswarm: "+string(end.State), "version", end.Version, "error", end.Error)
	return k.Dir.clear()
}

// carryOut tries it, and goes back if that does no good.
func (k Keeper) carryOut(ctx context.Context, o order, w way) client.UpgradeState {
	version, err := k.look(ctx, o, w)
	if err != nil {
		// Nothing was done yet; but it may have been, before a power cut.
		return k.failed(ctx, o, w, err, k.agentIs(ctx, o.From))
	}
	k.tell("installing", o)
	former, _ := k.agent.process() // 0, which is nobody's, if none answers
	if err = w.exchange(ctx); err == nil {
		k.tell("waiting for the agent", o)
		err = k.awaitHealth(ctx, version, o.Tasks, former)
	}
	if err == nil {
		return client.UpgradeState{State: client.UpgradeDone, Version: version}
	}
	return k.failed(ctx, o, w, err, false)
}

// look tries the new program, and keeps the old.
func (k Keeper) look(ctx context.Context, o order, w way) (version string, err error) {
	if sum, err := sumOf(k.Dir.path(offered)); err != nil {
		return "", err
	} else if sum != o.SHA256 {
		return "", errors.New("the file was damaged on this machine's disk: look at its SD card")
	}
	if err := w.unpack(ctx); err != nil {
		return "", fmt.Errorf("unpack it: %w", err)
	}
	if version, err = versionOf(ctx, k.Dir.path(candidate)); err != nil {
		return "", fmt.Errorf("it does not run on this machine: %w", err)
	}
	if err := w.keep(ctx); err != nil {
		return "", fmt.Errorf("keep the old one: %w", err)
	}
	return version, nil
}

// versionOf asks a program of piswarm what it is.
func versionOf(ctx context.Context, path string) (string, error) {
	out, err := ask(ctx, path, "version", "--format", "json")
	if err != nil {
		return "", err
	}
	var v struct {
		Client client.Version `json:"client"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Client.Version == "" {
		return "", fmt.Errorf("%s does not say which version of piswarm it is", path)
	}
	return v.Client.Version, nil
}

// failed goes back to the old, unless that is what is there, and says how that went.
func (k Keeper) failed(ctx context.Context, o order, w way, why error, untouched bool) client.UpgradeState {
	state := client.UpgradeState{State: client.UpgradeFailed, Version: o.From, Error: why.Error()}
	if untouched {
		return state
	}
	k.Log.Warn("going back to the former piswarm", "version", o.From, "error", why)
	k.tell("going back to "+o.From, o)
	former, _ := k.agent.process()
	err := w.goBack(ctx)
	if err == nil {
		err = k.awaitHealth(ctx, o.From, o.Tasks, former)
	}
	if err != nil {
		state.Error += fmt.Sprintf("; and back at %s it is not well either: %v", o.From, err)
	}
	return state
}

// tell notes a step, for who waits.
func (k Keeper) tell(step string, o order) {
	if err := k.Dir.write(stateFile, client.UpgradeState{State: client.UpgradeWorking, SHA256: o.SHA256, Message: step}); err != nil {
		k.Log.Warn("note how far the upgrade is", "error", err) // a full disk must not be the reason to stop half-way
	}
}

// agentIs tells whether that version answers.
func (k Keeper) agentIs(ctx context.Context, version string) bool {
	v, err := k.version(ctx)
	return err == nil && v.Version == version
}

// limits bound the wait for a new agent.
type limits struct {
	answer  time.Duration // for it to answer at all
	health  time.Duration // for all of it
	steady  time.Duration // that all has to be well
	look    time.Duration // between two looks
	restart time.Duration // for an agent to end that was asked to
}

// usual are those of a Pi Zero, which needs some seconds to start an agent.
var usual = limits{answer: 30 * time.Second, health: 2 * time.Minute, steady: 3 * time.Second, look: 500 * time.Millisecond, restart: 10 * time.Second}
