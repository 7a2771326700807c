package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// full is a service that has something of everything.
func full(t *testing.T) *fakeAgent {
	f := newFakeAgent(t)
	s := client.Service{Version: "7@node1"}
	s.ID, s.SpecVersion = "web-id", 1
	s.Spec = cluster.Spec{
		Name: "web", Mode: cluster.Replicated, Replicas: 2, Labels: map[string]string{"a": "1", "b": "2"},
		Container: cluster.Container{
			Image: "docker.io/library/nginx:1.27", Digest: "sha256:" + strings.Repeat("ab", 32), Platforms: []cluster.Platform{{OS: "linux", Arch: "arm64"}},
			Env: []string{"A=1", "B=2", "C=3"}, Labels: map[string]string{"x": "1", "y": "2"},
			Mounts:  []cluster.Mount{{Type: cluster.MountVolume, Source: "data", Target: "/data"}, {Type: cluster.MountTmpfs, Target: "/tmp"}},
			Secrets: []cluster.FileRef{{Name: "db", ID: "db-id"}, {Name: "tls", ID: "tls-id", Target: "/a"}, {Name: "tls", ID: "tls-id", Target: "/b"}},
			Configs: []cluster.FileRef{{Name: "app", ID: "app-id", Target: "etc/app"}},
			Devices: []cluster.Device{{Host: "/dev/a", Container: "/dev/x", Permissions: "rwm"}, {Host: "/dev/b", Container: "/dev/b", Permissions: "r"}},
			CapAdd:  []string{"CAP_NET_RAW"}, CapDrop: []string{"CAP_CHOWN"},
			Health: cluster.Health{Cmd: []string{"/bin/sh", "-c", "true"}, Interval: time.Second},
		},
		Resources: cluster.Resources{Limits: cluster.Amount{MemoryBytes: 64 << 20, NanoCPUs: 1e9}},
		Placement: cluster.Placement{
			Constraints: []cluster.Constraint{{Attribute: "node.labels.room", Value: "hall"}, {Attribute: "node.arch", Value: "arm", Not: true}},
			Spread:      []string{"node.labels.floor"}, MaxPerNode: 2,
		},
		Ports: []cluster.Port{
			{Published: 80, Target: 8080, Protocol: cluster.TCP, Mode: cluster.PortIngress}, {Published: 81, Target: 8080, Protocol: cluster.TCP, Mode: cluster.PortIngress},
			{Published: 53, Target: 53, Protocol: cluster.UDP, Mode: cluster.PortIngress},
		},
	}.WithDefaults()
	f.services = []client.Service{s}
	return f
}

