package cluster

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// full is a spec that uses everything.
func full() Spec {
	return Spec{
		Name: "web", Mode: Replicated, Replicas: 3, Labels: map[string]string{"team": "a"},
		Container: Container{
			Image: "docker.io/library/nginx:1.27", Digest: "sha256:" + strings.Repeat("0a", 32),
			Platforms:  []Platform{{"linux", "arm", "v7"}},
			Entrypoint: []string{"/bin/sh"}, Args: []string{"-c", "true"}, Env: []string{"A=b"},
			Workdir: "/app", User: "1000:1000", Hostname: "web.local", Labels: map[string]string{"a": "b"},
			Mounts:  []Mount{{Type: MountBind, Source: "/a", Target: "/a"}, {Type: MountTmpfs, Target: "/tmp", SizeBytes: 1 << 20}},
			Secrets: []FileRef{{Name: "db", ID: "x1", Target: "/run/secrets/db", UID: 1000, GID: 1001, Mode: 0o440}},
			Configs: []FileRef{{Name: "app.conf", Target: "/etc/app.conf", Mode: 0o444}},
			Devices: []Device{{"/dev/gpiomem", "/dev/gpiomem", "rwm"}},
			CapAdd:  []string{"CAP_NET_RAW"}, CapDrop: []string{"ALL"},
			StopSignal: "SIGINT", StopGracePeriod: time.Minute,
			Health: Health{HTTP: "/healthz", Interval: time.Second, Timeout: time.Second, Retries: 2, StartPeriod: time.Minute, StartInterval: time.Second},
		},
		Resources: Resources{Limits: Amount{64 << 20, 1e9}, Reservations: Amount{32 << 20, 5e8}},
		Placement: Placement{
			Constraints: []Constraint{{"node.labels.room", false, "kitchen"}}, Spread: []string{"node.labels.room"},
			MaxPerNode: 2, Strategy: Binpack,
		},
		Ports:       []Port{{9000, 5000, TCP, PortIngress}, {9000, 5000, UDP, PortIngress}},
		OnPartition: StopOnPartition,
		Restart:     RestartPolicy{RestartOnFailure, time.Second, 3, time.Minute},
		Update:      UpdateConfig{2, time.Second, time.Second, 0.5, OnFailureRollback, StartFirst},
		Rollback:    UpdateConfig{0, time.Second, 0, 1, OnFailureContinue, StopFirst},
		Force:       1,
	}
}

