package dashboard

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// watcher reads a stream as the page does, and knows what the page would show.
type watcher struct {
	t      testing.TB
	answer *http.Response
	in     *bufio.Scanner

	scene    scene
	lines    []string
	trouble  string
	messages int
	bytes    int
}

func watch(t testing.TB, b browser) *watcher {
	t.Helper()
	w := &watcher{t: t, answer: do(t, b.request(t, "GET", "/api/stream", ""))}
	t.Cleanup(w.close)
	if w.answer.StatusCode != http.StatusOK {
		t.Fatalf("stream: %s", w.answer.Status)
	}
	w.in = bufio.NewScanner(w.answer.Body)
	w.in.Buffer(nil, 4<<20)
	return w
}

func (w *watcher) close() { w.answer.Body.Close() }

// next takes in one message.
func (w *watcher) next() {
	w.t.Helper()
	kind := ""
	for w.in.Scan() {
		line := w.in.Text()
		if k, ok := strings.CutPrefix(line, "event: "); ok {
			kind = k
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if strings.Contains(data, "hunter2") {
			w.t.Fatalf("the stream tells an environment: %s", data)
		}
		w.messages, w.bytes = w.messages+1, w.bytes+len(data)
		w.take(kind, []byte(data))
		return
	}
	w.t.Fatalf("the stream ended: %v", w.in.Err())
}

func (w *watcher) take(kind string, data []byte) {
	w.t.Helper()
	var err error
	switch kind {
	case "scene":
		var d difference
		if err = json.Unmarshal(data, &d); err == nil {
			w.scene = applied(w.scene, d)
		}
	case "lines":
		var lines []struct{ Text string }
		err = json.Unmarshal(data, &lines)
		for _, l := range lines {
			w.lines = append(w.lines, l.Text)
		}
	case "trouble":
		var said client.Problem
		err = json.Unmarshal(data, &said)
		w.trouble = said.Error
	default:
		w.t.Fatalf("a message of kind %q", kind)
	}
	if err != nil {
		w.t.Fatalf("%s: %v in %s", kind, err, data)
	}
}

// applied is what a difference makes of a scene.
func applied(s scene, d difference) scene {
	if d.Full {
		s = scene{}
	}
	if d.Head != nil {
		s.head = *d.Head
	}
	s.nodes, s.services = patch(s.nodes, d.Nodes), patch(s.services, d.Services)
	s.tasks, s.vitals = patch(s.tasks, d.Tasks), patch(s.vitals, d.Vitals)
	return s
}

func patch[V any](m map[string]V, changes map[string]*V) map[string]V {
	out := map[string]V{}
	for key, v := range m {
		out[key] = v
	}
	for key, v := range changes {
		if v == nil {
			delete(out, key)
		} else {
			out[key] = *v
		}
	}
	return out
}

// await reads on until ok.
func (w *watcher) await(what string, ok func() bool) {
	w.t.Helper()
	timer := time.AfterFunc(10*time.Second, w.close)
	defer timer.Stop()
	for !ok() {
		if w.next(); w.messages > 500 {
			w.t.Fatalf("500 messages, and not %s", what)
		}
	}
}

// TestStream: three who look see every change, each only what has changed.
func TestStream(t *testing.T) {
	s := newShelf(3, 2, 6)
	p := open(t, s, true)
	var all []*watcher
	for range 3 {
		all = append(all, watch(t, browser{page: p}))
	}
	for _, w := range all {
		w.await("the shelf with its vitals", func() bool { return len(w.scene.tasks) == 6 && len(w.scene.vitals) == 3 })
		if got := w.scene.nodes["node0001"]; got.Name != "pi1" || got.Platform != "linux/arm/v6" || !got.Leader {
			t.Errorf("pi1 is %+v", got)
		}
		if got := w.scene.services["service2"]; got.Ports != "9001:80/tcp" || got.Running != 3 || got.Update != "" {
			t.Errorf("service2 is %+v", got)
		}
		w.bytes = 0
	}
	s.move("task00001", "node0002")
	for _, w := range all {
		w.await("the task on its new node", func() bool { return w.scene.tasks["task00001"].Node == "node0002" && len(w.lines) == 1 })
		if w.lines[0] != "task task00001 running on pi2" {
			t.Errorf("said: %q", w.lines)
		}
		if w.bytes > 400 {
			t.Errorf("one task that moves is told in %d bytes", w.bytes)
		}
	}
	late := watch(t, browser{page: p})
	late.await("all, and what happened", func() bool { return len(late.scene.tasks) == 6 && len(late.lines) == 1 })
	if !reflect.DeepEqual(late.scene, all[0].scene) {
		t.Errorf("who comes later sees\n%+v, not\n%+v", late.scene, all[0].scene)
	}
	s.change(client.Event{Kind: "node", Name: "pi3", Action: "down"}, func() {
		n := s.nodes["node0003"]
		n.State = cluster.Down
		s.nodes["node0003"] = n
	})
	for _, w := range all {
		w.await("pi3 down, without vitals", func() bool { return w.scene.nodes["node0003"].State == "down" && len(w.scene.vitals) == 2 })
	}
	s.change(client.Event{Kind: "service"}, func() {
		one := s.services["service1"]
		one.Status.Update.State = cluster.Updating
		s.services["service1"] = one
	})
	all[0].await("how far the update is", func() bool { u := all[0].scene.services["service1"]; return u.Update == "updating" && u.Updated == 3 })
}

// TestQuiet: while nobody looks, nothing is asked; while nothing changes, nothing is sent; and however fast things
// change, it is looked four times a second at most.
func TestQuiet(t *testing.T) {
	s := newShelf(3, 2, 6)
	p := open(t, s, true)
	looks := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.looks
	}
	w := watch(t, browser{page: p})
	w.await("the shelf", func() bool { return len(w.scene.vitals) == 3 })
	before, begun := looks(), time.Now()
	for i := range 100 {
		s.move("task00001", fmt.Sprintf("node%04d", 1+i%3))
		time.Sleep(10 * time.Millisecond)
	}
	s.move("task00001", "node0003")
	w.await("the last change", func() bool { return w.scene.tasks["task00001"].Node == "node0003" })
	if got, most := looks()-before, 2+int(time.Since(begun)/minPause); got > most {
		t.Errorf("looked %d times in %s, want at most %d", got, time.Since(begun), most)
	}
	w.close()
	deadline := time.Now().Add(5 * time.Second)
	for p.hub.scene() != nil && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	before = looks()
	s.move("task00001", "node0001")
	s.mu.Lock()
	streams := len(s.streams)
	s.mu.Unlock()
	if p.hub.scene() != nil || looks() != before {
		t.Error("nobody looks, and it works")
	}
	if streams != 0 {
		t.Errorf("nobody looks, and %d streams of events are open", streams)
	}
}

