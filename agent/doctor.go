package agent

import (
	"context"

	"github.com/piswarm/piswarm/agent/internal/doctor"
)

// Finding is what an examination says of one thing.
type Finding = doctor.Finding

// Examine looks at everything on this machine that a node needs or suffers from. No agent has to run.
func Examine(ctx context.Context) []Finding { return doctor.Examine(ctx, doctor.This()) }
