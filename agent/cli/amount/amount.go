// Package amount reads the amounts of memory and processors that the command line is given. It is apart from the rest of
// the command line, which imports so much that little of it could be tried while its fuzz target runs.
package amount

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/docker/go-units"
)

// Memory reads a number of bytes, as docker writes it: 64m, 1g.
func Memory(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("want an amount such as 64m or 1g")
	}
	return n, nil
}

// CPUs reads a number of cores and returns billionths of one. A fraction of it that is no whole billionth is
// refused rather than rounded.
func CPUs(s string) (int64, error) {
	cores, ok := new(big.Rat).SetString(s)
	if !ok || cores.Sign() <= 0 || strings.ContainsAny(s, "/_") {
		return 0, fmt.Errorf("want a number of cores such as 0.5 or 2")
	}
	nano := cores.Mul(cores, big.NewRat(1e9, 1))
	if !nano.IsInt() || !nano.Num().IsInt64() || nano.Num().Int64() > math.MaxInt64/2 {
		return 0, fmt.Errorf("want a number of cores such as 0.5 or 2, with at most nine decimals")
	}
	return nano.Num().Int64(), nil
}
