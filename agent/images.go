package agent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// images joins this node's images with what the reports say of the others'.
type images struct{ s *session }

// Load reads an archive.
func (i *images) Load(ctx context.Context, archive io.Reader) ([]cluster.Image, error) {
	loaded, err := i.s.agent.runtime.Load(ctx, archive)
	i.s.worker.ImagesChanged()
	if err == nil {
		i.tell(ctx, loaded)
	}
	return loaded, err
}

// tellLimit bounds how long a load or pull waits for the others to know of it. They learn of it later all the same.
const tellLimit = 3 * time.Second

// tell waits until this node's report names the images and hands it to other nodes, so that the next command may be
// typed on another node at once.
func (i *images) tell(ctx context.Context, brought []cluster.Image) {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	reported, cancelWatch := i.s.store.Watch(state.Kinds(cluster.KindReport))
	defer cancelWatch()
	for !holdAll(i.s.reader.View().Reports[i.s.store.Self()].Images, brought) {
		select {
		case <-ctx.Done():
			return
		case <-reported:
		}
	}
	if _, err := i.s.state.Write(ctx, cluster.ReportKey(i.s.store.Self())); err != nil {
		i.s.log.Debug("tell others of new images", "error", err)
	}
}

func holdAll(held, wanted []cluster.Image) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(held, func(h cluster.Image) bool { return h.Name == w.Name && h.Digest == w.Digest }) {
			return false
		}
	}
	return true
}

// Pull fetches what the registry has now under the name.
func (i *images) Pull(ctx context.Context, ref string, progress func(done, total int64)) ([]cluster.Image, error) {
	found, err := i.s.agent.runtime.ResolveRegistry(ctx, ref)
	if err != nil {
		return nil, err
	}
	err = i.s.agent.runtime.Pull(ctx, containers.PullRequest{
		Ref: found.Name, Digest: found.Digest, Sources: i.sources(found.Digest), Registry: true, Progress: progress,
	})
	if err == nil { // what the name meant before keeps its bytes, and loses the name
		err = i.s.agent.runtime.Tag(ctx, found.Name, found.Digest)
	}
	i.s.worker.ImagesChanged()
	if err != nil {
		return nil, err
	}
	pulled := []cluster.Image{{Name: found.Name, Digest: found.Digest}}
	i.tell(ctx, pulled)
	return pulled, nil
}

// Resolve finds out what a reference means.
func (i *images) Resolve(ctx context.Context, ref string) (name, digest string, platforms []cluster.Platform, err error) {
	found, err := i.s.agent.runtime.Resolve(ctx, ref, i.held())
	return found.Name, found.Digest, found.Platforms, err
}

// Tag gives an image of this node another name besides.
func (i *images) Tag(ctx context.Context, name, target string) error {
	v := i.s.reader.View()
	for _, held := range v.Reports[v.Self].Images {
		if held.Name == name {
			defer i.s.worker.ImagesChanged()
			return i.s.agent.runtime.Tag(ctx, target, held.Digest)
		}
	}
	return fmt.Errorf("image %s is not on this node: piswarm image ls lists what is", name)
}

// Remove removes an image from this node.
func (i *images) Remove(ctx context.Context, ref string) error {
	defer i.s.worker.ImagesChanged()
	return i.s.agent.runtime.RemoveImage(ctx, ref)
}

// held are the images that other ready nodes report.
func (i *images) held() []containers.Held {
	type key struct{ name, digest string }
	v := i.s.reader.View()
	at := map[key]int{}
	var all []containers.Held
	for _, m := range v.Members { // in order of ID, so that two images of one name give the same answer twice
		if m.ID == v.Self || m.Condition != cluster.Ready {
			continue
		}
		for _, image := range v.Reports[m.ID].Images {
			k := key{image.Name, image.Digest}
			if _, ok := at[k]; !ok {
				at[k] = len(all)
				all = append(all, containers.Held{Name: image.Name, Digest: image.Digest})
			}
			if peer, ok := i.peer(m.ID); ok {
				all[at[k]].Peers = append(all[at[k]].Peers, peer)
			}
		}
	}
	return all
}

// sources are the other ready nodes that hold an image.
func (i *images) sources(digest string) []containers.Peer {
	for _, h := range i.held() {
		if h.Digest == digest {
			return h.Peers
		}
	}
	return nil
}

// peer is how to fetch images from a node.
func (i *images) peer(id string) (containers.Peer, bool) {
	m, ok := i.s.reader.View().Member(id)
	if !ok || m.Condition != cluster.Ready {
		return containers.Peer{}, false
	}
	return containers.Peer{Name: m.Name, BaseURL: peers.BaseURL(id), Client: i.s.peers.Client(id)}, true
}
