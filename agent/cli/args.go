package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noArgs, minArgs and exactArgs check the number of arguments and say in the command's own words what is missing.

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf(cmd, "%s takes no arguments, but got %q", cmd.Name(), args[0])
	}
	return nil
}

func minArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageErrorf(cmd, "%s needs %s", cmd.Name(), what)
		}
		return nil
	}
}

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageErrorf(cmd, "%s needs %s", cmd.Name(), what)
		}
		if len(args) > n {
			return usageErrorf(cmd, "%s takes %s, but got also %q", cmd.Name(), what, args[n])
		}
		return nil
	}
}

// flagError says what is wrong with a flag. What strconv says of a value is for programmers.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		want := map[string]string{"int": "a whole number", "float64": "a number such as 0.2", "duration": "a time such as 10s", "bool": "true or false"}
		if w, ok := want[bad.GetFlag().Value.Type()]; ok {
			err = fmt.Errorf("--%s %q: want %s", bad.GetFlag().Name, bad.GetValue(), w)
		}
	}
	return &usageError{cmd, err}
}
