package scheduler

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

var update = flag.Bool("update", false, "write the plans that come out into testdata")

// TestGolden reads each file of testdata. A file has four sections, each line indented below its name:
//
//	nodes     NAME PLATFORM MEMORY/CPUS [LABEL=VALUE] [down|left|unknown] [pause|drain] [leaving] [settled] [no-memory-limit]
//	cluster   [minority]
//	services  NAME [global|job|global-job] [replicas=N] [option=VALUE …]
//	plans     SERVICE SLOT NODE STATE [option=VALUE …], as it is before
//	updates   SERVICE STATE [option=VALUE …], as it is before
//	want      SERVICE SLOT NODE kept|new|adopted|gone, as it is after; of a task without a node, the reason; of an
//	          update, how far it is
//
// In plans, a task with the option orphan is reported and in no plan, and replaces=NODE/ATTEMPT and follows=NODE/ATTEMPT
// name a task of the same slot.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			before, want, ok := strings.Cut(text, "\nwant\n")
			if !ok {
				t.Fatal("no section want")
			}
			in := parse(t, before)
			out := Decide(in)
			got := render(in, out)
			if *update {
				if err := os.WriteFile(file, []byte(before+"\nwant\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("want\n%sgot\n%s", want, got)
			}
			checkLaws(t, in)
		})
	}
}

func parse(t *testing.T, text string) Input {
	t.Helper()
	in := Input{Plans: map[string]cluster.Plan{}, Status: map[string]Reported{}}
	section := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case line[0] != ' ':
			section = words[0]
		case section == "nodes":
			in.Nodes = append(in.Nodes, parseNode(t, words))
		case section == "cluster":
			in.Minority = words[0] == "minority"
		case section == "services":
			in.Services = append(in.Services, parseService(t, words))
		case section == "plans":
			parsePlanned(t, words, &in)
		case section == "updates":
			parseUpdate(t, words, &in)
		default:
			t.Fatalf("line %q in section %q", line, section)
		}
	}
	return in
}

func parseNode(t *testing.T, words []string) Node {
	t.Helper()
	n := Node{MemoryLimit: true, Availability: cluster.Active, Condition: cluster.Ready, Capacity: parseAmount(t, words[2])}
	n.Platform = parsePlatform(words[1])
	n.NodeFacts = cluster.NodeFacts{ID: words[0], Hostname: words[0], Arch: n.Platform.Arch, Role: cluster.Manager, Labels: map[string]string{}}
	for _, w := range words[3:] {
		key, value, isLabel := strings.Cut(w, "=")
		switch {
		case isLabel:
			n.Labels[key] = value
		case w == "down" || w == "left" || w == "unknown":
			n.Condition = cluster.Condition(w)
		case w == "pause" || w == "drain":
			n.Availability = cluster.Availability(w)
		case w == "leaving":
			n.Leaving = true
		case w == "settled":
			n.Settled = true
		case w == "no-memory-limit":
			n.MemoryLimit = false
		default:
			t.Fatalf("node %s: %q", words[0], w)
		}
	}
	return n
}

