package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// specFlags are flags that set parts of a service's spec, for the commands that make one and that change one. A flag
// that is not given leaves its part alone.
type specFlags struct {
	flags   *pflag.FlagSet
	changes bool // an existing spec, so that there is something to take away
	effects []effect
}

// change is what flags do to a spec.
type change func(*cluster.Spec) error

// effect is what one flag does, or a few that go together.
type effect struct {
	flags []string
	read  func() (change, error)
}

// on adds the effect of flags. Effects come in this order, whatever the order on the command line.
func (o *specFlags) on(read func() (change, error), flags ...string) {
	o.effects = append(o.effects, effect{flags, read})
}

// read reads the flags that were given. It asks nobody, so that a mistake is found before anything happens.
func (o *specFlags) read() (change, error) {
	var all []change
	for _, e := range o.effects {
		if !slices.ContainsFunc(e.flags, o.flags.Changed) {
			continue
		}
		c, err := e.read()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return func(s *cluster.Spec) error {
		for _, c := range all {
			if err := c(s); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// given tells whether any of the flags was.
func (o *specFlags) given() bool {
	return slices.ContainsFunc(o.effects, func(e effect) bool { return slices.ContainsFunc(e.flags, o.flags.Changed) })
}

// value adds the effect of a flag whose value is taken as it stands.
func value[T any](o *specFlags, flag string, v *T, at func(*cluster.Spec) *T) {
	o.on(func() (change, error) {
		return func(s *cluster.Spec) error {
			*at(s) = *v
			return nil
		}, nil
	}, flag)
}

// word is value for one of a few words; the spec's own check knows which.
func word[T ~string](o *specFlags, flag string, v *string, at func(*cluster.Spec) *T) {
	parsed(o, flag, v, func(s string) (T, error) { return T(s), nil }, at)
}

// parsed adds the effect of a flag whose value is read by parse.
func parsed[T any](o *specFlags, flag string, v *string, parse func(string) (T, error), at func(*cluster.Spec) *T) {
	o.on(func() (change, error) {
		read, err := parse(*v)
		return func(s *cluster.Spec) error {
			*at(s) = read
			return nil
		}, err
	}, flag)
}

// listed adds the effect of a flag that may be given several times.
func listed[T any](o *specFlags, flag string, v *[]string, parse func(string) (T, error), do func(*cluster.Spec, []T) error) {
	o.on(func() (change, error) {
		all, err := each(*v, parse)
		return func(s *cluster.Spec) error { return do(s, all) }, err
	}, flag)
}

// showDefault has the help of a flag say what holds where it is not given.
func showDefault(cmd *cobra.Command, flag string, value any) {
	cmd.Flags().Lookup(flag).DefValue = fmt.Sprint(value)
}

// each applies parse to all arguments and stops at the first bad one.
func each[T any](args []string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, arg := range args {
		v, err := parse(arg)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
