package compose

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func (c *converter) resources(s types.ServiceConfig, deploy *types.DeployConfig, spec *cluster.Spec) error {
	r := &spec.Resources
	// The older words for the same; the library refuses two that contradict each other.
	r.Limits = cluster.Amount{MemoryBytes: int64(s.MemLimit), NanoCPUs: nanoCPUs(s.CPUS)}
	r.Reservations.MemoryBytes, r.Pids = int64(s.MemReservation), s.PidsLimit
	if l := deploy.Resources.Limits; l != nil {
		take(&r.Limits, *l)
		if l.Pids != 0 {
			r.Pids = l.Pids
		}
	}
	if l := deploy.Resources.Reservations; l != nil {
		take(&r.Reservations, *l)
	}
	return nil
}

func take(a *cluster.Amount, r types.Resource) {
	if r.MemoryBytes != 0 {
		a.MemoryBytes = int64(r.MemoryBytes)
	}
	if r.NanoCPUs != 0 {
		a.NanoCPUs = nanoCPUs(float32(r.NanoCPUs))
	}
}

// nanoCPUs: the library has processors as a number of few digits.
func nanoCPUs(processors float32) int64 {
	exact, err := strconv.ParseFloat(strconv.FormatFloat(float64(processors), 'f', -1, 32), 64)
	if err != nil {
		exact = float64(processors)
	}
	return int64(exact * 1e9)
}

func (c *converter) placement(_ types.ServiceConfig, deploy *types.DeployConfig, spec *cluster.Spec) error {
	for _, text := range deploy.Placement.Constraints {
		constraint, err := cluster.ParseConstraint(text)
		if err != nil {
			return err
		}
		spec.Placement.Constraints = append(spec.Placement.Constraints, constraint)
	}
	for _, preference := range deploy.Placement.Preferences {
		spread, err := cluster.ParseSpread("spread=" + preference.Spread)
		if err != nil {
			return err
		}
		spec.Placement.Spread = append(spec.Placement.Spread, spread)
	}
	spec.Placement.MaxPerNode = bounded(deploy.Placement.MaxReplicas)
	return nil
}

// bounded keeps a number that is refused as too large from becoming a small one.
func bounded(n uint64) int { return int(min(n, 1<<30)) }

// restart takes what docker compose goes by where the file says nothing for a cluster.
func (c *converter) restart(s types.ServiceConfig, deploy *types.DeployConfig, spec *cluster.Spec) error {
	if p := deploy.RestartPolicy; p != nil {
		spec.Restart.Condition = cluster.RestartCondition(p.Condition)
		if p.Delay != nil {
			spec.Restart.Delay = time.Duration(*p.Delay)
		}
		if p.MaxAttempts != nil {
			spec.Restart.MaxAttempts = bounded(*p.MaxAttempts)
		}
		if p.Window != nil {
			spec.Restart.Window = time.Duration(*p.Window)
		}
		return nil
	}
	word, attempts, _ := strings.Cut(s.Restart, ":")
	switch word {
	case "":
	case "no":
		spec.Restart.Condition = cluster.RestartNone
	case "always", "unless-stopped":
		spec.Restart.Condition = cluster.RestartAny
	case "on-failure":
		spec.Restart.Condition = cluster.RestartOnFailure
		if attempts != "" {
			n, err := strconv.ParseUint(attempts, 10, 20)
			if err != nil {
				return fmt.Errorf("restart %q: want for example on-failure:3", s.Restart)
			}
			spec.Restart.MaxAttempts = int(n)
		}
	default:
		return fmt.Errorf("restart %q: want no, always, unless-stopped or on-failure", s.Restart)
	}
	return nil
}

func (c *converter) updates(_ types.ServiceConfig, deploy *types.DeployConfig, spec *cluster.Spec) error {
	spec.Update, spec.Rollback = updateConfig(deploy.UpdateConfig), updateConfig(deploy.RollbackConfig)
	return nil
}

func updateConfig(u *types.UpdateConfig) cluster.UpdateConfig {
	out := cluster.UpdateConfig{}.WithDefaults()
	if u == nil {
		return out
	}
	if u.Parallelism != nil {
		out.Parallelism = bounded(*u.Parallelism)
	}
	if u.FailureAction != "" {
		out.FailureAction = cluster.FailureAction(u.FailureAction)
	}
	if u.Monitor != 0 {
		out.Monitor = time.Duration(u.Monitor)
	}
	out.Delay, out.Order = time.Duration(u.Delay), cluster.Order(u.Order)
	ratio, err := strconv.ParseFloat(strconv.FormatFloat(float64(u.MaxFailureRatio), 'f', -1, 32), 64)
	if err == nil {
		out.MaxFailureRatio = ratio
	}
	return out
}
