package dockerapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// familiar is an image's name as people type it.
func familiar(c cluster.Container) string { return familiarName(c.Image) }

func familiarName(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// untagged is the name of an image without its tag.
func untagged(name string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", badRequest("image %q: %w", name, err)
	}
	return ref.Name(), nil
}

// ownImages are those that this node holds.
func (s *server) ownImages(ctx context.Context) ([]cluster.Image, error) {
	v, err := s.api.Version(ctx)
	if err != nil || v.ClusterID == "" {
		return nil, err
	}
	n, err := s.ownNode(ctx, v)
	return n.Images, err
}

func (s *server) imageList(r *http.Request) (any, error) {
	f, err := readFilters(r, "reference", "dangling", "label", "before", "since", "until")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"label", "before", "since", "until"} {
		if len(f[name]) > 0 {
			return nil, unsupported("filter %s: images are not found by that here", name)
		}
	}
	dangling, given, err := f.switched("dangling")
	if err != nil {
		return nil, err
	}
	images, err := s.ownImages(r.Context())
	if err != nil {
		return nil, err
	}
	all := []image.Summary{}
	byDigest := map[string]int{}
	for _, i := range images {
		if given && dangling || !f.any("reference", func(pattern string) bool { return matches(pattern, i.Name) }) {
			continue
		}
		at, ok := byDigest[i.Digest]
		if !ok {
			at = len(all)
			byDigest[i.Digest] = at
			all = append(all, image.Summary{
				ID: i.Digest, RepoTags: []string{}, RepoDigests: []string{}, Labels: map[string]string{}, Size: i.SizeBytes, SharedSize: -1, Containers: -1,
			})
		}
		addNames(&all[at].RepoTags, &all[at].RepoDigests, i)
	}
	return all, nil
}

// addNames notes the names of an image, as people type them.
func addNames(tags, digests *[]string, i cluster.Image) {
	name := familiarName(i.Name)
	if !strings.Contains(name, "@") {
		*tags = append(*tags, name)
	}
	if bare, err := untagged(i.Name); err == nil {
		if pin := familiarName(bare) + "@" + i.Digest; !slices.Contains(*digests, pin) {
			*digests = append(*digests, pin)
		}
	}
}

// matches tells whether an image is one that a pattern of a name means.
func matches(pattern, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	ok, err := reference.FamiliarMatch(pattern, ref)
	return err == nil && ok
}

// imageGet answers GET /images/NAME/json, whose NAME has slashes of its own.
func (s *server) imageGet(r *http.Request) (any, error) {
	name, what := cutLast(r.PathValue("rest"))
	switch what {
	case "json":
		return s.imageInspect(r, name)
	case "history":
		return nil, unsupported("image %s: its history is not kept", name)
	case "get":
		return nil, unsupported("image %s: piswarm does not save images, it loads them", name)
	}
	return nil, noRoute(r)
}

func cutLast(path string) (before, after string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func (s *server) findImage(ctx context.Context, text string) ([]cluster.Image, error) {
	images, err := s.ownImages(ctx)
	if err != nil {
		return nil, err
	}
	of := func(keep func(cluster.Image) bool) []cluster.Image {
		return slices.DeleteFunc(slices.Clone(images), func(i cluster.Image) bool { return !keep(i) })
	}
	if name, pin, err := splitDigest(text); err == nil {
		if found := of(func(i cluster.Image) bool { return i.Name == name && (pin == "" || pin == i.Digest) }); len(found) > 0 {
			return found, nil
		}
		if found := of(func(i cluster.Image) bool { return pin != "" && pin == i.Digest }); len(found) > 0 {
			return found, nil
		}
	}
	short := strings.TrimPrefix(text, "sha256:")
	found := of(func(i cluster.Image) bool {
		return len(short) >= 4 && strings.HasPrefix(strings.TrimPrefix(i.Digest, "sha256:"), short)
	})
	if len(found) == 0 {
		return nil, notFound("No such image: %s", text)
	}
	return found, nil
}

func (s *server) imageInspect(r *http.Request, name string) (any, error) {
	found, err := s.findImage(r.Context(), name)
	if err != nil {
		return nil, err
	}
	v, err := s.api.Version(r.Context())
	if err != nil {
		return nil, err
	}
	out := image.InspectResponse{
		ID: found[0].Digest, RepoTags: []string{}, RepoDigests: []string{}, Size: found[0].SizeBytes, Os: v.OS, Architecture: v.Arch,
	}
	for _, i := range found {
		addNames(&out.RepoTags, &out.RepoDigests, i)
	}
	return out, nil
}

// imagePost answers POST /images/NAME/tag, and refuses push.
func (s *server) imagePost(r *http.Request) (any, error) {
	name, what := cutLast(r.PathValue("rest"))
	switch what {
	case "tag":
		return s.imageTag(r, name)
	case "push":
		return nil, unsupported("image %s: piswarm pushes to no registry: its nodes give images to one another", name)
	}
	return nil, noRoute(r)
}

func (s *server) imageTag(r *http.Request, name string) (any, error) {
	found, err := s.findImage(r.Context(), name)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	target := query.Get("repo")
	if tag := query.Get("tag"); tag != "" {
		target += ":" + tag
	}
	to, pin, err := splitDigest(target)
	if err != nil || pin != "" {
		return nil, badRequest("bad name %q for an image: want NAME:TAG", target)
	}
	if _, err := s.api.TagImage(r.Context(), found[0].Name, to); err != nil {
		return nil, err
	}
	return created{struct{}{}}, nil
}

func (s *server) imageRemove(r *http.Request) (any, error) {
	for _, name := range []string{"force", "noprune"} { // what runs stays in any case, and nothing else keeps an image
		if _, err := switched(r, name); err != nil {
			return nil, err
		}
	}
	found, err := s.findImage(r.Context(), r.PathValue("rest"))
	if err != nil {
		return nil, err
	}
	gone := []image.DeleteResponse{}
	for _, i := range found {
		if _, err := s.api.RemoveImage(r.Context(), i.Name); err != nil {
			return nil, err
		}
		gone = append(gone, image.DeleteResponse{Untagged: familiarName(i.Name)})
	}
	return append(gone, image.DeleteResponse{Deleted: found[0].Digest}), nil
}

// distribution says what a name means, so that docker's client pins the image of a service to its bytes.
func (s *server) distribution(r *http.Request) (any, error) {
	name, what := cutLast(r.PathValue("rest"))
	if what != "json" || name == "" {
		return nil, noRoute(r)
	}
	found, err := s.api.ResolveImage(r.Context(), name)
	if err != nil {
		return nil, err
	}
	out := registry.DistributionInspect{
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.Digest(found.Digest)}, Platforms: []ocispec.Platform{},
	}
	for _, p := range found.Platforms {
		out.Platforms = append(out.Platforms, ocispec.Platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant})
	}
	return out, nil
}

