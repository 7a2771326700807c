#!/bin/sh
# Looks for holes that are known in what the program is made of, and that it can run into. The records of Go's vulnerability
# database come from the module proxy, as every other module: newest as there are. Without them this fails; what was not
# looked at must not pass. GOVULNDB, where it is set, names another database.
set -eu

GO=${GO:-go}
mkdir -p build
root=$(pwd)
if [ -z "${GOVULNDB:-}" ]; then
	# From / no go.mod has a say in the version.
	found=$(cd / && GOFLAGS=-mod=mod "$GO" mod download -json golang.org/x/vulndb@latest) || {
		printf '%s\n' "$found" >&2
		echo 'vuln: the records cannot be had, so NOTHING WAS CHECKED: set GOPROXY, or GOVULNDB to a database' >&2
		exit 1
	}
	field() { printf '%s\n' "$found" | sed -n "s/.*\"$1\": \"\\(.*\\)\".*/\\1/p"; }
	GOVULNDB=file://$(field Dir)/data/osv
	echo "records of $(field Version), $(ls "${GOVULNDB#file://}" | wc -l) of them"
fi
"$GO" build -C cross/tools -trimpath -o "$root/build/govulncheck" golang.org/x/vuln/cmd/govulncheck
GOOS=linux CGO_ENABLED=0 build/govulncheck -db "$GOVULNDB" ${VULN_FLAGS:-} "${@:-./agent/cmd/piswarm}"
