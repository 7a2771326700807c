package dockerapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// ping says that there is somebody, and of which version.
func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Builder-Version", "1") // nothing is built here; without it the client looks for the other builder
	h.Set("Swarm", "inactive")
	if s.inSwarm(r.Context()) {
		h.Set("Swarm", "active/manager")
	}
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return
	}
	_, _ = io.WriteString(w, "OK") // the client is gone: nobody is left to tell
}

func (s *server) version(r *http.Request) (any, error) {
	v, err := s.api.Version(r.Context())
	if err != nil {
		return nil, err
	}
	out := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "piswarm"}, Version: v.Version, APIVersion: newestVersion, MinAPIVersion: oldestVersion,
		Os: v.OS, Arch: v.Arch, GitCommit: v.Commit, GoVersion: v.Go,
	}
	own, err := s.ownNode(r.Context(), v)
	if err == nil { // a node in no cluster has said nothing yet
		out.KernelVersion = own.Description.Kernel
	}
	out.Components = []system.ComponentVersion{{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": newestVersion, "MinAPIVersion": oldestVersion, "Arch": v.Arch, "Os": v.OS, "GitCommit": v.Commit, "GoVersion": v.Go,
		"KernelVersion": out.KernelVersion, "Experimental": "false", "BuildTime": "",
	}}}
	if own.Description.Runtime != "" {
		out.Components = append(out.Components, system.ComponentVersion{Name: "containerd", Version: own.Description.Runtime})
	}
	return out, nil
}

// ownNode is all that the cluster knows of the node that is asked.
func (s *server) ownNode(ctx context.Context, v client.Version) (client.Node, error) {
	return s.api.Node(ctx, v.NodeID)
}

func (s *server) info(r *http.Request) (any, error) {
	ctx := r.Context()
	v, err := s.api.Version(ctx)
	if err != nil {
		return nil, err
	}
	out := system.Info{
		ID: v.NodeID, Name: v.Node, ServerVersion: v.Version, OSType: v.OS, Architecture: machine(v.Arch), OperatingSystem: "piswarm",
		SystemTime: time.Now().Format(time.RFC3339Nano), Driver: "overlayfs", LoggingDriver: "json-file", DefaultRuntime: "runc",
		Runtimes: map[string]system.RuntimeWithStatus{}, SecurityOptions: []string{"name=seccomp,profile=builtin"},
		Plugins:     system.PluginsInfo{Volume: []string{"local"}, Network: []string{"overlay"}, Log: []string{"json-file"}},
		NGoroutines: runtime.NumGoroutine(), PidsLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, IPv4Forwarding: true, LiveRestoreEnabled: true,
		DockerRootDir: "/var/lib/piswarm", IndexServerAddress: "https://index.docker.io/v1/", Labels: []string{}, Warnings: []string{},
		GenericResources: []swarm.GenericResource{}, CDISpecDirs: []string{},
		Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive, RemoteManagers: []swarm.Peer{}},
	}
	if v.ClusterID == "" {
		return out, nil
	}
	nodes, err := s.api.NodeDetails(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := s.api.Tasks(ctx, "")
	if err != nil {
		return nil, err
	}
	out.Swarm = swarmInfo(v, nodes)
	for _, n := range nodes {
		if n.ID == v.NodeID {
			d := n.Description
			out.KernelVersion, out.MemTotal, out.NCPU = d.Kernel, d.Capacity.MemoryBytes, int(d.Capacity.NanoCPUs/1e9)
			out.MemoryLimit, out.Images = d.MemoryLimit, len(n.Images)
			out.OperatingSystem = strings.TrimSpace("piswarm on " + d.Model)
			out.Warnings = append(out.Warnings, n.Warnings...)
			for key, value := range n.Labels {
				out.Labels = append(out.Labels, key+"="+value)
			}
			slices.Sort(out.Labels)
		}
	}
	for _, t := range tasks {
		if t.NodeID == v.NodeID && inContainer(t) {
			out.Containers++
			out.ContainersRunning++
		}
	}
	return out, nil
}

func swarmInfo(v client.Version, nodes []client.Node) swarm.Info {
	out := swarm.Info{
		NodeID: swarmID(v.NodeID), LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true, RemoteManagers: []swarm.Peer{},
		Nodes: len(nodes), Cluster: &swarm.ClusterInfo{ID: swarmID(v.ClusterID)},
	}
	for _, n := range nodes {
		if n.ID == v.NodeID {
			out.NodeAddr = n.Address
		}
		if n.Role == cluster.Manager {
			out.Managers++
			out.RemoteManagers = append(out.RemoteManagers, swarm.Peer{NodeID: swarmID(n.ID), Addr: managerAddress(n)})
		}
	}
	return out
}

// machine is the kernel's word for a processor, which docker shows.
func machine(arch string) string {
	switch arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return arch
}

// managerAddress is where a node takes others in.
func managerAddress(n client.Node) string {
	if n.Address == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", n.Address, cluster.GossipPort)
}