func parseService(t *testing.T, words []string) cluster.Service {
	t.Helper()
	s := cluster.Service{ID: "id-of-" + words[0], SpecVersion: 1}
	s.Spec = cluster.Spec{Name: words[0], Mode: cluster.Replicated, Placement: cluster.Placement{Strategy: cluster.Spread}}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "global":
			s.Spec.Mode = cluster.Global
		case "job":
			s.Spec.Mode = cluster.ReplicatedJob
		case "global-job":
			s.Spec.Mode = cluster.GlobalJob
		case "max-concurrent":
			s.Spec.MaxConcurrent = number(t, value)
		case "max-attempts":
			s.Spec.Restart.MaxAttempts = number(t, value)
		case "generation":
			s.Generation = uint64(number(t, value))
		case "past":
			// The versions before, the latest first; a failed one with an exclamation mark.
			for v := range strings.SplitSeq(value, ",") {
				v, failed := strings.CutSuffix(v, "!")
				s.Past = append(s.Past, cluster.Revision{SpecVersion: uint64(number(t, v)), Failed: failed})
			}
		case "rolling-back":
			s.RollingBack = true
		case "parallelism":
			s.Spec.Update.Parallelism = number(t, value)
		case "delay":
			s.Spec.Update.Delay = seconds(t, value)
		case "monitor":
			s.Spec.Update.Monitor = seconds(t, value)
		case "ratio":
			ratio, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			s.Spec.Update.MaxFailureRatio = ratio
		case "on-failure":
			s.Spec.Update.FailureAction = cluster.FailureAction(value)
		case "order":
			s.Spec.Update.Order = cluster.Order(value)
		case "replicas":
			s.Spec.Replicas = number(t, value)
		case "version":
			s.SpecVersion = uint64(number(t, value))
		case "reserve":
			s.Spec.Resources.Reservations = parseAmount(t, value)
		case "limit":
			s.Spec.Resources.Limits = parseAmount(t, value)
		case "image":
			for p := range strings.SplitSeq(value, ",") {
				s.Spec.Container.Platforms = append(s.Spec.Container.Platforms, parsePlatform(p))
			}
		case "constraint":
			c, err := cluster.ParseConstraint(value)
			if err != nil {
				t.Fatal(err)
			}
			s.Spec.Placement.Constraints = append(s.Spec.Placement.Constraints, c)
		case "spread":
			s.Spec.Placement.Spread = append(s.Spec.Placement.Spread, value)
		case "max-per-node":
			s.Spec.Placement.MaxPerNode = number(t, value)
		case "binpack":
			s.Spec.Placement.Strategy = cluster.Binpack
		case "stop":
			s.Spec.OnPartition = cluster.StopOnPartition
		case "mount":
			s.Spec.Container.Mounts = append(s.Spec.Container.Mounts, cluster.Mount{Type: cluster.MountType(value), Target: "/data"})
		case "host-port":
			s.Spec.Ports = append(s.Spec.Ports, cluster.Port{Published: uint16(number(t, value)), Target: 80, Protocol: cluster.TCP, Mode: cluster.PortHost})
		default:
			t.Fatalf("service %s: %q", words[0], w)
		}
	}
	s.Spec.Rollback = s.Spec.Update
	for i := range s.Past {
		s.Past[i].Spec = s.Spec
	}
	return s
}

func seconds(t *testing.T, s string) time.Duration { return time.Duration(number(t, s)) * time.Second }

func parseUpdate(t *testing.T, words []string, in *Input) {
	t.Helper()
	plan := in.Plans[words[0]]
	plan.Update.State = cluster.UpdateState(words[1])
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "generation":
			plan.Update.Generation = uint64(number(t, value))
		case "base":
			plan.Update.Base = uint64(number(t, value))
		case "message":
			plan.Update.Message = strings.ReplaceAll(value, "_", " ")
		case "failed":
			for v := range strings.SplitSeq(value, ",") {
				p := strings.Split(v, "/")
				plan.Update.Failed = append(plan.Update.Failed, taskID(plan.ServiceID, number(t, p[0]), p[1], uint64(number(t, p[2]))))
			}
			slices.Sort(plan.Update.Failed)
		default:
			t.Fatalf("update of %s: %q", words[0], w)
		}
	}
	in.Plans[words[0]] = plan
}

func parsePlanned(t *testing.T, words []string, in *Input) {
	t.Helper()
	name := words[0]
	plan := in.Plans[name]
	plan.ServiceID = cmp.Or(plan.ServiceID, "id-of-"+name)
	task := cluster.Task{Slot: number(t, words[1]), Node: strings.Trim(words[2], "-"), SpecVersion: 1, Attempt: 1}
	status := cluster.TaskStatus{Slot: task.Slot, State: cluster.State(words[3])}
	orphan := false
	var seen Reported
	for _, w := range words[4:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "attempt":
			task.Attempt = uint64(number(t, value))
		case "version":
			task.SpecVersion = uint64(number(t, value))
		case "restarts":
			status.Restarts = number(t, value)
		case "avoid":
			task.Avoid = strings.Split(value, ",")
		case "for":
			seen.For = seconds(t, value)
		case "ran":
			seen.Ran = seconds(t, value)
		case "error":
			status.Error = strings.ReplaceAll(value, "_", " ")
		case "final":
			status.Final = true
		case "ended":
			task.Ended = cluster.State(value)
		case "orphan":
			orphan = true
		case "replaces", "follows":
			node, attempt, _ := strings.Cut(value, "/")
			id := taskID(plan.ServiceID, task.Slot, node, uint64(number(t, attempt)))
			if key == "replaces" {
				task.Replaces = id
			} else {
				task.Follows = id
			}
		case "retired":
			plan.Retired = uint64(number(t, value))
		case "of":
			plan.ServiceID = value
		default:
			t.Fatalf("plan of %s: %q", name, w)
		}
	}
	task.ID = taskID(plan.ServiceID, task.Slot, task.Node, task.Attempt)
	status.ServiceID, status.SpecVersion = plan.ServiceID, task.SpecVersion
	if !orphan {
		plan.Tasks = append(plan.Tasks, task)
		in.Plans[name] = plan
	}
	// The leader passes on what ready nodes report; "unreported" stands for none.
	ready := slices.ContainsFunc(in.Nodes, func(n Node) bool { return n.ID == task.Node && n.Condition == cluster.Ready })
	if ready && status.State != "unreported" {
		seen.Node, seen.TaskStatus = task.Node, status
		in.Status[task.ID] = seen
	}
}

