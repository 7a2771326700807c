package containers

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
)

// groupSize is how many containers share one shim. A shim costs 3 MB, and takes the containers of its group with
// it if it dies, so sharing is bounded.
const groupSize = 8

// groupAnnotation is how containerd's runc shim is told that containers share one.
const groupAnnotation = "io.containerd.runc.v2.group"

// groups hands out places in shims.
type groups struct {
	choosing sync.Mutex
	// reserved counts, by group, the places given to containers that containerd does not list yet.
	reserved map[string]int

	// lives guards, by the hash of the group, the two moments at which sharing is not safe. Two containers that
	// are the first of a group at once may make a shim each. And a shim ends with its last container, while a
	// container that joins it just then finds the socket of a dying process. Groups that share a lock wait for
	// each other needlessly, for a fraction of a second.
	lives [32]sync.Mutex
	seed  maphash.Seed
}

func newGroups() groups { return groups{reserved: map[string]int{}, seed: maphash.MakeSeed()} }

// life is held while a container enters or leaves the shim of a group.
func (g *groups) life(group string) *sync.Mutex {
	return &g.lives[maphash.String(g.seed, group)%uint64(len(g.lives))]
}

// reserve chooses a group for one more container of the service. The place counts as taken until release, by
// which time containerd must list the container, or it will not be made.
func (g *groups) reserve(serviceID string, listed func() (map[string]int, error)) (group string, release func(), err error) {
	g.choosing.Lock()
	defer g.choosing.Unlock()
	members, err := listed()
	if err != nil {
		return "", nil, err
	}
	for name, n := range g.reserved {
		members[name] += n
	}
	group = freeGroup(serviceID, members)
	g.reserved[group]++
	return group, func() {
		g.choosing.Lock()
		defer g.choosing.Unlock()
		if g.reserved[group]--; g.reserved[group] == 0 {
			delete(g.reserved, group)
		}
	}, nil
}

// freeGroup is the first group of the service that has room.
func freeGroup(serviceID string, members map[string]int) string {
	for k := 0; ; k++ {
		if group := fmt.Sprintf("%s-%d", serviceID, k); members[group] < groupSize {
			return group
		}
	}
}

// groupMembers counts the containers of a service by group.
func (r *Runtime) groupMembers(ctx context.Context, serviceID string) (map[string]int, error) {
	members := map[string]int{}
	err := r.eachRecord(ctx, fmt.Sprintf("labels.%q==%q", labelServiceID, serviceID), func(c *containersapi.Container) {
		members[c.Labels[labelGroup]]++
	})
	return members, err
}
