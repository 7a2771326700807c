#!/bin/sh
# The main job, start to end, on three virtual Pis: nobody types an address or a token.
# usage: demo.sh PISWARM GREETER-IMAGE-TAR
set -eu

piswarm=$1
image=$2
if [ "$(id -u)" != 0 ]; then
	echo "piswarm: the lab makes network namespaces and needs root: sudo make demo" >&2
	exit 1
fi

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
on() { # HOST COMMAND…
	host=$1
	shift
	"$piswarm" lab exec "$host" -- "$@"
}
trap '"$piswarm" lab down >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM

say 'three virtual Pis are switched on'
"$piswarm" lab up --nodes 3 --forward 7948
until on pi1 piswarm status 2>/dev/null | grep -q '3 nodes'; do sleep 0.1; done
until [ "$(on pi1 piswarm status | grep -c ' ready ')" = 3 ]; do sleep 0.1; done
on pi1 piswarm status

say 'the greeter image is loaded on pi1 only'
on pi1 piswarm image load <"$image"

say 'piswarm service create --name greeters --publish 9000:5000 greeter'
on pi1 piswarm service create --name greeters --publish 9000:5000 greeter

say 'piswarm scale greeters 4'
on pi2 piswarm scale greeters 4
on pi2 piswarm ps greeters

say 'the laptop asks pi2 eight times'
answers=$(for _ in 1 2 3 4 5 6 7 8; do on laptop curl -sS --max-time 5 http://pi2:9000/; done)
echo "$answers"
first=$(echo "$answers" | sed -n 1,4p)
if [ "$first" != "$(echo "$answers" | sed -n 5,8p)" ] || [ "$(echo "$first" | sort -u | wc -l)" != 4 ]; then
	echo 'piswarm: these are not four hosts, each twice, in order' >&2
	exit 1
fi

say 'one container is killed'
node=$(on pi1 piswarm ps greeters --format '{{.Node}}' | head -n 1)
task=$(on pi1 piswarm ps greeters --no-trunc -q | head -n 1)
# The node of the container is watched from before the kill, as fast as it answers: it is all over in a blink.
seen=$(mktemp)
on "$node" timeout 30 sh -c '
	while now=$(piswarm ls --filter name=greeters --format "{{.Name}} {{.Replicas}}") && echo "$now"; do
		case $now in
		*" 4/4") [ -z "$fewer" ] || exit 0 ;;
		*) fewer=yes ;;
		esac
	done' >"$seen" &
watch=$!
sleep 0.5
on "$node" ctr --namespace piswarm task kill --signal SIGKILL "$task"
back=yes
wait $watch || back=no
uniq "$seen"
if [ $back = no ]; then
	echo 'piswarm: the container did not come back' >&2
	exit 1
fi
rm -f "$seen"

say 'piswarm rm greeters'
on pi2 piswarm rm greeters
until [ -z "$(on pi1 piswarm ps -q)" ]; do sleep 0.1; done
on pi1 piswarm status

say 'the lab is taken down'
"$piswarm" lab down
trap - EXIT
echo 'Nothing is left of it. Try it yourself: piswarm lab up --forward 9000'
