package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// get reads a service as a client does.
func get(t *testing.T, url, name string) client.Service {
	t.Helper()
	var s client.Service
	_, answer := call(t, url, "GET", "/v1/services/"+name, "")
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return s
}

// send changes the service's spec by do and sends it.
func send(t *testing.T, url string, s client.Service, do func(*cluster.Spec)) (int, string) {
	t.Helper()
	in := client.ServiceUpdate{Spec: s.Spec, Version: s.Version}
	do(&in.Spec)
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return call(t, url, "PUT", "/v1/services/"+s.Spec.Name, string(raw))
}

func TestUpdateIsRefused(t *testing.T) {
	for _, test := range []struct {
		do     func(*cluster.Spec)
		status int
		want   string
	}{
		{func(s *cluster.Spec) { s.Name = "other" }, 400, "cannot be renamed"},
		{func(s *cluster.Spec) { s.Mode = cluster.Global }, 400, "is replicated and cannot become global"},
		{func(s *cluster.Spec) { s.Replicas = -1 }, 400, "-1 replicas are not possible"},
		{func(s *cluster.Spec) { s.Ports[0].Published = 80 }, 409, "port 80/tcp is already published by service web"},
		{func(s *cluster.Spec) { s.Container.Image = "nowhere" }, 422, "nobody has it"},
	} {
		n, server := start(t)
		call(t, server.URL, "POST", "/v1/services", fmt.Sprintf(create, `,"ports":[{"published":80,"target":80}]`))
		before := n.Store.Digest()
		if status, answer := send(t, server.URL, get(t, server.URL, "greeters"), test.do); status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%d %s\nwant %d … %s", status, answer, test.status, test.want)
		}
		if n.Store.Digest() != before {
			t.Errorf("%s: something was written", test.want)
		}
	}
	_, server := start(t)
	s := get(t, server.URL, "greeters")
	stale := s
	stale.Version = "1@zzzz"
	if status, answer := send(t, server.URL, stale, func(*cluster.Spec) {}); status != 409 || !strings.Contains(answer, "was changed by someone else meanwhile") {
		t.Errorf("a stale version: %d %s", status, answer)
	}
	stale.Version = ""
	if status, answer := send(t, server.URL, stale, func(*cluster.Spec) {}); status != 400 || !strings.Contains(answer, "the version is missing") {
		t.Errorf("no version: %d %s", status, answer)
	}
}

// TestOvertakenUpdate holds that a change made while the registry was asked is not overwritten.
func TestOvertakenUpdate(t *testing.T) {
	n, server := start(t)
	n.Images = meddler{n, func() { call(t, server.URL, "POST", "/v1/services/greeters/scale", `{"replicas":7}`) }}
	status, answer := send(t, server.URL, get(t, server.URL, "greeters"), func(s *cluster.Spec) { s.Container.Image = "other" })
	if status != 409 || !strings.Contains(answer, "meanwhile") {
		t.Errorf("%d %s", status, answer)
	}
	if s := get(t, server.URL, "greeters"); s.Spec.Replicas != 7 || s.Spec.Container.Image != "greeter:1" {
		t.Errorf("left %+v", s.Spec)
	}
}

// TestUpdateAndRollback goes through the life of a service.
func TestUpdateAndRollback(t *testing.T) {
	n, server := start(t)
	step := func(what string, do func(*cluster.Spec), generation uint64, resolved int32) client.Service {
		t.Helper()
		n.resolved.Store(0)
		if status, answer := send(t, server.URL, get(t, server.URL, "greeters"), do); status != 200 || !strings.Contains(answer, `"id":"s1"`) {
			t.Fatalf("%s: %d %s", what, status, answer)
		}
		s := get(t, server.URL, "greeters")
		if s.Generation != generation || n.resolved.Load() != resolved {
			t.Errorf("%s: generation %d, %d looked up, want generation %d and %d looked up", what, s.Generation, n.resolved.Load(), generation, resolved)
		}
		return s
	}
	first := get(t, server.URL, "greeters")
	step("nothing", func(*cluster.Spec) {}, 0, 0)
	step("replicas alone", func(s *cluster.Spec) { s.Replicas = 5 }, 0, 0)
	labelled := step("a label", func(s *cluster.Spec) { s.Labels = map[string]string{"a": "b"} }, 1, 0)
	if labelled.SpecVersion != first.SpecVersion || labelled.Status.Update.State != cluster.Updating {
		t.Errorf("a label: spec version %d, update %v", labelled.SpecVersion, labelled.Status.Update)
	}
	second := step("an image", func(s *cluster.Spec) { s.Container.Image = "greeter2" }, 2, 1)
	if second.SpecVersion == first.SpecVersion || second.Spec.Container.Digest == "" || second.Spec.Container.Image != "docker.io/library/greeter2:latest" {
		t.Errorf("an image: spec version %d, %+v", second.SpecVersion, second.Spec.Container)
	}
	step("the same image again", func(s *cluster.Spec) { s.Container.Digest = "" }, 2, 1)
	forced := step("force", func(s *cluster.Spec) { s.Force++ }, 3, 1)
	if forced.SpecVersion == second.SpecVersion {
		t.Error("force makes no new tasks")
	}

	if status, answer := call(t, server.URL, "POST", "/v1/services/greeters/rollback", ""); status != 200 {
		t.Fatalf("rollback: %d %s", status, answer)
	}
	back := get(t, server.URL, "greeters")
	if back.SpecVersion != second.SpecVersion || back.Spec.Force != 0 || back.Spec.Replicas != 5 || back.Status.Update.State != cluster.RollbackStarted {
		t.Errorf("rolled back to spec version %d, %+v", back.SpecVersion, back.Spec)
	}
}