func TestSpecValidate(t *testing.T) {
	if err := full().Validate(); err != nil {
		t.Errorf("the full spec: %v", err)
	}
	least := Spec{Name: "web", Container: Container{Image: "nginx"}}.WithDefaults()
	if err := least.Validate(); err != nil {
		t.Errorf("the least spec: %v", err)
	}
	for bound, reach := range map[string]func(*Spec){
		"most replicas":             func(s *Spec) { s.Replicas = 500 },
		"no replicas":               func(s *Spec) { s.Replicas = 0 },
		"longest grace period":      func(s *Spec) { s.Container.StopGracePeriod = time.Hour },
		"least memory":              func(s *Spec) { s.Resources = Resources{Limits: Amount{MemoryBytes: 6 << 20}} },
		"least CPU":                 func(s *Spec) { s.Resources = Resources{Limits: Amount{NanoCPUs: 1e6}} },
		"reservation without limit": func(s *Spec) { s.Resources = Resources{Reservations: Amount{1, 1e9}} },
		"reservation of the limit":  func(s *Spec) { s.Resources.Reservations = s.Resources.Limits },
		"unresolved image":          func(s *Spec) { s.Container.Digest = "" },
		"global":                    func(s *Spec) { s.Mode, s.Replicas, s.Placement.MaxPerNode = Global, 0, 0 },
		"job":                       func(s *Spec) { s.Mode, s.MaxConcurrent = ReplicatedJob, 2 },
		"job on every node":         func(s *Spec) { s.Mode, s.Replicas, s.Placement.MaxPerNode = GlobalJob, 0, 0 },
		"host port":                 func(s *Spec) { s.Ports[0].Mode = PortHost },
		"of an older version":       func(s *Spec) { s.Restart, s.Update, s.Rollback = RestartPolicy{}, UpdateConfig{}, UpdateConfig{} },
		"no check of health":        func(s *Spec) { s.Container.Health = Health{Disabled: true} },
		"image's own check":         func(s *Spec) { s.Container.Health = Health{Retries: 5} },
		"check with a port":         func(s *Spec) { s.Ports, s.Container.Health = nil, Health{TCP: true, Port: 80} },
	} {
		s := full()
		if reach(&s); s.Validate() != nil {
			t.Errorf("%s: %v", bound, s.Validate())
		}
	}
	for words, spoil := range map[string]func(*Spec){
		`bad service name "a b"`:                             func(s *Spec) { s.Name = "a b" },
		`service web: unknown --on-partition "fight"`:        func(s *Spec) { s.OnPartition = "fight" },
		`service web: unknown mode "job"`:                    func(s *Spec) { s.Mode = "job" },
		"-1 replicas are not possible: want a number from 0": func(s *Spec) { s.Replicas = -1 },
		"501 replicas are not possible: want a number":       func(s *Spec) { s.Replicas = 501 },
		"leave out --replicas, or":                           func(s *Spec) { s.Mode, s.Placement.MaxPerNode = Global, 0 },
		"leave out --replicas-max-per-node":                  func(s *Spec) { s.Mode, s.Replicas = Global, 0 },
		"bad label key":                                      func(s *Spec) { s.Labels = map[string]string{"a b": "x"} },
		`bad image ""`:                                       func(s *Spec) { s.Container.Image = "" },
		`bad image "a b"`:                                    func(s *Spec) { s.Container.Image = "a b" },
		"bad image digest":                                   func(s *Spec) { s.Container.Digest = "sha256:0" },
		"bad argument":                                       func(s *Spec) { s.Container.Args = []string{"a\x00"} },
		`bad argument "\xff"`:                                func(s *Spec) { s.Container.Entrypoint = []string{"\xff"} },
		`bad environment variable "A"`:                       func(s *Spec) { s.Container.Env = []string{"A"} },
		"bad working directory":                              func(s *Spec) { s.Container.Workdir = "app" },
		"bad user":                                           func(s *Spec) { s.Container.User = "a:b:c" },
		"bad host name":                                      func(s *Spec) { s.Container.Hostname = "a_b" },
		"container label: bad label key":                     func(s *Spec) { s.Container.Labels = map[string]string{"=": ""} },
		"target \"b\" must be":                               func(s *Spec) { s.Container.Mounts[0].Target = "b" },
		"two mounts have the target /tmp":                    func(s *Spec) { s.Container.Mounts[0].Target = "/tmp/" },
		"a size is for type=tmpfs alone":                     func(s *Spec) { s.Container.Mounts[1].SizeBytes = -1 },
		"device: ":                                           func(s *Spec) { s.Container.Devices[0].Host = "gpio" },
		"two devices are /dev/gpiomem":                       func(s *Spec) { s.Container.Devices = append(s.Container.Devices, s.Container.Devices[0]) },
		"unknown capability":                                 func(s *Spec) { s.Container.CapAdd = []string{"X"} },
		`capability "net_raw" is written CAP_NET_RAW`:        func(s *Spec) { s.Container.CapDrop = []string{"net_raw"} },
		`unknown signal "HALT"`:                              func(s *Spec) { s.Container.StopSignal = "HALT" },
		"grace period of 1h0m1s is not possible":             func(s *Spec) { s.Container.StopGracePeriod = time.Hour + time.Second },
		"grace period of -1ns":                               func(s *Spec) { s.Container.StopGracePeriod = -1 },
		"want at least 6m":                                   func(s *Spec) { s.Resources = Resources{Limits: Amount{MemoryBytes: 6<<20 - 1}} },
		"a memory limit of -1 bytes":                         func(s *Spec) { s.Resources.Limits.MemoryBytes = -1 },
		"a memory reservation of 1099511627777 bytes":        func(s *Spec) { s.Resources = Resources{Reservations: Amount{MemoryBytes: 1<<40 + 1}} },
		"a CPU limit of 1e-09 cores":                         func(s *Spec) { s.Resources.Limits.NanoCPUs = 1 },
		"a CPU reservation of -1 cores":                      func(s *Spec) { s.Resources.Reservations.NanoCPUs = -1e9 },
		"the memory reservation (67108865 bytes) is above":   func(s *Spec) { s.Resources.Reservations.MemoryBytes = 64<<20 + 1 },
		"the CPU reservation (1.5) is above the limit (1)":   func(s *Spec) { s.Resources.Reservations.NanoCPUs = 15e8 },
		`unknown strategy "random"`:                          func(s *Spec) { s.Placement.Strategy = "random" },
		"a maximum of -1 tasks per node":                     func(s *Spec) { s.Placement.MaxPerNode = -1 },
		`unknown attribute "node.room"`:                      func(s *Spec) { s.Placement.Constraints[0].Attribute = "node.room" },
		"the value is empty":                                 func(s *Spec) { s.Placement.Constraints[0].Value = "" },
		"leave out the white space":                          func(s *Spec) { s.Placement.Constraints[0].Value = " x" },
		`placement preference: unknown attribute "room"`:     func(s *Spec) { s.Placement.Spread = []string{"room"} },
		"port 0:5000/tcp: want both ports":                   func(s *Spec) { s.Ports[0].Published = 0 },
		"port 9000:0/tcp: want both ports":                   func(s *Spec) { s.Ports[0].Target = 0 },
		`port 9000: unknown protocol "sctp"`:                 func(s *Spec) { s.Ports[0].Protocol = "sctp" },
		"--max-concurrent is for --mode replicated-job":      func(s *Spec) { s.MaxConcurrent = 1 },
		"--max-concurrent -1 is not possible":                func(s *Spec) { s.Mode, s.MaxConcurrent = ReplicatedJob, -1 },
		"any would run a job for ever":                       func(s *Spec) { s.Mode, s.Restart.Condition = ReplicatedJob, RestartAny },
		`unknown --restart-condition "always"`:               func(s *Spec) { s.Restart.Condition = "always" },
		"--restart-delay -1s is not possible":                func(s *Spec) { s.Restart.Delay = -time.Second },
		"--restart-window 24h0m1s is not possible":           func(s *Spec) { s.Restart.Window = 24*time.Hour + time.Second },
		"--restart-max-attempts -1":                          func(s *Spec) { s.Restart.MaxAttempts = -1 },
		"--update-parallelism -1 is not":                     func(s *Spec) { s.Update.Parallelism = -1 },
		"--update-delay -1s is not":                          func(s *Spec) { s.Update.Delay = -time.Second },
		"--rollback-monitor -1s is not":                      func(s *Spec) { s.Rollback.Monitor = -time.Second },
		"--update-max-failure-ratio 1.5 is not":              func(s *Spec) { s.Update.MaxFailureRatio = 1.5 },
		"--update-max-failure-ratio NaN is not":              func(s *Spec) { s.Update.MaxFailureRatio = math.NaN() },
		`unknown --rollback-failure-action "rollback"`:       func(s *Spec) { s.Rollback.FailureAction = OnFailureRollback },
		`unknown --update-order "first"`:                     func(s *Spec) { s.Update.Order = "first" },
		"more than one kind of health check":                 func(s *Spec) { s.Container.Health.TCP = true },
		"contradict each other":                              func(s *Spec) { s.Container.Health.Disabled = true },
		"-1 health retries":                                  func(s *Spec) { s.Container.Health.Retries = -1 },
		"no port to go to":                                   func(s *Spec) { s.Ports = s.Ports[1:] },
		`bad health check "healthz"`:                         func(s *Spec) { s.Container.Health.HTTP = "healthz" },
		"bad health command":                                 func(s *Spec) { s.Container.Health = Health{Cmd: []string{"\x00"}} },
		"--health-interval 1ns is not":                       func(s *Spec) { s.Container.Health.Interval = 1 },
		"--health-start-period -1s is not":                   func(s *Spec) { s.Container.Health.StartPeriod = -time.Second },
		`port 9000: unknown mode "nat"`:                      func(s *Spec) { s.Ports[0].Mode = "nat" },
		"port 9000/tcp is published twice":                   func(s *Spec) { s.Ports[1].Protocol = TCP },
		"port 7947 is piswarm's own (the node API)":          func(s *Spec) { s.Ports[0].Published = 7947 },
		"257 published ports are too many: want at most 256": func(s *Spec) { s.Ports = make([]Port, 257) },
	} {
		t.Run(words, func(t *testing.T) {
			s := full()
			spoil(&s)
			checkError(t, s.Validate(), words)
		})
	}
}

