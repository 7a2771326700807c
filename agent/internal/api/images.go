package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// streamHandler answers one route with a stream of progress, of which it returns the end.
type streamHandler func(m *Member, r *http.Request, progress func(client.Progress)) (client.Progress, error)

// progressEvery is the least time between two lines about bytes.
const progressEvery = 200 * time.Millisecond

func (s *Server) stream(h streamHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := s.member()
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		control := http.NewResponseController(w)
		// The answer may begin before the body has been read: that is the progress.
		if err := control.EnableFullDuplex(); err != nil {
			s.fail(w, r, err)
			return
		}
		var mu sync.Mutex
		lines := json.NewEncoder(w)
		send := func(p client.Progress) {
			mu.Lock()
			defer mu.Unlock()
			_ = lines.Encode(p) // the client is gone: the request's context ends, and the work with it
			_ = control.Flush()
		}
		end, err := h(m, r, send)
		if err != nil {
			end = client.Progress{Error: oneLine(err)}
		} else {
			end.Done = true
		}
		send(end)
	})
}

func loadImages(m *Member, r *http.Request, progress func(client.Progress)) (client.Progress, error) {
	body := &counter{r: r, progress: progress}
	loaded, err := m.Images.Load(r.Context(), body)
	if err != nil {
		return client.Progress{}, err
	}
	return client.Progress{Message: "loaded", Images: loaded}, nil
}

// counter reads a body and tells how far it is.
type counter struct {
	r        *http.Request
	progress func(client.Progress)
	n        int64
	told     time.Time
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Body.Read(b)
	c.n += int64(n)
	if now := time.Now(); now.Sub(c.told) >= progressEvery {
		c.told = now
		c.progress(client.Progress{Message: "loading", Current: c.n, Total: max(c.r.ContentLength, 0)})
	}
	return n, err
}

func pullImage(m *Member, r *http.Request, progress func(client.Progress)) (client.Progress, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxBody)
	in, err := read[client.ImagePull](r)
	if err != nil {
		return client.Progress{}, err
	}
	progress(client.Progress{Message: "asking what " + in.Image + " is"})
	var told time.Time
	pulled, err := m.Images.Pull(r.Context(), in.Image, func(done, total int64) {
		if now := time.Now(); now.Sub(told) >= progressEvery {
			told = now
			progress(client.Progress{Message: "pulling", Current: done, Total: total})
		}
	})
	if err != nil {
		return client.Progress{}, err
	}
	return client.Progress{Message: "pulled", Images: pulled}, nil
}

// resolveImage says what a reference means.
func resolveImage(m *Member, r *http.Request) (any, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return nil, badRequest(errors.New("name the image to look up"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), resolveLimit)
	defer cancel()
	found, digest, platforms, err := m.Images.Resolve(ctx, name)
	if err != nil {
		return nil, problem{http.StatusUnprocessableEntity, err}
	}
	return client.ImageResolved{Name: found, Digest: digest, Platforms: append([]cluster.Platform{}, platforms...)}, nil
}

func tagImage(m *Member, r *http.Request) (any, error) {
	in, err := read[client.ImageTag](r)
	if err != nil {
		return nil, err
	}
	if in.Name == "" || in.Target == "" {
		return nil, badRequest(errors.New("name the image and the name that it is to get"))
	}
	if err := m.Images.Tag(r.Context(), in.Name, in.Target); err != nil {
		return nil, conflict("%w", err)
	}
	return client.Written{Holders: 1}, nil
}

// removeImage removes an image from this node. One that runs here stays.
func removeImage(m *Member, r *http.Request) (any, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return nil, badRequest(errors.New("name the image to remove"))
	}
	if err := m.Images.Remove(r.Context(), name); err != nil {
		return nil, conflict("%w", err)
	}
	return client.Written{Holders: 1}, nil
}
