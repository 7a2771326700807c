package dockerapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/volume"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// volumePath is where a node keeps a volume, by default.
func volumePath(name string) string { return "/var/lib/piswarm/volumes/" + name }

// volumes are those that services mount: a volume is made where a task first needs it, and is nothing by itself.
func (s *server) volumes(ctx context.Context) ([]volume.Volume, error) {
	v, err := s.api.Version(ctx)
	if err != nil || v.ClusterID == "" {
		return nil, err
	}
	services, err := s.api.ServiceDetails(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var all []volume.Volume
	for _, one := range services {
		for _, m := range one.Spec.Container.Mounts {
			if m.Type == cluster.MountVolume && !seen[m.Source] {
				seen[m.Source] = true
				all = append(all, volume.Volume{
					Name: m.Source, Driver: "local", Scope: "local", Mountpoint: volumePath(m.Source), Labels: map[string]string{}, Options: map[string]string{},
				})
			}
		}
	}
	slices.SortFunc(all, func(a, b volume.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *server) volumeList(r *http.Request) (any, error) {
	f, err := readFilters(r, "name", "label", "driver", "dangling")
	if err != nil {
		return nil, err
	}
	dangling, given, err := f.switched("dangling")
	if err != nil {
		return nil, err
	}
	volumes, err := s.volumes(r.Context())
	if err != nil {
		return nil, err
	}
	out := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	for _, v := range volumes {
		if f.prefix("name", v.Name) && f.labels("label", v.Labels) && f.equal("driver", v.Driver) && !(given && dangling) {
			out.Volumes = append(out.Volumes, v)
		}
	}
	return out, nil
}

func (s *server) volumeInspect(r *http.Request) (any, error) {
	volumes, err := s.volumes(r.Context())
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if v.Name == r.PathValue("name") {
			return v, nil
		}
	}
	return nil, notFound("no such volume: %s: those of services are shown", r.PathValue("name"))
}

func (s *server) volumeCreate(*http.Request) (any, error) {
	return nil, unsupported("a volume is made on the node whose task first mounts it: name it in the service's mount, type=volume,source=NAME,target=PATH")
}

func (s *server) volumeRemove(r *http.Request) (any, error) {
	return nil, unsupported("volume %s: remove its directory on the nodes that have it, %s", r.PathValue("name"), volumePath(r.PathValue("name")))
}
