package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

const (
	pageRounds = 10
	// viewers look at one Pi's page while the shelf is idle, for lookedAt.
	viewers  = 3
	lookedAt = 30 * time.Second
	// boots is less than any Pi takes to start. One that answers sooner is taken for one that was slow, not dead, and is
	// given more time from then on.
	boots = 5 * time.Second
)

// measurePage takes the time until a browser has been told what is new, and what an agent spends on those who look. What
// the browser then needs to draw it, BenchmarkDrawing of agent/internal/dashboard says.
func measurePage(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, 4); err != nil {
		return nil, err
	}
	chips, err := s.measureChips(ctx)
	if err != nil {
		return nil, err
	}
	looks, err := s.measureLooks(ctx)
	if err != nil {
		return nil, err
	}
	red, err := s.measureRed(ctx)
	return []figure{chips, looks, red}, err
}

// measureChips scales up on one Pi, and waits for the page of another to have as many tasks.
func (s *shelf) measureChips(ctx context.Context) (figure, error) {
	v, err := s.look(ctx, "pi1")
	if err != nil {
		return figure{}, err
	}
	defer v.close()
	var samples []float64
	for i := range pageRounds {
		for _, wanted := range []int{7, 4} {
			begun := time.Now()
			err := s.ask("pi2", func(c *client.Client) error {
				_, err := c.ScaleService(ctx, "greeters", wanted)
				return err
			})
			if err != nil {
				return figure{}, err
			}
			if err := v.await(fmt.Sprintf("%d tasks", wanted), func() bool { return len(v.tasks) == wanted }); err != nil {
				return figure{}, err
			}
			if wanted == 7 {
				samples = append(samples, time.Since(begun).Seconds())
				progress("round %d of %d: the page has the new tasks after %.3f s", i+1, pageRounds, samples[i])
			}
			// Whatever else comes of it has come: the next round begins in peace.
			if err := rest(ctx, 2*time.Second); err != nil {
				return figure{}, err
			}
		}
	}
	return medianFigure("page: tasks of a scale appear", "s", 1, samples), nil
}

// measureRed pulls the plug of a Pi, and waits for the page of another to say that it is down.
func (s *shelf) measureRed(ctx context.Context) (figure, error) {
	var samples []float64
	for i := range pageRounds {
		// Neither the Pi that is looked at, nor always the same.
		victim := s.names()[1+i%(s.nodes-1)]
		took, err := s.turnsRed(ctx, "pi1", victim)
		if err != nil {
			return figure{}, err
		}
		samples = append(samples, took.Seconds())
		progress("round %d of %d: %s is down on the page after %.3f s", i+1, pageRounds, victim, took.Seconds())
		if err := rest(ctx, boots); err != nil {
			return figure{}, err
		}
		if err := s.lab.PowerOn(ctx, victim); err != nil {
			return figure{}, err
		}
		if err := s.awaitReady(ctx); err != nil {
			return figure{}, err
		}
	}
	return medianFigure("page: a Pi without power turns red", "s", 3, samples), nil
}

func (s *shelf) turnsRed(ctx context.Context, asked, victim string) (time.Duration, error) {
	v, err := s.look(ctx, asked)
	if err != nil {
		return 0, err
	}
	defer v.close()
	begun := time.Now()
	if err := s.lab.PowerOff(victim); err != nil {
		return 0, err
	}
	err = v.await(victim+" is down", func() bool {
		for _, n := range v.nodes {
			if n.Name == victim {
				return n.State == string(cluster.Down)
			}
		}
		return false
	})
	return time.Since(begun), err
}

// measureLooks compares the processor time of an agent whose page is looked at with its time before, and after.
func (s *shelf) measureLooks(ctx context.Context) (figure, error) {
	spent := func() (float64, error) {
		before, err := s.agentUse("pi1")
		if err != nil {
			return 0, err
		}
		if err := rest(ctx, lookedAt); err != nil {
			return 0, err
		}
		after, err := s.agentUse("pi1")
		return 100 * (after.cpu - before.cpu) / lookedAt.Seconds(), err
	}
	progress("nobody looks, %d look, and nobody looks, %s each", viewers, lookedAt)
	alone, err := spent()
	if err != nil {
		return figure{}, err
	}
	var all []*viewer
	leave := func() {
		for _, v := range all {
			v.close()
		}
		all = nil
	}
	defer leave()
	for range viewers {
		v, err := s.look(ctx, "pi1")
		if err != nil {
			return figure{}, err
		}
		all = append(all, v)
	}
	watched, err := spent()
	if err != nil {
		return figure{}, err
	}
	leave()
	again, err := spent()
	if err != nil {
		return figure{}, err
	}
	return figure{
		Name: fmt.Sprintf("page: processor time for %d who look", viewers), Unit: "% of a core", Target: new(1.0),
		Value: watched - (alone+again)/2, Samples: []float64{alone, watched, again},
		Note: fmt.Sprintf("%.2f with them, %.2f and %.2f without", watched, alone, again),
	}, nil
}

