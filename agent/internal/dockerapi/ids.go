package dockerapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
)

// idLength is that of docker's IDs of all that belongs to a swarm. Those of services, tasks, secrets, configs and networks
// have it here, too.
const idLength = 25

// filler makes an ID of another length one of docker's. Its beginning stays, so that it can be typed in short in both
// worlds, and what it was can be read off it.
const filler = "zpiswarmzpiswarmzpiswarmz"

// swarmID is an ID of docker's length for one that may be shorter, as those of nodes and clusters are.
func swarmID(id string) string {
	id = strings.ToLower(id)
	if id == "" || len(id) >= idLength {
		return id
	}
	return id + filler[:idLength-len(id)]
}

// ownID is what swarmID was made of.
func ownID(id string) string {
	for n := min(len(filler), len(id)-1); n > 0 && len(id) == idLength; n-- {
		if rest, ok := strings.CutSuffix(id, filler[:n]); ok {
			return rest
		}
	}
	return id
}

// lifeID names what a task was from a start to an end. The task itself goes on under its own ID.
func lifeID(task string, end time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "life %q %d", task, end.Unix()))
	digits := new(big.Int).SetBytes(sum[:16]).Text(36)
	return strings.Repeat("0", idLength-len(digits)) + digits
}

// containerID is the ID of the container of a task, or of one of its earlier lives: 64 hexadecimal digits, as docker's.
func containerID(task string) string {
	sum := sha256.Sum256([]byte("container " + task))
	return hex.EncodeToString(sum[:])
}

// index is a version of piswarm's, "counter@node", as docker's number. Two nodes that count alike on two sides of a partition
// make two numbers. It is a whole number to every reader of JSON as long as the counter is below 2^37.
func index(version string) swarm.Version {
	counter, node, _ := strings.Cut(version, "@")
	n, err := strconv.ParseUint(counter, 10, 64)
	if err != nil {
		return swarm.Version{}
	}
	h := fnv.New32a()
	h.Write([]byte(node))
	sum := h.Sum32()
	return swarm.Version{Index: n<<16 | uint64(uint16(sum^sum>>16))}
}

// match finds the one of several that a text means: by its ID, its name or the beginning of its ID, in this order.
func match[T any](what, text string, all []T, id, name func(T) string) (T, error) {
	var none T
	var named, prefixed []T
	for _, one := range all {
		switch {
		case id(one) == text:
			return one, nil
		case name(one) == text:
			named = append(named, one)
		case text != "" && strings.HasPrefix(id(one), text):
			prefixed = append(prefixed, one)
		}
	}
	for _, found := range [][]T{named, prefixed} {
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return none, badRequest("%s %s is ambiguous (%d matches found)", what, text, len(found))
		}
	}
	return none, notFound("%s %s not found", what, text)
}

// checkVersion compares the version of which a change speaks with the present one.
func checkVersion(given, present string) error {
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		return badRequest("invalid version number %q: give the Version.Index that inspect shows", given)
	}
	if n != index(present).Index {
		return badRequest("update out of sequence: somebody else changed it meanwhile; look at it and try again")
	}
	return nil
}

// taskName is the name of a task and of its container.
func taskName(t client.Task, id string) string {
	at := swarmID(t.NodeID)
	if t.Slot != 0 {
		at = strconv.Itoa(t.Slot)
	}
	return t.Service + "." + at + "." + id
}
