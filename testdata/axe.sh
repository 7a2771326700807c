#!/bin/sh
# Fetches axe-core, which looks a page over for people with a keyboard, a screen reader or weak eyes. Only tests use it,
# and it is in no build: it comes by npm's own settings, and is taken only if it is these bytes.
# usage: axe.sh FILE
set -eu

version=4.14.1
sum=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
good() { [ -e "$1" ] && echo "$sum  $1" | sha256sum --check --status; }

good "$1" && exit 0
echo "fetching axe-core $version"
mkdir -p "$(dirname "$1")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd "$dir" && npm pack --silent "axe-core@$version" >/dev/null && tar -xzf axe-core-*.tgz package/axe.min.js)
if ! good "$dir/package/axe.min.js"; then
	echo "piswarm: axe-core $version is not what it was: look why before you change the sum in testdata/axe.sh" >&2
	exit 1
fi
mv "$dir/package/axe.min.js" "$1"
