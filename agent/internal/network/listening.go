package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Listening tells whether the programs in a container have opened all of these target ports. It only looks at the
// container's sockets: to connect would be a request, and some programs answer just one.
func (n *Network) Listening(ctx context.Context, id string, ports []cluster.Port) (bool, error) {
	path, err := n.path(id)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, err
	}
	namespace, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("look at the ports of %s: %w", id, err)
	}
	defer namespace.Close()
	all := true
	err = inNamespace(namespace, func() error {
		open := map[cluster.Protocol]map[uint16]bool{}
		for _, p := range ports {
			if open[p.Protocol] == nil {
				var err error
				if open[p.Protocol], err = openPorts(p.Protocol); err != nil {
					return err
				}
			}
			all = all && open[p.Protocol][p.Target]
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look at the ports of %s: %w", id, err)
	}
	return all, nil
}

// Socket states in proc(5)'s net/tcp and net/udp. A UDP socket that is bound and connected to nobody is "closed".
const (
	socketListens = "0A"
	socketBound   = "07"
)

// openPorts are those that the thread's network namespace answers at, by IPv4 or by both.
func openPorts(protocol cluster.Protocol) (map[uint16]bool, error) {
	name, state := "tcp", socketListens
	if protocol == cluster.UDP {
		name, state = "udp", socketBound
	}
	open := map[uint16]bool{}
	for _, table := range []string{name, name + "6"} {
		file, err := os.Open("/proc/thread-self/net/" + table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text()) // number, local address, remote address, state, …
			if len(fields) < 4 || fields[3] != state {
				continue
			}
			_, port, _ := strings.Cut(fields[1], ":")
			if p, err := strconv.ParseUint(port, 16, 16); err == nil {
				open[uint16(p)] = true
			}
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return open, nil
}