func TestWithDefaults(t *testing.T) {
	s := Spec{
		Container: Container{Mounts: []Mount{{Source: "data", Target: "/data"}}, Devices: []Device{{Host: "/dev/x"}}},
		Ports:     []Port{{Published: 80, Target: 80}},
	}
	before, _ := json.Marshal(s)
	got := s.WithDefaults()
	want := Spec{
		Mode: Replicated, Placement: Placement{Strategy: Spread},
		Container: Container{
			Mounts:  []Mount{{Type: MountVolume, Source: "data", Target: "/data"}},
			Devices: []Device{{"/dev/x", "/dev/x", "rwm"}}, StopGracePeriod: 10 * time.Second,
		},
		Ports:       []Port{{80, 80, TCP, PortIngress}},
		OnPartition: RunOnPartition,
		Restart:     RestartPolicy{Condition: RestartAny},
		Update:      UpdateConfig{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: OnFailurePause},
		Rollback:    UpdateConfig{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: OnFailurePause},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if after, _ := json.Marshal(s); string(after) != string(before) {
		t.Errorf("the spec itself was changed: %s", after)
	}
	if again := full().WithDefaults(); !reflect.DeepEqual(again, full()) {
		t.Errorf("what was said was overwritten: %+v", again)
	}
}

func TestNeedsNewTasks(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"digest":  func(s *Spec) { s.Container.Digest = "sha256:" + strings.Repeat("1", 64) },
		"args":    func(s *Spec) { s.Container.Args = nil },
		"env":     func(s *Spec) { s.Container.Env = []string{"A=c"} },
		"mounts":  func(s *Spec) { s.Container.Mounts[0].ReadOnly = true },
		"labels":  func(s *Spec) { s.Container.Labels["a"] = "c" },
		"user":    func(s *Spec) { s.Container.User = "" },
		"limit":   func(s *Spec) { s.Resources.Limits.MemoryBytes++ },
		"reserve": func(s *Spec) { s.Resources.Reservations.NanoCPUs++ },
		"grace":   func(s *Spec) { s.Container.StopGracePeriod++ },
		"health":  func(s *Spec) { s.Container.Health.Retries++ },
		"force":   func(s *Spec) { s.Force++ },
	} {
		s := full()
		if change(&s); !NeedsNewTasks(full(), s) {
			t.Errorf("%s: running tasks would keep the old spec", name)
		}
	}
	for name, change := range map[string]func(*Spec){
		"nothing":     func(*Spec) {},
		"replicas":    func(s *Spec) { s.Replicas = 9 },
		"labels":      func(s *Spec) { s.Labels = nil },
		"placement":   func(s *Spec) { s.Placement = Placement{} },
		"ports":       func(s *Spec) { s.Ports = nil },
		"policies":    func(s *Spec) { s.Restart, s.Update, s.Rollback = RestartPolicy{}, UpdateConfig{}, UpdateConfig{} },
		"platforms":   func(s *Spec) { s.Container.Platforms = nil },
		"empty lists": func(s *Spec) { s.Container.CapAdd = append([]string{}, s.Container.CapAdd...) },
		"JSON": func(s *Spec) {
			b, _ := json.Marshal(s)
			*s = Spec{}
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatal(err)
			}
		},
	} {
		s := full()
		if change(&s); NeedsNewTasks(full(), s) {
			t.Errorf("%s: running tasks would be replaced for nothing", name)
		}
	}
	none, empty := Spec{}, Spec{Container: Container{Env: []string{}, Labels: map[string]string{}}}
	if NeedsNewTasks(none, empty) || NeedsNewTasks(empty, none) {
		t.Error("an empty list is not the same as none")
	}
}
