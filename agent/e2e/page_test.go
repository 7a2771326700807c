package e2e

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/piswarm/piswarm/agent/internal/dashboard/browsertest"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// TestPage looks at a shelf with a browser, as somebody does who tries the lab: by a forwarded port of 127.0.0.1.
func TestPage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: 3, Binary: binary, Token: trust.NewSecret().Token(), Forward: []int{cluster.DashboardPort}})
	if err != nil {
		t.Fatal(err)
	}
	s := own(t, l)
	s.awaitReady(3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")

	b := browsertest.Open(t)
	link := func(flags string) string {
		u, err := url.Parse(strings.TrimSpace(s.piswarm("pi1", "dashboard"+flags)))
		if err != nil {
			t.Fatal(err)
		}
		u.Host = fmt.Sprintf("127.0.0.1:%d", cluster.DashboardPort)
		return u.String()
	}
	b.Go(link(" --write"))
	b.Await(10*time.Second, "three nodes and four chips", `document.getElementById('state').textContent === 'live' &&
		document.querySelectorAll('.node[data-state="ready"]').length === 3 && document.querySelectorAll('.chip[data-state="running"]').length === 4`)
	b.Await(15*time.Second, "memory and load of each node",
		`[...document.querySelectorAll('.node')].every((n) => /% memory · load/.test(n.innerText))`)
	b.Screenshot("shelf")

	begun := time.Now()
	s.piswarm("pi2", "scale -d greeters 7")
	b.Await(9*time.Second, "seven chips", `document.querySelectorAll('.chip').length === 7`)
	t.Logf("seven chips %s after `piswarm scale` began on another node", time.Since(begun).Round(time.Millisecond))
	b.Await(20*time.Second, "all run", `document.querySelectorAll('.chip[data-state="running"]').length === 7`)

	b.Do("click on a task", chromedp.Click(chromedp.CSS(`.chip`)))
	b.Await(10*time.Second, "its details", `/docker.io\/library\/greeter/.test(document.getElementById('details').innerText)`)
	b.Await(10*time.Second, "its output, or that there is none", `document.querySelector('#details pre') || /printed nothing/.test(document.getElementById('details').innerText)`)
	b.Do("close", chromedp.Click(chromedp.CSS(`#details-close`)))

	begun = time.Now()
	if err := l.PowerOff("pi3"); err != nil {
		t.Fatal(err)
	}
	b.Await(15*time.Second, "pi3 is red", `[...document.querySelectorAll('.node[data-state="down"]')].some((n) => n.querySelector('.name').textContent === 'pi3')`)
	t.Logf("pi3 is red %s after its plug was pulled", time.Since(begun).Round(time.Millisecond))
	b.Await(30*time.Second, "its chips moved", `document.querySelectorAll('.node[data-state="ready"] .chip[data-state="running"]').length === 7 &&
		document.querySelectorAll('.node[data-state="down"] .chip').length === 0`)
	b.Await(5*time.Second, "the events tell", `/node pi3 down/.test(document.getElementById('events').innerText)`)
	b.Accessible("with a Pi without power")
	b.Screenshot("shelf-power-off")
	b.Phone()
	if got := browsertest.Eval[int](b, `document.documentElement.scrollWidth`); got > 360 {
		t.Errorf("on a phone, the page is %d wide", got)
	}
	b.Screenshot("shelf-phone")
	b.Desk()

	b.Do("scale on the page", chromedp.SetValue(chromedp.CSS(`[data-service="greeters"] input`), "2"), chromedp.Click(chromedp.CSS(`[aria-label="Scale greeters"]`)))
	s.eventually(20*time.Second, "two tasks are left", func() bool { return len(s.tasks("pi2", "greeters")) == 2 })
	b.Await(5*time.Second, "two chips", `document.querySelectorAll('.chip').length === 2`)

	// A link works once. Who comes by a name that may be anybody's is not answered, nor who has not signed in.
	s.strangersAtThePage()
	// A browser that signed in to look only does so.
	b.Go("about:blank")
	b.Go(link(""))
	b.Await(10*time.Second, "it looks, and has no buttons", `document.getElementById('state').textContent === 'live' && document.querySelector('.service .actions').hidden`)
}

// strangersAtThePage are refused.
func (s *shelf) strangersAtThePage() {
	s.t.Helper()
	for what, want := range map[string]struct{ args, answer string }{
		"the page itself":       {"http://pi2:7948/", "200"},
		"its data":              {"http://pi2:7948/api/stream", "401"},
		"a name of anybody's":   {"-H Host:evil.example http://pi2:7948/", "403"},
		"metrics, no token":     {"http://pi2:7948/metrics", "401"},
		"the API":               {"http://pi2:7948/v1/status", "404"},
		"a page of a container": {"-H Origin:http://pi2:9000 -X POST -H Content-Type:application/json -d {} http://pi2:7948/api/services/greeters/restart", "403"},
	} {
		args := append([]string{"curl", "-s", "-o", "/dev/null", "--max-time", "5", "-w", "%{http_code}"}, strings.Fields(want.args)...)
		if got := s.must("laptop", args...); got != want.answer {
			s.t.Errorf("%s: a stranger is answered %s, want %s", what, got, want.answer)
		}
	}
	token := strings.TrimSpace(s.piswarm("pi1", "token metrics"))
	got := s.must("laptop", "curl", "-s", "--max-time", "5", "-H", "Authorization: Bearer "+token, "http://pi2:7948/metrics")
	for _, want := range []string{`piswarm_members{state="ready"} 2`, `piswarm_members{state="down"} 1`, `piswarm_leader_changes_total `, `piswarm_reconcile_seconds_count{loop="worker"} `} {
		if !strings.Contains(got, want) {
			s.t.Errorf("the metrics of pi2, read with pi1's token, have no %s:\n%.3000s", want, got)
		}
	}
}
