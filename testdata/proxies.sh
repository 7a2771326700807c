#!/bin/sh
# Fetches from the machine's own Debian archive what `make bench` compares a published port with, and the load generator ab.
# The proxies are only taken out of their packages: installed, they would bring a docker daemon and a web server.
# usage: proxies.sh DIRECTORY
set -eu

mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ -e "$dir/docker-proxy" ] && [ -e "$dir/nginx" ] && [ -e "$dir/ngx_stream_module.so" ] && command -v ab >/dev/null 2>&1 && exit 0
apt-get update -qq
if ! command -v ab >/dev/null 2>&1; then
	echo "installing apache2-utils"
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends apache2-utils >/dev/null
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
chmod 755 "$packages" # apt fetches as another user
(cd "$packages" && apt-get download -qq docker.io nginx libnginx-mod-stream)
for package in "$packages"/*.deb; do
	dpkg-deb --extract "$package" "$packages/root"
done
cd "$packages/root/usr"
cp sbin/docker-proxy sbin/nginx lib/nginx/modules/ngx_stream_module.so "$dir"
