package dockerapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// ownTasks are those whose containers are, or were, on this node. As docker's engine does, this API shows the containers
// of the node that is asked; services and tasks are the cluster's.
func (s *server) ownTasks(ctx context.Context) ([]task, error) {
	v, err := s.api.Version(ctx)
	if err != nil {
		return nil, err
	}
	if v.ClusterID == "" {
		return nil, nil // a node without a cluster has no containers
	}
	all, err := s.tasks(ctx)
	return slices.DeleteFunc(all, func(t task) bool { return t.NodeID != v.NodeID || !inContainer(t.Task) && !t.past }), err
}

func (s *server) findContainer(ctx context.Context, text string) (task, error) {
	all, err := s.ownTasks(ctx)
	if err != nil {
		return task{}, err
	}
	t, err := match("container", strings.TrimPrefix(text, "/"), all, func(t task) string { return containerID(t.id) }, task.name)
	if err != nil {
		return t, notFound("No such container: %s", text)
	}
	return t, nil
}

// running finds a container that runs.
func (s *server) running(ctx context.Context, text string) (task, error) {
	t, err := s.findContainer(ctx, text)
	if err == nil && !inContainer(t.Task) {
		err = conflict("container %s is not running", text)
	}
	return t, err
}

func (t task) name() string { return taskName(t.Task, t.id) }

func (t task) containerState() container.ContainerState {
	if inContainer(t.Task) {
		return container.StateRunning
	}
	return container.StateExited
}

// status is the state of a container for people.
func (t task) status(now time.Time) string {
	ago := strings.ToLower(units.HumanDuration(max(0, now.Sub(t.Since))))
	if !inContainer(t.Task) {
		return "Exited (" + code(t.ExitCode) + ") " + ago + " ago"
	}
	if t.State == cluster.Unhealthy {
		return "Up " + ago + " (unhealthy)"
	}
	return "Up " + ago
}

func code(n int) string { return owner(uint32(max(n, 0))) }

// labels are those of the service's containers, and those by which docker marks a task's.
func (t task) labels() map[string]string {
	labels := map[string]string{}
	for key, value := range specOf(t.service, t.SpecVersion).Container.Labels {
		labels[key] = value
	}
	labels["com.docker.swarm.node.id"] = swarmID(t.NodeID)
	labels["com.docker.swarm.service.id"] = t.service.ID
	labels["com.docker.swarm.service.name"] = t.Service
	labels["com.docker.swarm.task"] = ""
	labels["com.docker.swarm.task.id"] = t.id
	labels["com.docker.swarm.task.name"] = t.name()
	return labels
}

func (s *server) containerList(r *http.Request) (any, error) {
	f, err := readFilters(r, "id", "name", "label", "status", "ancestor", "health", "is-task", "network", "volume", "publish", "expose", "exited")
	if err != nil {
		return nil, err
	}
	everything, err := switched(r, "all")
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", 0)
	if err != nil {
		return nil, err
	}
	if err := refuseQuery(r.URL.Query(), "what containers write is not counted", "size"); err != nil {
		return nil, err
	}
	for _, name := range []string{"publish", "expose", "exited"} {
		if len(f[name]) > 0 {
			return nil, unsupported("filter %s: containers are not found by that here", name)
		}
	}
	tasks, err := s.ownTasks(r.Context())
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(tasks, func(a, b task) int { return b.made.Compare(a.made) })
	all := []container.Summary{}
	for _, t := range tasks {
		shown := everything || limit > 0 || len(f["status"]) > 0 || inContainer(t.Task)
		if shown && t.passes(f) && (limit <= 0 || len(all) < limit) {
			all = append(all, t.summary(time.Now()))
		}
	}
	return all, nil
}

func (t task) passes(f filters) bool {
	spec := specOf(t.service, t.SpecVersion)
	health := "none"
	switch {
	case t.State == cluster.Unhealthy:
		health = "unhealthy"
	case spec.Container.Health.Checks():
		health = "healthy"
	}
	return f.prefix("id", containerID(t.id)) && f.any("name", func(v string) bool { return strings.Contains("/"+t.name(), v) }) &&
		f.labels("label", t.labels()) && f.equal("status", string(t.containerState())) && f.equal("health", health) &&
		f.any("is-task", func(v string) bool { return v == "true" || v == "1" }) &&
		f.any("ancestor", func(v string) bool { return sameImage(v, spec.Container) }) &&
		f.any("network", func(v string) bool {
			return slices.ContainsFunc(spec.Networks, func(n cluster.NetworkRef) bool { return n.Name == v })
		}) &&
		f.any("volume", func(v string) bool {
			return slices.ContainsFunc(spec.Container.Mounts, func(m cluster.Mount) bool { return m.Source == v || m.Target == v })
		})
}

