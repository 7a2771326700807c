#!/bin/sh
# Runs each fuzz target of this module for FUZZTIME (10m), of those packages or of all. What a target finds lies below its
# package's testdata/fuzz afterwards: keep it there, it is run by every `go test` from then on.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
time=${FUZZTIME:-10m}
# All by name: a package without one costs no build.
packages=$(grep -rl --include='*_test.go' '^func Fuzz' "${@:-.}" | xargs -n 1 dirname | sort -u)
all=$(for package in $packages; do
	sed -n "s|^func \(Fuzz[A-Za-z0-9_]*\)(.*|$package \1|p" "$package"/*_test.go
done)
total=$(echo "$all" | wc -l)
n=0
failed=
echo "$all" | {
	while read -r package target; do
		n=$((n + 1))
		echo "[$n/$total] $package $target, $time"
		# Go would make each input that is new to it smaller for a minute, in which nothing else is tried.
		"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s -parallel "${PARALLEL:-2}" "./$package" || failed="$failed $target"
	done
	if [ -n "$failed" ]; then
		echo "these targets found something:$failed" >&2
		exit 1
	fi
}
