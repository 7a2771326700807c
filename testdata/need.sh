# For the setup.sh of each part, to be read by it: installs from the machine's own Debian archive what is not there yet.

PATH=$PATH:/usr/sbin:/sbin
missing=

# need COMMAND PACKAGE: the package is missing if the command is.
need() {
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

# install_missing installs all that is. The services of the packages stay off: each virtual Pi starts its own containerd.
install_missing() {
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "piswarm: missing:$missing. Install them (sudo apt-get install$missing), or run make as root" >&2
		exit 1
	fi
	echo "installing$missing"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