func parsePlatform(s string) cluster.Platform {
	parts := append(strings.Split(s, "/"), "")
	return cluster.Platform{OS: "linux", Arch: parts[0], Variant: parts[1]}
}

func parseAmount(t *testing.T, s string) cluster.Amount {
	t.Helper()
	memory, cpus, _ := strings.Cut(s, "/")
	m, ok := strings.CutSuffix(memory, "M")
	c, err := strconv.ParseFloat(cmp.Or(cpus, "0"), 64)
	if !ok || err != nil {
		t.Fatalf("amount %q", s)
	}
	return cluster.Amount{MemoryBytes: int64(number(t, m)) << 20, NanoCPUs: int64(c * 1e9)}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// render writes what becomes of every task.
func render(in Input, out Output) string {
	after := apply(in, out).Plans
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		before := map[string]bool{}
		for _, t := range in.Plans[name].Tasks {
			before[t.ID] = true
		}
		nodeOf := map[string]string{}
		for _, t := range in.Plans[name].Tasks {
			nodeOf[t.ID] = t.Node
		}
		for _, t := range after[name].Tasks {
			nodeOf[t.ID] = t.Node
		}
		for _, t := range after[name].Tasks {
			fate := "new"
			if _, reported := in.Status[t.ID]; before[t.ID] {
				fate = "kept"
			} else if reported {
				fate = "adopted"
			}
			delete(before, t.ID)
			line := fmt.Sprintf("%s %d %s", name, t.Slot, cmp.Or(t.Node, "-"))
			if t.Node == "" && t.Ended == "" {
				fate = t.Reason
			}
			line += " " + fate
			if t.Attempt > 1 {
				line += fmt.Sprintf(" attempt=%d", t.Attempt)
			}
			if t.SpecVersion > 1 {
				line += fmt.Sprintf(" version=%d", t.SpecVersion)
			}
			if t.Replaces != "" {
				line += " replaces=" + nodeOf[t.Replaces]
			}
			if t.Follows != "" {
				line += " follows=" + cmp.Or(nodeOf[t.Follows], "?")
			}
			if t.Ended != "" {
				line += " ended=" + string(t.Ended)
			}
			if len(t.Avoid) > 0 {
				line += " avoid=" + strings.Join(t.Avoid, ",")
			}
			lines = append(lines, line)
		}
		for _, t := range in.Plans[name].Tasks {
			if before[t.ID] && t.Node != "" {
				lines = append(lines, fmt.Sprintf("%s %d %s gone", name, t.Slot, t.Node))
			}
		}
		if u := after[name].Update; u.State != "" {
			line := fmt.Sprintf("%s update %s", name, u.State)
			if len(u.Failed) > 0 {
				line += fmt.Sprintf(", %d failed", len(u.Failed))
			}
			if u.Message != "" {
				line += ": " + u.Message
			}
			lines = append(lines, line)
		}
	}
	for _, name := range out.Rollback {
		lines = append(lines, "roll back "+name)
	}
	for _, name := range out.Delete {
		lines = append(lines, "delete the plan of "+name)
	}
	if len(lines) == 0 {
		return ""
	}
	return "  " + strings.Join(lines, "\n  ") + "\n"
}

// apply is what the leader does with the output.
func apply(in Input, out Output) Input {
	in.Plans = maps.Clone(in.Plans)
	if in.Plans == nil {
		in.Plans = map[string]cluster.Plan{}
	}
	maps.Copy(in.Plans, out.Plans)
	for _, name := range out.Delete {
		delete(in.Plans, name)
	}
	return in
}
