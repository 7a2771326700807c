package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

// Exit codes.
const (
	exitDone         = 0
	exitError        = 1
	exitNotConverged = 2
)

// usageError is a mistake on the command line itself. Its line names the help that would have prevented it.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see %s --help", e.err, e.cmd.CommandPath())
}

func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// notConvergedError says that what was asked for is written, and why it does not run.
type notConvergedError struct {
	service string
	reason  string
}

func (e *notConvergedError) Error() string { return e.service + ": " + e.reason }

// report prints an error, one line for each of those joined in it, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	code := exitDone
	for _, err := range flatten(err) {
		var own exitCodeError
		if errors.As(err, &own) {
			return int(own)
		}
		fmt.Fprintln(a.stderr, "piswarm: "+oneLine(message(err)))
		var notConverged *notConvergedError
		switch {
		case !errors.As(err, &notConverged):
			code = exitError
		case code == exitDone:
			code = exitNotConverged
		}
	}
	return code
}

func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return err.Error()
}

// flatten returns the errors that errors.Join put together.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, flatten(err)...)
	}
	return all
}

// warn prints the warning of a write.
func (a *app) warn(w client.Written) {
	if w.Warning != "" {
		fmt.Fprintln(a.stderr, "warning: "+oneLine(w.Warning))
	}
}

// oneLine makes a line of text that may come from anywhere, a registry or a container's runtime: what would break the
// line or steer the terminal becomes a blank.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	return strings.Join(strings.Fields(s), " ")
}
