package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent/cli/amount"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// addCommon adds the flags that create and update share.
func (o *specFlags) addCommon(cmd *cobra.Command) {
	o.flags = cmd.Flags()
	o.addProcess()
	o.addResources()
	o.addPlacement(cmd)
	o.addHealth()
	o.addRestart(cmd)
	o.addReplacement(cmd, "update", "an update", []cluster.FailureAction{cluster.OnFailurePause, cluster.OnFailureContinue, cluster.OnFailureRollback},
		func(s *cluster.Spec) *cluster.UpdateConfig { return &s.Update })
	o.addReplacement(cmd, "rollback", "a rollback", []cluster.FailureAction{cluster.OnFailurePause, cluster.OnFailureContinue},
		func(s *cluster.Spec) *cluster.UpdateConfig { return &s.Rollback })
}

// addProcess adds the flags for what runs in a container, and how.
func (o *specFlags) addProcess() {
	f := o.flags
	value(o, "privileged", f.Bool("privileged", false, "give every capability and device"),
		func(s *cluster.Spec) *bool { return &s.Container.Privileged })
	value(o, "read-only", f.Bool("read-only", false, "mount the container's root file system read-only"),
		func(s *cluster.Spec) *bool { return &s.Container.ReadOnly })
	value(o, "init", f.Bool("init", false, "run an init in the containers, which forwards signals and reaps processes"),
		func(s *cluster.Spec) *bool { return &s.Container.Init })
	value(o, "user", f.StringP("user", "u", "", "`user` to run as, name or number, optionally with :group"),
		func(s *cluster.Spec) *string { return &s.Container.User })
	value(o, "workdir", f.StringP("workdir", "w", "", "working `directory` in the container"),
		func(s *cluster.Spec) *string { return &s.Container.Workdir })
	value(o, "hostname", f.String("hostname", "", "host `name` of the containers"),
		func(s *cluster.Spec) *string { return &s.Container.Hostname })
	parsed(o, "entrypoint", f.String("entrypoint", "", "`command` in place of the image's entrypoint"),
		splitFlag("--entrypoint"), func(s *cluster.Spec) *[]string { return &s.Container.Entrypoint })
	parsed(o, "stop-signal", f.String("stop-signal", "", "`signal` that ends a task (default: the image's, else SIGTERM)"),
		func(v string) (string, error) {
			if v == "" {
				return "", nil
			}
			return cluster.NormalizeSignal(v)
		}, func(s *cluster.Spec) *string { return &s.Container.StopSignal })
	grace := f.Duration("stop-grace-period", 0, "`time` a task has to end before it is killed")
	o.on(func() (change, error) {
		if *grace == 0 {
			return nil, fmt.Errorf("--stop-grace-period 0s: give a task some time, for example 1s; --stop-signal KILL ends it at once")
		}
		return func(s *cluster.Spec) error {
			s.Container.StopGracePeriod = *grace
			return nil
		}, nil
	}, "stop-grace-period")
}

