package upgrade

import (
	"context"
	"os"
)

// program is the way of a machine on which piswarm is a file and no package: the file is replaced.
type program struct {
	dir   Dir
	order order
}

func (p program) unpack(context.Context) error {
	if err := link(p.dir.path(offered), p.dir.path(candidate)); err != nil {
		return err
	}
	return os.Chmod(p.dir.path(candidate), 0o755)
}

// keep has nothing to do: the keeper is the old program.
func (p program) keep(context.Context) error { return nil }

func (p program) exchange(context.Context) error {
	return replace(p.dir.path(candidate), p.order.Program)
}

func (p program) goBack(context.Context) error { return replace(p.dir.path(keeper), p.order.Program) }