// TestTrouble: a node that leaves its cluster says so, and goes on when it is in one again.
func TestTrouble(t *testing.T) {
	s := newShelf(1, 1, 1)
	s.broken = true
	p := open(t, s, true)
	w := watch(t, browser{page: p})
	w.await("why there is nothing to see", func() bool { return w.trouble == "this node is in no cluster yet" })
	s.change(client.Event{}, func() { s.broken = false })
	w.await("the shelf, and no trouble", func() bool { return len(w.scene.tasks) == 1 && w.trouble == "" })
}

// TestCrowd: more than so many are sent away, and strangers leave room for those who signed in.
func TestCrowd(t *testing.T) {
	h := newHub(nil, nil)
	var all []*viewer
	for i := 0; ; i++ {
		v, err := h.join(false)
		if err != nil {
			if i != maxUnsigned {
				t.Errorf("%d strangers may look", i)
			}
			break
		}
		all = append(all, v)
	}
	for i := maxUnsigned; ; i++ {
		v, err := h.join(true)
		if err != nil {
			if i != maxViewers {
				t.Errorf("%d may look in all", i)
			}
			break
		}
		all = append(all, v)
	}
	for _, v := range all {
		h.leave(v)
	}
	if _, err := h.join(false); err != nil {
		t.Errorf("all have gone: %v", err)
	}
}

// TestDetails of a task are for all, but for its output.
func TestDetails(t *testing.T) {
	s := newShelf(2, 1, 2)
	for _, view := range []bool{false, true} {
		p := open(t, s, view)
		b := browser{page: p}
		if !view {
			b = signIn(t, p, false)
		}
		var got taskDetails
		_, text := status(t, b.request(t, "GET", "/api/tasks/task00001", ""))
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Service != "service1" || len(got.Past) != 1 || got.Past[0].Error != "exit code 3" {
			t.Errorf("details %s", text)
		}
		if view && (len(got.Log) != 0 || got.NoLog == "") || !view && len(got.Log) != tail {
			t.Errorf("signed in %t: %d lines of output, %q", !view, len(got.Log), got.NoLog)
		}
		for _, id := range []string{"none", "%2e%2e", "a%2fb", strings.Repeat("x", 5000)} {
			if got, text := status(t, b.request(t, "GET", "/api/tasks/"+id, "")); got != 404 {
				t.Errorf("task %.20s: %d %s", id, got, text)
			}
		}
	}
}
