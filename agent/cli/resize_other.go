//go:build !unix

package cli

import "context"

// onResize does nothing: here nobody tells that a terminal has another size.
func onResize(context.Context, func()) (stop func()) { return func() {} }