// splitFlag returns the parser of a flag whose one value is several words.
func splitFlag(flag string) func(string) ([]string, error) {
	return func(v string) ([]string, error) {
		words, err := splitWords(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		return words, nil
	}
}

// addResources adds the flags for limits and reservations.
func (o *specFlags) addResources() {
	for _, r := range []struct {
		flag, usage string
		parse       func(string) (int64, error)
		at          func(*cluster.Spec) *int64
	}{
		{"limit-cpu", "most `cores` that a task may use, for example 0.5", amount.CPUs, func(s *cluster.Spec) *int64 { return &s.Resources.Limits.NanoCPUs }},
		{"limit-memory", "most `memory` that a task may use, for example 64m", amount.Memory, func(s *cluster.Spec) *int64 { return &s.Resources.Limits.MemoryBytes }},
		{"reserve-cpu", "`cores` kept free for a task", amount.CPUs, func(s *cluster.Spec) *int64 { return &s.Resources.Reservations.NanoCPUs }},
		{"reserve-memory", "`memory` kept free for a task", amount.Memory, func(s *cluster.Spec) *int64 { return &s.Resources.Reservations.MemoryBytes }},
	} {
		if o.changes {
			r.usage += "; 0 for none"
		}
		parsed(o, r.flag, o.flags.String(r.flag, "", r.usage), func(v string) (int64, error) {
			if o.changes && v == "0" {
				return 0, nil
			}
			n, err := r.parse(v)
			if err != nil {
				return 0, fmt.Errorf("--%s %q: %w", r.flag, v, err)
			}
			return n, nil
		}, r.at)
	}
	value(o, "limit-pids", o.flags.Int64("limit-pids", 0, fmt.Sprintf("most `processes` and threads that a task may have (0: %d)", cluster.DefaultPids)),
		func(s *cluster.Spec) *int64 { return &s.Resources.Pids })
}

// addPlacement adds the flags for how many tasks there are, and where.
func (o *specFlags) addPlacement(cmd *cobra.Command) {
	f := o.flags
	value(o, "replicas", f.Int("replicas", 0, "`number` of tasks, or of successes for a replicated-job"),
		func(s *cluster.Spec) *int { return &s.Replicas })
	value(o, "max-concurrent", f.Int("max-concurrent", 0, "largest `number` of a replicated-job's tasks at a time (0: all)"),
		func(s *cluster.Spec) *int { return &s.MaxConcurrent })
	value(o, "replicas-max-per-node", f.Int("replicas-max-per-node", 0, "largest `number` of tasks on one node (0: no limit)"),
		func(s *cluster.Spec) *int { return &s.Placement.MaxPerNode })
	word(o, "strategy", f.String("strategy", "", "`strategy`, spread to fill nodes evenly or binpack to fill one after another"),
		func(s *cluster.Spec) *cluster.Strategy { return &s.Placement.Strategy })
	word(o, "on-partition", f.String("on-partition", "", "what nodes cut off from most others do, `run` it all by themselves or stop it"),
		func(s *cluster.Spec) *cluster.OnPartition { return &s.OnPartition })
	completeFlag(cmd, "on-partition", string(cluster.RunOnPartition), string(cluster.StopOnPartition))
	completeFlag(cmd, "strategy", string(cluster.Spread), string(cluster.Binpack))
}

// addRestart adds the flags for what becomes of a task that ended.
func (o *specFlags) addRestart(cmd *cobra.Command) {
	f := o.flags
	word(o, "restart-condition", f.String("restart-condition", "", "restart tasks that end: `any`, on-failure or none (default any, for jobs on-failure)"),
		func(s *cluster.Spec) *cluster.RestartCondition { return &s.Restart.Condition })
	value(o, "restart-delay", f.Duration("restart-delay", 0, "`pause` before a restart (default: none at first, then longer and longer ones)"),
		func(s *cluster.Spec) *time.Duration { return &s.Restart.Delay })
	value(o, "restart-max-attempts", f.Int("restart-max-attempts", 0, "`number` of restarts after which a task is given up (0: no limit)"),
		func(s *cluster.Spec) *int { return &s.Restart.MaxAttempts })
	value(o, "restart-window", f.Duration("restart-window", 0, "`time` over which restarts are counted (0: for ever)"),
		func(s *cluster.Spec) *time.Duration { return &s.Restart.Window })
	completeFlag(cmd, "restart-condition", string(cluster.RestartAny), string(cluster.RestartOnFailure), string(cluster.RestartNone))
}

// addReplacement adds the flags for how an update, or a rollback, replaces tasks.
func (o *specFlags) addReplacement(cmd *cobra.Command, kind, what string, actions []cluster.FailureAction, at func(*cluster.Spec) *cluster.UpdateConfig) {
	f := o.flags
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = string(a)
	}
	value(o, kind+"-parallelism", f.Int(kind+"-parallelism", 0, "`number` of tasks that "+what+" replaces at a time (0: all)"),
		func(s *cluster.Spec) *int { return &at(s).Parallelism })
	value(o, kind+"-delay", f.Duration(kind+"-delay", 0, "`pause` of "+what+" between tasks"),
		func(s *cluster.Spec) *time.Duration { return &at(s).Delay })
	value(o, kind+"-monitor", f.Duration(kind+"-monitor", 0, "`time` for which "+what+" watches a new task for failure"),
		func(s *cluster.Spec) *time.Duration { return &at(s).Monitor })
	value(o, kind+"-max-failure-ratio", f.Float64(kind+"-max-failure-ratio", 0, "part of the tasks that may fail in "+what+", a `ratio` from 0 to 1"),
		func(s *cluster.Spec) *float64 { return &at(s).MaxFailureRatio })
	word(o, kind+"-failure-action", f.String(kind+"-failure-action", "", "what follows when more fail, `"+strings.Replace(strings.Join(words, " or "), " or ", "` or ", 1)),
		func(s *cluster.Spec) *cluster.FailureAction { return &at(s).FailureAction })
	word(o, kind+"-order", f.String(kind+"-order", "", "which task of two goes first, `start-first` or stop-first (default: the new one, where both can run)"),
		func(s *cluster.Spec) *cluster.Order { return &at(s).Order })
	completeFlag(cmd, kind+"-failure-action", words...)
	completeFlag(cmd, kind+"-order", string(cluster.StartFirst), string(cluster.StopFirst))
}