// TestUpdateOfASharedPort: of two services that publish one port since a partition, each can be changed, and the ports
// of neither to ones that the other has.
func TestUpdateOfASharedPort(t *testing.T) {
	n, server := start(t)
	other := get(t, server.URL, "greeters").Service
	other.ID, other.Spec.Name = "s2", "twin"
	put(t, n.Store, cluster.ServiceKey("twin"), other)
	s := get(t, server.URL, "greeters")
	if len(s.Spec.Ports) == 0 {
		t.Fatal("the service publishes nothing")
	}
	if status, answer := send(t, server.URL, s, func(s *cluster.Spec) { s.Labels = map[string]string{"a": "b"} }); status != 200 {
		t.Errorf("a label: %d %s", status, answer)
	}
	more := func(s *cluster.Spec) { s.Ports = append(s.Ports, cluster.Port{Published: 9009, Target: 80}) }
	if status, answer := send(t, server.URL, get(t, server.URL, "greeters"), more); status != 409 || !strings.Contains(answer, "service twin") {
		t.Errorf("another port beside the shared one: %d %s", status, answer)
	}
}

// TestRollbackToATakenPort holds that a rollback never publishes what another service publishes by now.
func TestRollbackToATakenPort(t *testing.T) {
	_, server := start(t)
	send(t, server.URL, get(t, server.URL, "greeters"), func(s *cluster.Spec) { s.Ports = nil })
	if status, answer := call(t, server.URL, "POST", "/v1/services", fmt.Sprintf(create, `,"ports":[{"published":9000,"target":80}]`)); status != 200 {
		t.Fatal(answer)
	}
	if status, answer := call(t, server.URL, "POST", "/v1/services/greeters/rollback", ""); status != 409 || !strings.Contains(answer, "port 9000/tcp is already published by service web") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestRemovedNodeIsForgotten(t *testing.T) {
	n, server := start(t)
	put(t, n.Store, cluster.NodeKey("bbbb3333"), cluster.Settings{Name: "twin"})
	put(t, n.Store, cluster.ReportKey("bbbb3333"), cluster.Report{})
	if status, answer := call(t, server.URL, "DELETE", "/v1/nodes/bbbb3333", ""); status != 200 {
		t.Fatal(answer)
	}
	for _, key := range []string{cluster.NodeKey("bbbb3333"), cluster.ReportKey("bbbb3333")} {
		if _, ok := n.Store.Get(key); ok {
			t.Errorf("%s is still there", key)
		}
	}
	if fmt.Sprint(n.forgotten) != "[bbbb3333]" {
		t.Errorf("forgotten: %v", n.forgotten)
	}
	// It lasts: what the node says of itself later makes it no member.
	put(t, n.Store, cluster.NodeKey("bbbb3333"), cluster.Settings{Name: "twin"})
	if status, answer := call(t, server.URL, "GET", "/v1/nodes/bbbb3333", ""); status != 404 {
		t.Errorf("a removed node is back: %d %s", status, answer)
	}
	if status, answer := call(t, server.URL, "GET", "/v1/nodes", ""); status != 200 || strings.Contains(answer, "bbbb3333") {
		t.Errorf("a removed node is listed: %d %s", status, answer)
	}
	call(t, server.URL, "DELETE", "/v1/nodes/pi2", "") // is refused
	if len(n.forgotten) != 1 {
		t.Errorf("forgotten: %v", n.forgotten)
	}
}

// TestRemovedNodesAreBounded: the longest removed are forgotten.
func TestRemovedNodesAreBounded(t *testing.T) {
	n, server := start(t)
	for i := range maxRemoved {
		put(t, n.Store, cluster.RemovedKey(fmt.Sprintf("%03d", (i+7)%maxRemoved)), cluster.Removed{})
	}
	if status, answer := call(t, server.URL, "DELETE", "/v1/nodes/pi2?force=true", ""); status != 200 {
		t.Fatal(answer)
	}
	if got := n.Store.List(cluster.RemovedKey("")); len(got) != maxRemoved {
		t.Errorf("%d are remembered, want %d", len(got), maxRemoved)
	}
	if _, ok := n.Store.Get(cluster.RemovedKey("007")); ok {
		t.Error("the longest removed is remembered, so another one is not")
	}
	if _, ok := n.Store.Get(cluster.RemovedKey("aaaa2222")); !ok {
		t.Error("the one removed last is not remembered")
	}
}

// meddler does something while an image is looked up.
type meddler struct {
	Images
	do func()
}

func (m meddler) Resolve(ctx context.Context, ref string) (string, string, []cluster.Platform, error) {
	m.do()
	return m.Images.Resolve(ctx, ref)
}