// put returns the spec that the only write sent, and its version.
func (f *fakeAgent) put(t *testing.T) (cluster.Spec, string) {
	t.Helper()
	writes := f.writes()
	body, ok := "", false
	if len(writes) == 1 {
		body, ok = strings.CutPrefix(writes[0], "PUT /v1/services/web ")
	}
	var in client.ServiceUpdate
	if err := json.Unmarshal([]byte(body), &in); !ok || err != nil {
		t.Fatalf("wrote %q: %v", writes, err)
	}
	return in.Spec, in.Version
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestEveryFlagOfUpdate holds what each flag changes, and that it changes nothing else.
func TestEveryFlagOfUpdate(t *testing.T) {
	t.Setenv("HERE", "now")
	for args, do := range map[string]func(*cluster.Spec){
		"--image nginx:2": func(s *cluster.Spec) {
			s.Container.Image, s.Container.Digest, s.Container.Platforms = "docker.io/library/nginx:2", "", nil
		},
		"--image nginx:1.27":            func(s *cluster.Spec) { s.Container.Digest, s.Container.Platforms = "", nil },
		"--args a|--b":                  func(s *cluster.Spec) { s.Container.Args = []string{"a", "--b"} },
		"--entrypoint sh|-c":            func(s *cluster.Spec) { s.Container.Entrypoint = []string{"sh", "-c"} },
		"--force":                       func(s *cluster.Spec) { s.Force = 1 },
		"--replicas 5":                  func(s *cluster.Spec) { s.Replicas = 5 },
		"--env-add B=3 --env-add D=4":   func(s *cluster.Spec) { s.Container.Env = []string{"A=1", "B=3", "C=3", "D=4"} },
		"--env-add HERE":                func(s *cluster.Spec) { s.Container.Env = append(s.Container.Env, "HERE=now") },
		"--env-rm A --env-rm C":         func(s *cluster.Spec) { s.Container.Env = []string{"B=2"} },
		"--env-rm A --env-add A=9":      func(s *cluster.Spec) { s.Container.Env = []string{"B=2", "C=3", "A=9"} },
		"--label-add a=9 --label-add c": func(s *cluster.Spec) { s.Labels = map[string]string{"a": "9", "b": "2", "c": ""} },
		"--label-rm a --label-rm b":     func(s *cluster.Spec) { s.Labels = nil },
		"--container-label-add z=1":     func(s *cluster.Spec) { s.Container.Labels["z"] = "1" },
		"--container-label-rm x":        func(s *cluster.Spec) { delete(s.Container.Labels, "x") },
		"--mount-add type=tmpfs,target=/run": func(s *cluster.Spec) {
			s.Container.Mounts = append(s.Container.Mounts, cluster.Mount{Type: cluster.MountTmpfs, Target: "/run"})
		},
		"--mount-add type=volume,source=other,target=/data": func(s *cluster.Spec) { s.Container.Mounts[0].Source = "other" },
		"--mount-rm /data/": func(s *cluster.Spec) { s.Container.Mounts = s.Container.Mounts[1:] },
		"--secret-add new": func(s *cluster.Spec) {
			s.Container.Secrets = append(s.Container.Secrets, cluster.FileRef{Name: "new", Target: "/run/secrets/new", Mode: 0o400})
		},
		"--secret-add source=new,target=db,mode=0440": func(s *cluster.Spec) {
			s.Container.Secrets[0] = cluster.FileRef{Name: "new", Target: "/run/secrets/db", Mode: 0o440}
		},
		"--secret-add db": func(s *cluster.Spec) { s.Container.Secrets[0].ID = "" }, // which is the one of today
		"--secret-rm tls": func(s *cluster.Spec) { s.Container.Secrets = s.Container.Secrets[:1] },
		"--secret-rm tls --secret-add source=tls,uid=7": func(s *cluster.Spec) {
			s.Container.Secrets = append(s.Container.Secrets[:1], cluster.FileRef{Name: "tls", Target: "/run/secrets/tls", UID: 7, Mode: 0o400})
		},
		"--config-rm app --config-add source=app2,target=/etc/app": func(s *cluster.Spec) {
			s.Container.Configs = []cluster.FileRef{{Name: "app2", Target: "/etc/app", Mode: 0o444}}
		},
		"--device-add /dev/c": func(s *cluster.Spec) {
			s.Container.Devices = append(s.Container.Devices, cluster.Device{Host: "/dev/c", Container: "/dev/c", Permissions: "rwm"})
		},
		"--device-rm /dev/x": func(s *cluster.Spec) { s.Container.Devices = s.Container.Devices[1:] },
		"--publish-add 443:8443": func(s *cluster.Spec) {
			s.Ports = append(s.Ports, cluster.Port{Published: 443, Target: 8443, Protocol: cluster.TCP, Mode: cluster.PortIngress})
		},
		"--publish-add 80:9090": func(s *cluster.Spec) { s.Ports[0].Target = 9090 },
		"--publish-rm 8080":     func(s *cluster.Spec) { s.Ports = s.Ports[2:] },
		"--publish-rm 81:8080":  func(s *cluster.Spec) { s.Ports = append(s.Ports[:1:1], s.Ports[2]) },
		"--publish-rm 53/udp":   func(s *cluster.Spec) { s.Ports = s.Ports[:2] },
		"--constraint-add node.role==worker": func(s *cluster.Spec) {
			s.Placement.Constraints = append(s.Placement.Constraints, cluster.Constraint{Attribute: "node.role", Value: "worker"})
		},
		"--constraint-rm node.arch!=arm":               func(s *cluster.Spec) { s.Placement.Constraints = s.Placement.Constraints[:1] },
		"--placement-pref-add spread=node.labels.x":    func(s *cluster.Spec) { s.Placement.Spread = append(s.Placement.Spread, "node.labels.x") },
		"--placement-pref-rm spread=node.labels.floor": func(s *cluster.Spec) { s.Placement.Spread = nil },
		"--replicas-max-per-node 0":                    func(s *cluster.Spec) { s.Placement.MaxPerNode = 0 },
		"--strategy binpack":                           func(s *cluster.Spec) { s.Placement.Strategy = cluster.Binpack },
		"--on-partition stop":                          func(s *cluster.Spec) { s.OnPartition = cluster.StopOnPartition },
		"--limit-memory 0":                             func(s *cluster.Spec) { s.Resources.Limits.MemoryBytes = 0 },
		"--limit-cpu 0.5":                              func(s *cluster.Spec) { s.Resources.Limits.NanoCPUs = 5e8 },
		"--reserve-memory 32m":                         func(s *cluster.Spec) { s.Resources.Reservations.MemoryBytes = 32 << 20 },
		"--reserve-cpu 0.5":                            func(s *cluster.Spec) { s.Resources.Reservations.NanoCPUs = 5e8 },
		"--user me --workdir /w --hostname h":          func(s *cluster.Spec) { s.Container.User, s.Container.Workdir, s.Container.Hostname = "me", "/w", "h" },
		"--stop-signal INT --stop-grace-period 3s":     func(s *cluster.Spec) { s.Container.StopSignal, s.Container.StopGracePeriod = "SIGINT", 3*time.Second },
		"--init --limit-pids 9":                        func(s *cluster.Spec) { s.Container.Init, s.Resources.Pids = true, 9 },
		"--read-only --privileged":                     func(s *cluster.Spec) { s.Container.ReadOnly, s.Container.Privileged = true, true },
		"--cap-add chown --cap-add sys_time": func(s *cluster.Spec) {
			s.Container.CapDrop, s.Container.CapAdd = nil, []string{"CAP_NET_RAW", "CAP_SYS_TIME"}
		},
		"--cap-drop net_raw --cap-drop kill": func(s *cluster.Spec) {
			s.Container.CapAdd, s.Container.CapDrop = nil, []string{"CAP_CHOWN", "CAP_KILL"}
		},
		"--health-tcp":       func(s *cluster.Spec) { s.Container.Health = cluster.Health{TCP: true, Interval: time.Second} },
		"--health-cmd ":      func(s *cluster.Spec) { s.Container.Health.Cmd = nil },
		"--health-retries 5": func(s *cluster.Spec) { s.Container.Health.Retries = 5 },
		"--no-healthcheck":   func(s *cluster.Spec) { s.Container.Health = cluster.Health{Disabled: true} },
		"--update-parallelism 0 --update-monitor 0s": func(s *cluster.Spec) { s.Update.Parallelism, s.Update.Monitor = 0, 0 },
		"--update-order start-first":                 func(s *cluster.Spec) { s.Update.Order = cluster.StartFirst },
		"--rollback-delay 3s":                        func(s *cluster.Spec) { s.Rollback.Delay = 3 * time.Second },
		"--restart-condition none":                   func(s *cluster.Spec) { s.Restart.Condition = cluster.RestartNone },
		"--restart-max-attempts 3":                   func(s *cluster.Spec) { s.Restart.MaxAttempts = 3 },
	} {
		t.Run(args, func(t *testing.T) {
			f := full(t)
			words := strings.Split("update -d -q "+args, " ")
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "|", " ")
			}
			r := run(t, f, "", append(words, "web")...)
			if r != (result{}) {
				t.Fatalf("got %+v", r)
			}
			got, version := f.put(t)
			want := full(t).services[0].Spec
			do(&want)
			if x, y := asJSON(t, got), asJSON(t, want); x != y || version != "7@node1" {
				t.Errorf("version %s, sent %s\nwant %s", version, x, y)
			}
		})
	}
}

