package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

var metricName = regexp.MustCompile(`\b(piswarm|process|go)_[a-z_]+`)

// TestGrafana: the dashboard asks for metrics that there are, and shows every one of piswarm's.
func TestGrafana(t *testing.T) {
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var general bytes.Buffer
	metrics.WriteProcessMetrics(&general)
	there := map[string]bool{}
	for _, text := range []string{string(source), general.String()} {
		for _, name := range metricName.FindAllString(text, -1) {
			there[name] = true
		}
	}
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			names := metricName.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("panel %q asks for nothing: %q", p.Title, target.Expr)
			}
			for _, name := range names {
				name = strings.TrimSuffix(name, "_bucket") // of a histogram
				if shown[name] = true; !there[name] {
					t.Errorf("panel %q asks for %s, which there is not", p.Title, name)
				}
			}
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "piswarm_") && !shown[name] {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// line is one of Prometheus' text format.
var line = regexp.MustCompile(`^(#.*|[a-z_]+(\{[A-Za-z_]+="[^"]*"(, ?[A-Za-z_]+="[^"]*")*\})? [0-9.e+-]+|[a-z_]+(\{.*\})? (NaN|[+-]Inf))$`)

// TestMetrics of a node in no cluster, and of what it runs.
func TestMetrics(t *testing.T) {
	a := &Agent{runtime: &containers.Runtime{}, passes: metrics.NewSet()}
	a.took("worker", 30*time.Millisecond)
	a.took("worker", 3*time.Second)
	var out bytes.Buffer
	a.Metrics(&out)
	writeTasks(&out, view.View{
		Self: "a",
		Reports: map[string]cluster.Report{
			"a": {Tasks: []cluster.TaskStatus{{State: cluster.Running}, {State: cluster.Running}, {State: cluster.Failed}}},
			"b": {Tasks: []cluster.TaskStatus{{State: cluster.Running}}},
		},
		Services: []cluster.Service{{ID: "s", Spec: cluster.Spec{Name: "web"}}},
		Plans: map[string]cluster.Plan{"web": {ServiceID: "s", Tasks: []cluster.Task{
			{ID: "1", Node: "a"}, {ID: "2"}, {ID: "3"}, {ID: "4", Ended: cluster.Complete},
		}}},
	})
	for _, want := range []string{
		`piswarm_image_bytes_total{from="peer"} 0`, `piswarm_reconcile_seconds_count{loop="worker"} 2`, `piswarm_reconcile_seconds_bucket{loop="worker",le="0.1"} 1`,
		`piswarm_tasks{state="running"} 2`, `piswarm_tasks{state="failed"} 1`, `piswarm_tasks_pending 2`, `piswarm_throttled 0`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("there is no line %s in\n%s", want, out.String())
		}
	}
	for l := range strings.Lines(out.String()) {
		if l = strings.TrimSuffix(l, "\n"); !line.MatchString(l) {
			t.Errorf("not Prometheus' text format: %q", l)
		}
	}
}