// sameImage tells whether a text means a container's image.
func sameImage(text string, c cluster.Container) bool {
	if text == c.Digest {
		return true
	}
	name, digest, err := splitDigest(text)
	return err == nil && name == c.Image && (digest == "" || digest == c.Digest)
}

func (t task) summary(now time.Time) container.Summary {
	spec := specOf(t.service, t.SpecVersion)
	out := container.Summary{
		ID: containerID(t.id), Names: []string{"/" + t.name()}, Image: familiar(spec.Container), ImageID: spec.Container.Digest,
		Command: strings.Join(slices.Concat(spec.Container.Entrypoint, spec.Container.Args), " "), Created: t.made.Unix(),
		Ports: []container.PortSummary{}, Labels: t.labels(), State: t.containerState(), Status: t.status(now),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: t.endpoints()}, Mounts: mountPoints(spec.Container.Mounts),
	}
	out.HostConfig.NetworkMode = "default"
	for _, p := range spec.Ports {
		port := container.PortSummary{PrivatePort: p.Target, Type: string(p.Protocol)}
		if p.Mode == cluster.PortHost && inContainer(t.Task) {
			port.IP, port.PublicPort = netip.IPv4Unspecified(), p.Published
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}

func (t task) endpoints() map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	if address, err := netip.ParseAddr(t.Address); err == nil {
		out[ingressName] = &network.EndpointSettings{NetworkID: ingressID, IPAddress: address, IPPrefixLen: 16}
	}
	return out
}

func mountPoints(mounts []cluster.Mount) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range mounts {
		point := container.MountPoint{Type: mount.Type(m.Type), Source: m.Source, Destination: m.Target, RW: !m.ReadOnly}
		if m.Type == cluster.MountVolume {
			point.Name, point.Source, point.Driver = m.Source, volumePath(m.Source), "local"
		}
		out = append(out, point)
	}
	return out
}

func (s *server) containerInspect(r *http.Request) (any, error) {
	if err := refuseQuery(r.URL.Query(), "what containers write is not counted", "size"); err != nil {
		return nil, err
	}
	t, err := s.findContainer(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	spec := specOf(t.service, t.SpecVersion)
	c := spec.Container
	started, finished := t.Since, time.Time{}
	if !inContainer(t.Task) {
		started, finished = t.made, t.Since
	}
	grace := int(c.StopGracePeriod.Seconds())
	words := slices.Concat(c.Entrypoint, c.Args)
	out := container.InspectResponse{
		ID: containerID(t.id), Created: t.made.Format(time.RFC3339Nano), Name: "/" + t.name(), Image: c.Digest, Driver: "overlayfs", Platform: "linux",
		Args: []string{}, ExecIDs: []string{}, Mounts: mountPoints(c.Mounts),
		State: &container.State{
			Status: t.containerState(), Running: inContainer(t.Task), ExitCode: t.ExitCode, Error: t.Error,
			StartedAt: started.Format(time.RFC3339Nano), FinishedAt: finished.Format(time.RFC3339Nano),
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "default", CapAdd: c.CapAdd, CapDrop: c.CapDrop, Privileged: c.Privileged, ReadonlyRootfs: c.ReadOnly, Init: &c.Init,
			LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{}},
			Resources: container.Resources{
				Memory: spec.Resources.Limits.MemoryBytes, NanoCPUs: spec.Resources.Limits.NanoCPUs,
				MemoryReservation: spec.Resources.Reservations.MemoryBytes, PidsLimit: &spec.Resources.Pids,
			},
		},
		Config: &container.Config{
			Hostname: c.Hostname, User: c.User, Env: append([]string{}, c.Env...), Cmd: c.Args, Entrypoint: c.Entrypoint, Image: pinned(c), WorkingDir: c.Workdir,
			Labels: t.labels(), StopSignal: c.StopSignal, StopTimeout: &grace, Healthcheck: healthOut(c.Health), Volumes: map[string]struct{}{},
		},
		NetworkSettings: &container.NetworkSettings{Networks: t.endpoints(), Ports: network.PortMap{}},
	}
	if len(words) > 0 {
		out.Path, out.Args = words[0], words[1:]
	}
	return out, nil
}