func TestUpdateOfWhatChangesMeanwhile(t *testing.T) {
	f := full(t)
	f.overtake = 2
	if r := run(t, f, "", "update", "-d", "--env-rm", "A", "web"); r.code != 0 || r.stdout != "web\n" {
		t.Errorf("got %+v", r)
	}
	if writes := f.writes(); len(writes) != 3 || !strings.Contains(writes[2], `"version":"7@node1++"`) {
		t.Errorf("wrote %q", writes)
	}
	f = full(t)
	f.overtake = 99
	if r := run(t, f, "", "update", "-d", "--env-rm", "A", "web"); r.code != 1 || r.stderr != "piswarm: changed meanwhile\n" || len(f.writes()) != changeTries {
		t.Errorf("got %+v after %d writes", r, len(f.writes()))
	}
}

// TestConflict holds that a conflict with something else is told of at once.
func TestConflict(t *testing.T) {
	f := full(t)
	f.conflict = true
	if r := run(t, f, "", "update", "-d", "--publish-add", "8000:80", "web"); r.code != 1 || len(f.writes()) != 1 {
		t.Errorf("got %+v after %d writes", r, len(f.writes()))
	}
}

// turn plays an update: after the write, the service and its tasks go through these steps, each only when the tasks of
// the one before it have been read. The service may be read in one step, and its tasks in the next.
func (f *fakeAgent) turn(t *testing.T, steps ...func()) {
	f.onWrite = func(string) {
		f.change(steps[0])
		go func() {
			for _, step := range steps[1:] {
				f.awaitRead(t)
				f.change(step)
			}
		}()
	}
}

