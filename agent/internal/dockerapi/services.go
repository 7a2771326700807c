package dockerapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func (s *server) serviceList(r *http.Request) (any, error) {
	f, err := readFilters(r, "id", "name", "label", "mode", "runtime")
	if err != nil {
		return nil, err
	}
	counts, err := switched(r, "status")
	if err != nil {
		return nil, err
	}
	services, err := s.api.ServiceDetails(r.Context())
	if err != nil {
		return nil, err
	}
	all := []swarm.Service{}
	for _, one := range services {
		if f.prefix("id", one.ID) && f.prefix("name", one.Spec.Name) && f.labels("label", one.Spec.Labels) &&
			f.equal("mode", string(one.Spec.Mode)) && f.equal("runtime", "container") {
			all = append(all, service(one, counts))
		}
	}
	return all, nil
}

// service is a service in docker's words.
func service(s client.Service, counts bool) swarm.Service {
	out := swarm.Service{
		ID:   s.ID,
		Meta: swarm.Meta{Version: index(s.Version), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt},
		Spec: specOut(s.Spec), UpdateStatus: updateStatus(s),
	}
	out.Endpoint = swarm.Endpoint{Spec: *out.Spec.EndpointSpec, Ports: out.Spec.EndpointSpec.Ports}
	if s.VirtualIP.IsValid() {
		out.Endpoint.VirtualIPs = []swarm.EndpointVirtualIP{{NetworkID: ingressID, Addr: netip.PrefixFrom(s.VirtualIP, s.VirtualIP.BitLen())}}
	}
	for _, past := range s.Past {
		if !past.Failed {
			previous := specOut(past.Spec)
			out.PreviousSpec = &previous
			break
		}
	}
	if s.Spec.Mode.Job() {
		out.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: s.Generation}, LastExecution: s.CreatedAt}
		if !s.ChangedAt.IsZero() {
			out.JobStatus.LastExecution = s.ChangedAt
		}
	}
	if counts {
		n := s.Status.Replicas
		out.ServiceStatus = &swarm.ServiceStatus{
			RunningTasks: uint64(max(n.Running, 0)), DesiredTasks: uint64(max(n.Desired, 0)), CompletedTasks: uint64(max(n.Completed, 0)),
		}
	}
	return out
}

// updateStatus is how far the last update is. As in docker, there is none before the first one, and scaling takes that of
// before away: a client that waits would take it for the end of what it has just asked for.
func updateStatus(s client.Service) *swarm.UpdateStatus {
	u := s.Status.Update
	over := u.State == cluster.UpdateCompleted || u.State == cluster.RollbackCompleted
	if s.Generation == 0 || over && !s.ChangedAt.IsZero() && s.ChangedAt.Before(s.UpdatedAt) {
		return nil
	}
	out := &swarm.UpdateStatus{State: swarm.UpdateState(u.State), Message: u.Message}
	if !s.ChangedAt.IsZero() {
		out.StartedAt = &s.ChangedAt
	}
	return out
}

func (s *server) findService(ctx context.Context, text string) (client.Service, error) {
	services, err := s.api.ServiceDetails(ctx)
	if err != nil {
		return client.Service{}, err
	}
	return match("service", text, services, func(s client.Service) string { return s.ID }, func(s client.Service) string { return s.Spec.Name })
}