// progress sends lines of docker's progress, and flushes each: that is what they are for.
type progress struct {
	w       http.ResponseWriter
	control *http.ResponseController
	lines   *json.Encoder
}

func newProgress(w http.ResponseWriter) *progress {
	w.Header().Set("Content-Type", "application/json")
	return &progress{w: w, control: http.NewResponseController(w), lines: json.NewEncoder(w)}
}

func (p *progress) send(m jsonstream.Message) {
	_ = p.lines.Encode(m) // the client is gone: the request's context ends, and the work with it
	_ = p.control.Flush()
}

// fail ends the stream with an error, in the form of today and the earlier one.
func (p *progress) fail(err error) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	_ = p.lines.Encode(struct {
		jsonstream.Message
		Text string `json:"error"`
	}{jsonstream.Message{Error: &jsonstream.Error{Message: text}}, text})
}

// imageCreate pulls an image.
func (s *server) imageCreate(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	name := query.Get("fromImage")
	if tag := query.Get("tag"); tag != "" {
		separator := ":"
		if strings.HasPrefix(tag, "sha256:") {
			separator = "@"
		}
		name += separator + tag
	}
	err := refuseQuery(query, "images come from a registry, or by `docker load`", "fromSrc")
	if err == nil && query.Get("platform") != "" {
		err = unsupported("platform=%s: each node pulls what is for it", query.Get("platform"))
	}
	if err == nil && name == "" {
		err = badRequest("fromImage is missing: which image is to be pulled?")
	}
	normal, pin, parsing := splitDigest(name)
	if err == nil && parsing != nil {
		err = badRequest("%w", parsing)
	}
	if err == nil && r.Header.Get("X-Registry-Auth") != "" && signsIn(r.Header.Get("X-Registry-Auth")) {
		err = unsupported("signing in to a registry: piswarm pulls public images; load others with `docker load`")
	}
	if err == nil && !s.inSwarm(r.Context()) {
		err = problem{http.StatusServiceUnavailable, constantError(noSwarm)}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if pin != "" && !strings.Contains(normal, "@") {
		normal += "@" + pin
	}
	p := newProgress(w)
	_, tag := cutTag(normal)
	p.send(jsonstream.Message{Status: "Pulling from " + familiarName(normal), ID: tag})
	pulled, err := s.api.PullImage(r.Context(), normal, func(at client.Progress) {
		m := jsonstream.Message{Status: "Downloading", ID: "image"}
		if at.Total > 0 {
			m.Progress = &jsonstream.Progress{Current: at.Current, Total: at.Total}
			p.send(m)
		}
	})
	if err != nil {
		p.fail(err)
		return
	}
	for _, i := range pulled {
		p.send(jsonstream.Message{Status: "Digest: " + i.Digest})
	}
	p.send(jsonstream.Message{Status: "Status: Downloaded newer image for " + familiarName(normal)})
}

// cutTag takes the tag, or what stands for it, off a name.
func cutTag(name string) (before, tag string) {
	if i := strings.LastIndexAny(name, ":@"); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// imageLoad reads an archive.
func (s *server) imageLoad(w http.ResponseWriter, r *http.Request) {
	err := refuseQuery(r.URL.Query(), "each node takes what is for it", "platform")
	if err == nil && !s.inSwarm(r.Context()) {
		err = problem{http.StatusServiceUnavailable, constantError(noSwarm)}
	}
	if err == nil {
		err = http.NewResponseController(w).EnableFullDuplex() // the answer may begin before the archive has been read
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	p := newProgress(w)
	loaded, err := s.api.LoadImages(r.Context(), r.Body, nil)
	if err != nil {
		p.fail(err)
		return
	}
	for _, i := range loaded {
		p.send(jsonstream.Message{Stream: "Loaded image: " + familiarName(i.Name) + "\n"})
	}
}
