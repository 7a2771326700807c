#!/bin/sh
# Installs from the machine's own Debian archive what the lab and the demo need and is not there yet; with "test" also what
# the tests need.
# usage: setup.sh [test]
set -eu
. "$(dirname "$0")/need.sh"

need containerd containerd
need runc runc
need iptables iptables
need ip iproute2
need setpriv util-linux
need pgrep procps
need curl curl
need git git
if [ "${1:-}" = test ]; then
	need wrk wrk
	need ssh openssh-client
	need docker docker.io # its client alone
	need dropbear dropbear-bin # an ssh server that comes without a service to start
	need systemd-analyze systemd
	need chromium chromium # looks at the page
	need npm npm           # fetches axe-core
	need gcc gcc # for the race detector
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
fi
install_missing