func (s *server) serviceInspect(r *http.Request) (any, error) {
	if _, err := switched(r, "insertDefaults"); err != nil { // all are filled in, always
		return nil, err
	}
	one, err := s.findService(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return service(one, false), nil
}

func (s *server) serviceCreate(r *http.Request) (any, error) {
	in, err := read[swarm.ServiceSpec](r)
	if err != nil {
		return nil, err
	}
	reading, err := s.reading(r.Context())
	if err != nil {
		return nil, err
	}
	spec, err := reading.specIn(in)
	if err != nil {
		return nil, badRequest("service %s: %w", in.Name, err)
	}
	if spec, err = s.checked(r.Context(), spec); err != nil {
		return nil, err
	}
	written, err := s.api.CreateService(r.Context(), spec)
	if err != nil {
		return nil, err
	}
	return created{swarm.ServiceCreateResponse{ID: written.ID, Warnings: warnings(reading, written)}}, nil
}

// warnings are those of the translation and of the write. Docker's clients want a list also where there is none.
func warnings(in *reading, written client.Written) []string {
	all := in.warnings
	if written.Warning != "" {
		all = append(all, written.Warning)
	}
	if all == nil {
		return []string{}
	}
	return all
}

// checked refuses a spec that cannot be before a registry is asked, and sees to it that the service runs the very bytes
// that docker's client has pinned: those that the name means now, or else those alone.
func (s *server) checked(ctx context.Context, spec cluster.Spec) (cluster.Spec, error) {
	if err := spec.WithDefaults().Validate(); err != nil {
		return spec, badRequest("%w", err)
	}
	c := &spec.Container
	name, digest, err := splitDigest(c.Image)
	if err != nil || c.Digest == "" || digest != "" { // not pinned, or by no name besides
		return spec, err
	}
	if found, err := s.api.ResolveImage(ctx, name); err == nil && found.Digest == c.Digest {
		return spec, nil
	}
	if name, err = untagged(c.Image); err != nil {
		return spec, err
	}
	c.Image = name + "@" + c.Digest
	return spec, nil
}

// reading gathers what the translation of a spec needs to know.
func (s *server) reading(ctx context.Context) (*reading, error) {
	networks, err := s.api.Networks(ctx)
	if err != nil {
		return nil, err
	}
	in := &reading{world: world{networks: map[string]string{}}}
	for _, n := range networks {
		in.networks[n.ID] = n.Name
	}
	for _, n := range networks { // a name that looks like another one's ID is that name
		in.networks[n.Name] = n.Name
	}
	in.fileID = func(kind, name string) (string, bool) {
		if kind == cluster.KindSecret {
			f, err := s.api.Secret(ctx, name)
			return f.ID, err == nil
		}
		f, err := s.api.Config(ctx, name)
		return f.ID, err == nil
	}
	taken := map[cluster.Port]bool{}
	known := false
	in.port = func(protocol cluster.Protocol) (uint16, error) {
		if !known {
			services, err := s.api.Services(ctx)
			if err != nil {
				return 0, err
			}
			for _, one := range services {
				for _, p := range one.Ports {
					taken[cluster.Port{Published: p.Published, Protocol: p.Protocol}] = true
				}
			}
			known = true
		}
		for port := firstPort; port <= lastPort; port++ {
			key := cluster.Port{Published: uint16(port), Protocol: protocol}
			if !taken[key] {
				taken[key] = true
				return uint16(port), nil
			}
		}
		return 0, fmt.Errorf("all ports from %d to %d are published", firstPort, lastPort)
	}
	return in, nil
}

// The ports that docker's swarm gives to who publishes a port and names none.
const (
	firstPort = 30000
	lastPort  = 32767
)

func (s *server) serviceUpdate(r *http.Request) (any, error) {
	in, err := read[swarm.ServiceSpec](r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	old, err := s.findService(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := checkVersion(query.Get("version"), old.Version); err != nil {
		return nil, err
	}
	switch from := query.Get("registryAuthFrom"); from {
	case "", "spec", "previous-spec": // no registry is signed in to
	default:
		return nil, badRequest("registryAuthFrom=%s: want spec or previous-spec", from)
	}
	switch rollback := query.Get("rollback"); rollback {
	case "", "none":
	case "previous":
		written, err := s.api.RollbackServiceFrom(r.Context(), old.Spec.Name, old.Version)
		if err != nil {
			return nil, err
		}
		return swarm.ServiceUpdateResponse{Warnings: warnings(&reading{}, written)}, nil
	default:
		return nil, badRequest("rollback=%s: want previous or none", rollback)
	}
	reading, err := s.reading(r.Context())
	if err != nil {
		return nil, err
	}
	reading.base = old.Spec
	spec, err := reading.specIn(in)
	if err != nil {
		return nil, badRequest("service %s: %w", old.Spec.Name, err)
	}
	if was := old.Spec.Container; spec.Container.Image != was.Image || spec.Container.Digest != was.Digest {
		if spec, err = s.checked(r.Context(), spec); err != nil {
			return nil, err
		}
	}
	written, err := s.api.UpdateService(r.Context(), old.Spec.Name, client.ServiceUpdate{Spec: spec, Version: old.Version})
	if err != nil {
		return nil, err
	}
	return swarm.ServiceUpdateResponse{Warnings: warnings(reading, written)}, nil
}

func (s *server) serviceRemove(r *http.Request) (any, error) {
	one, err := s.findService(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if _, err := s.api.RemoveService(r.Context(), one.Spec.Name); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// specOf returns the spec that tasks of that version are made of, or the present one where nobody remembers.
func specOf(s client.Service, version uint64) cluster.Spec {
	if spec, ok := s.SpecOf(version); ok {
		return spec
	}
	return s.Spec
}

// latest is the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// byName are services by their names.
func byName(services []client.Service) map[string]client.Service {
	out := make(map[string]client.Service, len(services))
	for _, s := range services {
		out[s.Spec.Name] = s
	}
	return out
}
