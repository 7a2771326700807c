#!/bin/sh
# Builds this commit twice, in two directories and with two empty caches, and compares what comes out: the same commit
# must make the same bytes wherever it is built.
# usage: reproducible.sh [GOARCH [GOARM]]
set -eu

GO=${GO:-go} arch=${1:-arm} arm=${2:-6}
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
for place in one another/and/a/longer/one; do
	mkdir -p "$scratch/$place"
	git archive HEAD | tar -x -C "$scratch/$place"
	(
		cd "$scratch/$place"
		GOCACHE=$scratch/cache-${place%%/*} GOFLAGS= GOOS=linux GOARCH=$arch GOARM=$arm CGO_ENABLED=0 \
			"$GO" build -trimpath -buildvcs=false -ldflags "${LDFLAGS:-}" -o piswarm ./agent/cmd/piswarm
		sha256sum piswarm
	)
done
cmp "$scratch/one/piswarm" "$scratch/another/and/a/longer/one/piswarm"
