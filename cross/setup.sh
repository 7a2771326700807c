#!/bin/sh
# Installs from the machine's own Debian archive what the test of the packages needs and is not there yet.
set -eu
. "$(dirname "$0")/../testdata/need.sh"

need mmdebstrap mmdebstrap
need lintian lintian
need systemd-nspawn systemd-container
need wrk wrk
need curl curl
need ip iproute2
install_missing