// at is a step of an update of greeters: its state, and its tasks.
func (f *fakeAgent) at(state cluster.UpdateState, message string, tasks ...client.Task) func() {
	return func() {
		f.services[0].SpecVersion = 2
		f.services[0].Status.Update = client.UpdateStatus{State: state, Message: message}
		f.tasks = tasks
	}
}

func made(version uint64, t client.Task) client.Task {
	t.SpecVersion = version
	t.ID += map[uint64]string{1: "old", 2: "new"}[version]
	return t
}

func TestUpdateShowsItsWay(t *testing.T) {
	f := shelf(t)
	old1, old2 := made(1, greeter(1, "pi1", cluster.Running, "")), made(1, greeter(2, "pi2", cluster.Running, ""))
	new1, new2 := made(2, greeter(1, "pi1", cluster.Running, "")), made(2, greeter(2, "pi3", cluster.Running, ""))
	f.turn(t,
		f.at(cluster.Updating, "", old1, old2),
		f.at(cluster.Updating, "", old1, made(2, greeter(1, "pi1", cluster.Starting, "")), old2),
		f.at(cluster.Updating, "", new1, old2),
		f.at(cluster.Updating, "", new1, made(2, greeter(2, "pi3", cluster.Preparing, "")), old2),
		f.at(cluster.Updating, "", new1, new2),
		f.at(cluster.UpdateCompleted, "", new1, new2),
	)
	r := run(t, f, "", "update", "--image", "greeter:2", "greeters")
	want := `greeters
greeters.1 starting on pi1
greeters.1 running on pi1
greeters.2 preparing on pi3
greeters.2 running on pi3
greeters: 2/2 running
`
	if r.stdout != want || r.stderr != "" || r.code != 0 {
		t.Errorf("got %+v\nwant\n%s", r, want)
	}
}

func TestUpdateThatFails(t *testing.T) {
	old, new := made(1, greeter(1, "pi1", cluster.Running, "")), made(2, greeter(1, "pi1", cluster.Failed, "exit code 1"))
	for _, test := range []struct {
		name           string
		args           []string
		steps          func(f *fakeAgent) []func()
		stdout, stderr string
	}{
		{"paused", []string{"update", "--image", "greeter:2", "greeters"}, func(f *fakeAgent) []func() {
			return []func(){f.at(cluster.Updating, "", old), f.at(cluster.Updating, "", old, new), f.at(cluster.UpdatePaused, "task greeters.1 failed", old, new)}
		}, "greeters\ngreeters.1 failed on pi1: exit code 1\n", "piswarm: greeters: the update is paused: task greeters.1 failed\n"},
		{"rolled back", []string{"update", "--image", "greeter:2", "greeters"}, func(f *fakeAgent) []func() {
			back := func(tasks ...client.Task) func() {
				return f.at(cluster.RollbackStarted, "task greeters.1 failed", tasks...)
			}
			return []func(){f.at(cluster.Updating, "", new), back(new), back(old), f.at(cluster.RollbackCompleted, "task greeters.1 failed", old)}
		}, "greeters\ngreeters.1 failed on pi1: exit code 1\ngreeters: the update failed and is rolled back: task greeters.1 failed\ngreeters.1 running on pi1\n",
			"piswarm: greeters: the update failed and was rolled back: task greeters.1 failed\n"},
		{"rollback paused", []string{"rollback", "greeters"}, func(f *fakeAgent) []func() {
			return []func(){f.at(cluster.RollbackStarted, "", old), f.at(cluster.RollbackPaused, "task greeters.1 failed", old)}
		}, "greeters\n", "piswarm: greeters: the rollback is paused: task greeters.1 failed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := shelf(t)
			f.services[0].Spec.Replicas = 1
			f.turn(t, test.steps(f)...)
			if r := run(t, f, "", test.args...); r != (result{test.stdout, test.stderr, 2}) {
				t.Errorf("got %+v\nwant %q, %q", r, test.stdout, test.stderr)
			}
		})
	}
}

