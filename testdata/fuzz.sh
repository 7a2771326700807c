#!/bin/sh
# Runs each fuzz target, of these packages or of all, for FUZZTIME (10m, or a number of tries: 10000x), two at a time. What a
# target finds lies below its package's testdata/fuzz afterwards: keep it there, for every `go test` runs it from then on.
set -eu
cd "$(dirname "$0")/.."
export GO="${GO:-go}" FUZZTIME="${FUZZTIME:-10m}"

# Found by name, so that nothing is built to find it.
targets=$(grep -r --include='*_test.go' '^func Fuzz' "${@:-.}" | sed 's|^\./||; s|\(.*\)/[^/]*:func \(Fuzz[A-Za-z0-9_]*\)(.*|\1 \2|' | sort)
total=$(echo "$targets" | wc -l)
export total

# Go would make each input that is new to it smaller for a minute, in which nothing else is tried: it gets a second.
echo "$targets" | awk '{ print NR, $1, $2 }' | xargs -P 2 -L 1 sh -c '
	echo "[$1/$total] $2 $3: begins"
	log=$(mktemp)
	trap "rm -f $log" EXIT
	if "$GO" test -run "^\$" -fuzz "^$3\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s -parallel 1 "./$2" >"$log" 2>&1; then
		echo "[$1/$total] $2 $3: found nothing; $(grep elapsed: "$log" | tail -n 1 | sed "s|^fuzz: elapsed: ||")"
	else
		echo "[$1/$total] $2 $3: found something, or could not run"
		cat "$log"
		exit 1
	fi' fuzz
