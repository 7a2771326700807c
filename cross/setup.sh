#!/bin/sh
# Installs from the machine's own Debian archive what the test of the packages needs and is not there yet.
set -eu

missing=
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH=$PATH:/usr/sbin:/sbin
need mmdebstrap mmdebstrap
need lintian lintian
need systemd-nspawn systemd-container
need wrk wrk
need curl curl
need ip iproute2

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "piswarm: missing:$missing. Install them (sudo apt-get install$missing), or run make as root" >&2
	exit 1
fi
echo "installing$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