func TestInterruptLeavesTheUpdateGoing(t *testing.T) {
	f := shelf(t)
	f.turn(t, f.at(cluster.Updating, "", made(1, greeter(1, "pi1", cluster.Running, ""))))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f.awaitRead(t)
		cancel()
	}()
	r := runContext(ctx, f, "", "update", "--force", "greeters")
	if r.code != 1 || r.stderr != "piswarm: stopped waiting: greeters goes on in the background, see piswarm ps greeters\n" {
		t.Errorf("got %+v", r)
	}
}

func TestJobIsFollowedToItsEnd(t *testing.T) {
	done := func(slot int) client.Task {
		task := greeter(slot, "pi1", cluster.Complete, "")
		task.Desired = cluster.Complete
		return task
	}
	for _, test := range []struct {
		args string
		old  []client.Task // of the first reading
		want string
	}{
		{"create --mode replicated-job --name greeters --replicas 2 --max-concurrent 1 greeter", nil, "svc1id\n"},
		// What was done before is not told again.
		{"update --force greeters", []client.Task{made(1, done(1)), made(1, done(2))}, "greeters\n"},
	} {
		f := newFakeAgent(t)
		job := client.Service{}
		job.SpecVersion = 2
		job.Spec = cluster.Spec{Name: "greeters", Mode: cluster.ReplicatedJob, Replicas: 2, Container: cluster.Container{Image: "greeter"}}
		if test.old != nil {
			f.services, f.tasks = []client.Service{job}, test.old
		}
		step := func(tasks ...client.Task) func() {
			return func() { f.services, f.tasks = []client.Service{job}, tasks }
		}
		f.turn(t,
			step(test.old...), step(made(2, greeter(1, "pi1", cluster.Running, ""))),
			step(made(2, done(1)), made(2, greeter(2, "pi1", cluster.Starting, ""))), step(made(2, done(1)), made(2, done(2))),
		)
		r := run(t, f, "", strings.Fields(test.args)...)
		want := test.want + "greeters.1 running on pi1\ngreeters.1 complete on pi1\ngreeters.2 starting on pi1\ngreeters.2 complete on pi1\ngreeters: 2/2 complete\n"
		if r != (result{want, "", 0}) {
			t.Errorf("got %+v\nwant %q", r, want)
		}
	}
}

// TestBarsOfAnUpdate holds that tasks of an earlier spec wait for their turn, and that a rollback says why.
func TestBarsOfAnUpdate(t *testing.T) {
	s := client.Service{}
	s.SpecVersion = 2
	s.Spec = cluster.Spec{Name: "greeters", Mode: cluster.Replicated, Replicas: 3}
	s.Status.Update = client.UpdateStatus{State: cluster.RollbackStarted, Message: "task 1 on pi1: failed"}
	v := newView(s, []client.Task{
		made(1, greeter(1, "pi1", cluster.Running, "")), made(2, greeter(1, "pi2", cluster.Starting, "")),
		made(1, greeter(2, "pi1", cluster.Running, "")), made(2, greeter(3, "pi3", cluster.Running, "")),
	}, toUpdate)
	want := `overall progress: 1 out of 3 tasks
the update failed and is rolled back: task 1 on pi1: failed
1/3: starting  [===================>          ] pi2
2/3: waiting   [                              ] pi1
3/3: running   [=============================>] pi3`
	if got := strings.Join(barLines(v, undecided, 24), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for height := 5; height < 9; height++ {
		if lines := barLines(v, undecided, height); len(lines) >= height {
			t.Errorf("height %d: %d lines", height, len(lines))
		}
	}
}
