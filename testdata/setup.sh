#!/bin/sh
# Installs from the machine's own Debian archive what the lab and the demo need and is not there yet; with "test" also what
# the tests need.
# usage: setup.sh [test]
set -eu

missing=
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH=$PATH:/usr/sbin:/sbin
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

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "piswarm: missing:$missing. Install them (sudo apt-get install$missing), or run make as root" >&2
	exit 1
fi
echo "installing$missing"
apt-get update -qq
# The services of these packages stay off: the lab starts its own containerd for each virtual Pi.
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
