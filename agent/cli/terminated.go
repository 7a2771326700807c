package cli

import "errors"

// ErrTerminated is the cause of a context that ends because the program got SIGTERM.
var ErrTerminated = errors.New("terminated")
