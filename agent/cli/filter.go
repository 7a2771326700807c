package cli

import (
	"fmt"
	"slices"
	"strings"
)

// filter decides by docker's rules what a list shows: of values given for one key any may match, of different keys
// all must.
type filter[T any] struct {
	wanted map[string][]string
	match  map[string]matcher[T]
}

// matcher tells whether a row has the value that a filter wants of it.
type matcher[T any] func(row T, value string) bool

// parseFilter reads the values of --filter. A key that match lacks is an error.
func parseFilter[T any](args []string, match map[string]matcher[T]) (filter[T], error) {
	f := filter[T]{wanted: map[string][]string{}, match: match}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return f, fmt.Errorf("--filter %q: want KEY=VALUE", arg)
		}
		if _, ok := match[key]; !ok {
			return f, fmt.Errorf("--filter %q: unknown key %q: want one of %s", arg, key, strings.Join(filterKeys(match), ", "))
		}
		f.wanted[key] = append(f.wanted[key], value)
	}
	return f, nil
}

func filterKeys[T any](match map[string]matcher[T]) []string {
	keys := make([]string, 0, len(match))
	for key := range match {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// asks tells whether the user filters by that key.
func (f filter[T]) asks(key string) bool { return len(f.wanted[key]) > 0 }

// apply returns the rows that match, as a list that is never nil.
func (f filter[T]) apply(rows []T) []T {
	kept := make([]T, 0, len(rows))
	for _, row := range rows {
		if f.keeps(row) {
			kept = append(kept, row)
		}
	}
	return kept
}

func (f filter[T]) keeps(row T) bool {
	for key, values := range f.wanted {
		if !slices.ContainsFunc(values, func(value string) bool { return f.match[key](row, value) }) {
			return false
		}
	}
	return true
}

// hasLabel tells whether the labels have KEY or KEY=VALUE.
func hasLabel(labels map[string]string, want string) bool {
	key, value, hasValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!hasValue || got == value)
}
