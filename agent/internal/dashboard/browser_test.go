package dashboard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/piswarm/piswarm/agent/internal/dashboard/browsertest"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// enter signs a browser in.
func enter(b *browsertest.Browser, p page, write bool) {
	b.Go("about:blank")
	b.Go(p.url + "/#sign-in=" + p.cfg.Sessions.Invite(write))
	b.Await(10*time.Second, "the page is live", `document.getElementById('state').textContent === 'live'`)
}

func chipsOn(node string) string {
	return fmt.Sprintf(`document.querySelectorAll('[data-node="%s"] .chip').length`, node)
}

// TestPage is what people do with the page, in one browser.
func TestPage(t *testing.T) {
	s := newShelf(3, 2, 4)
	p := open(t, s, false)
	b := browsertest.Open(t)
	b.Go(p.url)
	b.Await(5*time.Second, "it asks to sign in", `!document.getElementById('sign-in').hidden`)
	b.Accessible("before signing in")
	if got := browsertest.Eval[string](b, `document.getElementById('shelf').innerText`); got != "" {
		t.Errorf("who has not signed in sees %q", got)
	}

	enter(b, p, true)
	b.Await(5*time.Second, "three nodes and four chips", `document.querySelectorAll('.node:not([hidden])').length === 3 && document.querySelectorAll('.chip').length === 4`)
	if got := browsertest.Eval[string](b, `location.href`); strings.Contains(got, "sign-in") {
		t.Errorf("the code stays in the address: %s", got)
	}
	b.Await(5*time.Second, "temperature, memory and load", `/41 °C · 25 % memory · load 0.5/.test(document.querySelector('[data-node="node0001"]').innerText)`)
	if got := browsertest.Eval[string](b, `document.querySelector('[data-service="service1"] a').href`); got != strings.Replace(p.url, p.url[strings.LastIndex(p.url, ":"):], ":9000/", 1) {
		t.Errorf("the port is a link to %s", got)
	}

	t.Run("a node goes down", func(t *testing.T) {
		s.change(client.Event{Kind: "node", Name: "pi2", Action: "down"}, func() {
			n := s.nodes["node0002"]
			n.State = cluster.Down
			s.nodes["node0002"] = n
			one := s.tasks["task00002"]
			one.State, one.Error = cluster.Orphaned, "node pi2 is down"
			s.tasks["task00002"] = one
		})
		b.Await(2*time.Second, "pi2 is red", `document.querySelector('[data-node="node0002"]').dataset.state === 'down'`)
		line := browsertest.Eval[string](b, `getComputedStyle(document.querySelector('[data-node="node0002"]')).borderTopColor`)
		if line != "rgb(193, 18, 31)" {
			t.Errorf("the border of a node that is down is %s", line)
		}
		s.change(client.Event{Kind: "task", Name: "service2.1", Action: "running", Node: "pi3"}, func() {
			delete(s.tasks, "task00002")
			s.tasks["task00012"] = client.Task{ID: "task00012", Service: "service2", Slot: 1, NodeID: "node0003", Node: "pi3", State: cluster.Running, Desired: cluster.Running}
		})
		b.Await(3*time.Second, "its task is on pi3", chipsOn("node0002")+" === 0 && "+chipsOn("node0003")+" === 2")
		b.Await(2*time.Second, "the events tell", `/node pi2 down/.test(document.getElementById('events').innerText) && /service2.1 running on pi3/.test(document.getElementById('events').innerText)`)
		b.Await(5*time.Second, "who listens is told", `/pi2/.test(document.getElementById('news').textContent)`)
		b.Accessible("with a node down")
		b.Screenshot("desk-light")
	})
	t.Run("dark", func(t *testing.T) {
		b.Dark(true)
		b.Accessible("in the dark")
		b.Screenshot("desk-dark")
		b.Dark(false)
	})
	t.Run("phone", func(t *testing.T) {
		b.Phone()
		if got := browsertest.Eval[[]int](b, `[document.documentElement.scrollWidth, innerWidth]`); got[0] > 360 || got[1] != 360 {
			t.Errorf("on a phone, the page is %d wide in a window of %d", got[0], got[1])
		}
		b.Accessible("on a phone")
		b.Screenshot("phone")
		b.Desk()
	})
	t.Run("details of a task", func(t *testing.T) {
		b.Do("click", chromedp.Click(chromedp.CSS(`[data-task="task00001"]`)))
		b.Await(5*time.Second, "its last lines and its past", `/line 29/.test(document.querySelector('#details pre').textContent) && /exit code 3/.test(document.getElementById('details').innerText)`)
		if browsertest.Eval[bool](b, `!!document.querySelector('#details pre b')`) {
			t.Error("what a container prints is taken for markup")
		}
		b.Accessible("with the details of a task")
		b.Screenshot("task")
		b.Do("escape", chromedp.KeyEvent(kb.Escape))
		b.Await(2*time.Second, "the focus is where it was", `!document.getElementById('details').open && document.activeElement.dataset.task === 'task00001'`)
	})
	t.Run("by keyboard alone", func(t *testing.T) {
		b.Go(p.url)
		b.Await(5*time.Second, "the page is live again, by its cookie", `document.getElementById('state').textContent === 'live'`)
		b.Do("tab to the skip link", chromedp.KeyEvent(kb.Tab))
		for i := 0; ; i++ {
			at := browsertest.Eval[string](b, `document.activeElement.closest('.node')?.dataset.node + ' ' + document.activeElement.className`)
			if at == "node0001 name" {
				break
			}
			if i == 20 {
				t.Fatal("no tab leads to a node")
			}
			b.Do("tab", chromedp.KeyEvent(kb.Tab))
		}
		if got := browsertest.Eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); got != "solid" {
			t.Errorf("the focus is not to be seen: outline %s", got)
		}
		b.Do("enter", chromedp.KeyEvent(kb.Enter))
		b.Await(5*time.Second, "details of the node", `/Raspberry Pi Zero W/.test(document.getElementById('details').innerText)`)
		b.Accessible("with the details of a node")
		b.Do("drain", chromedp.Click(chromedp.Search(`//button[text()="Drain"]`)))
		b.Await(5*time.Second, "the dialog closes", `!document.getElementById('details').open`)
		if got := s.requests(); len(got) != 1 || got[0] != `PATCH /v1/nodes/node0001 {"availability":"drain"}` {
			t.Errorf("the API was asked %q", got)
		}
	})
	t.Run("scale", func(t *testing.T) {
		b.Do("type", chromedp.SetValue(chromedp.CSS(`[data-service="service1"] input`), "5"), chromedp.Click(chromedp.CSS(`[aria-label="Scale service1"]`)))
		b.Await(5*time.Second, "it is done", `!document.querySelector('[aria-label="Scale service1"]').disabled`)
		if got := s.requests(); len(got) != 2 || got[1] != `POST /v1/services/service1/scale {"replicas":5}` {
			t.Errorf("the API was asked %q", got)
		}
	})
	t.Run("a focused chip goes", func(t *testing.T) {
		browsertest.Eval[bool](b, `(document.querySelector('[data-task="task00003"]').focus(), true)`)
		s.change(client.Event{Kind: "task", Name: "service1.2", Action: "removed"}, func() { delete(s.tasks, "task00003") })
		b.Await(3*time.Second, "the focus goes to the node", `document.activeElement.className === 'name' && document.activeElement.closest('.node').dataset.node === 'node0003'`)
	})
	if got := b.Complaints(); len(got) > 0 {
		t.Errorf("the browser's console: %q", got)
	}
	t.Run("sign out", func(t *testing.T) {
		b.Do("click", chromedp.Click(chromedp.CSS(`#sign-out`)))
		b.Await(5*time.Second, "it asks to sign in", `!document.getElementById('sign-in').hidden`)
	})
}