// viewer is a browser on the laptop, as far as the network sees it: signed in to a Pi's page, of which it keeps what it
// was told.
type viewer struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	failed chan error
	told   chan update
	nodes  map[string]*pageNode
	tasks  map[string]json.RawMessage
}

type pageNode struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// update is what a scene's message holds; null is for what has gone.
type update struct {
	Full  bool                       `json:"full"`
	Nodes map[string]*pageNode       `json:"nodes"`
	Tasks map[string]json.RawMessage `json:"tasks"`
}

// look signs in and waits for the first scene.
func (s *shelf) look(ctx context.Context, node string) (*viewer, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, err := s.stream(ctx, node)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("the page of %s: %w", node, err)
	}
	v := &viewer{body: body, cancel: cancel, failed: make(chan error, 1), told: make(chan update, 100),
		nodes: map[string]*pageNode{}, tasks: map[string]json.RawMessage{}}
	go v.read(ctx)
	if err := v.await("the shelf", func() bool { return len(v.nodes) == s.nodes }); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// stream opens the page's stream of events in the way of its script.
func (s *shelf) stream(ctx context.Context, node string) (io.ReadCloser, error) {
	var link client.DashboardLink
	err := s.ask(node, func(c *client.Client) (err error) {
		link, err = c.Dashboard(ctx, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(link.URL)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.lab.Dial(ctx, lab.LaptopName, network, address)
	}}
	code, err := json.Marshal(map[string]string{"code": strings.TrimPrefix(u.Fragment, "sign-in=")})
	if err != nil {
		return nil, err
	}
	origin := "http://" + u.Host
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, origin+"/sign-in", bytes.NewReader(code))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", origin)
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var session struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<12)).Decode(&session); err != nil || session.Token == "" {
		return nil, fmt.Errorf("sign in: %s: %w", answer.Status, err)
	}
	if request, err = http.NewRequestWithContext(ctx, http.MethodGet, origin+"/api/stream", nil); err != nil {
		return nil, err
	}
	request.Header.Set("X-Piswarm-Token", session.Token)
	for _, c := range answer.Cookies() {
		request.AddCookie(c)
	}
	if answer, err = transport.RoundTrip(request); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("stream: %s", answer.Status)
	}
	return answer.Body, nil
}

// read passes on the scenes until the stream ends.
func (v *viewer) read(ctx context.Context) {
	lines := bufio.NewScanner(v.body)
	lines.Buffer(nil, 1<<20)
	kind := ""
	for lines.Scan() {
		if name, ok := bytes.CutPrefix(lines.Bytes(), []byte("event: ")); ok {
			kind = string(name)
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || kind != "scene" {
			continue
		}
		var u update
		if err := json.Unmarshal(data, &u); err != nil {
			v.failed <- err
			return
		}
		select {
		case v.told <- u:
		case <-ctx.Done():
			return
		}
	}
	v.failed <- fmt.Errorf("the page's stream ended: %w", lines.Err())
}

// await takes in what the page says until something is so.
func (v *viewer) await(what string, so func() bool) error {
	limit := time.After(30 * time.Second)
	for !so() {
		select {
		case u := <-v.told:
			v.take(u)
		case err := <-v.failed:
			return err
		case <-limit:
			return fmt.Errorf("the page does not show within 30 s: %s", what)
		}
	}
	return nil
}

func (v *viewer) take(u update) {
	if u.Full {
		clear(v.nodes)
		clear(v.tasks)
	}
	for id, n := range u.Nodes {
		if v.nodes[id] = n; n == nil {
			delete(v.nodes, id)
		}
	}
	for id, t := range u.Tasks {
		if v.tasks[id] = t; string(t) == "null" {
			delete(v.tasks, id)
		}
	}
}

func (v *viewer) close() {
	v.cancel()
	v.body.Close()
}