// TestCrowdedPage: with 100 nodes and 1,000 tasks, changes appear. BenchmarkDrawing says how fast.
func TestCrowdedPage(t *testing.T) {
	s := newShelf(100, 20, 1000)
	b := crowdedPage(t, s)
	moveOne(b, s, "node0002")
	moveTen(b, s)
	b.Screenshot("hundred-nodes")
}

// crowdedPage shows 1,000 tasks.
func crowdedPage(t testing.TB, s *shelf) *browsertest.Browser {
	t.Helper()
	p := open(t, s, true)
	b := browsertest.Open(t)
	b.Go(p.url)
	b.Await(20*time.Second, "1,000 chips", `document.querySelectorAll('.chip').length === 1000`)
	return b
}

func moveOne(b *browsertest.Browser, s *shelf, node string) {
	s.move("task00001", node)
	b.Await(5*time.Second, "the chip is there", fmt.Sprintf(`document.querySelector('[data-node="%s"] [data-task="task00001"]')`, node))
}

// moveTen has a node go down with its ten tasks, which appear elsewhere.
func moveTen(b *browsertest.Browser, s *shelf) {
	s.change(client.Event{Kind: "node", Name: "pi50", Action: "down"}, func() {
		n := s.nodes["node0050"]
		n.State = cluster.Down
		s.nodes["node0050"] = n
		for id, task := range s.tasks {
			if task.NodeID == "node0050" {
				delete(s.tasks, id)
				task.ID, task.NodeID = "x"+id, "node0051"
				s.tasks[task.ID] = task
			}
		}
	})
	b.Await(5*time.Second, "all ten moved", chipsOn("node0050")+" === 0 && "+chipsOn("node0051")+" >= 20")
}
