package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// load reads a file with that text, with a secret beside it.
func load(t *testing.T, text string) (Stack, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"compose.yaml": text, "pw.txt": "s3cret", "vars.env": "FROM_FILE=1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(t.Context(), "shop", []string{filepath.Join(dir, "compose.yaml")}, nil, []string{"TAG=1.27", "TOKEN=abc"})
}

const whole = `
services:
  web:
    image: nginx:${TAG}
    command: ["nginx", "-g", "daemon off;"]
    ports: ["9000:5000", {target: 53, published: "5353", protocol: udp, mode: host}]
    environment: {A: b, UNSET: }
    env_file: vars.env
    labels: {inner: "1"}
    secrets: [db, {source: given, target: /etc/given, mode: 0440, uid: "5"}]
    configs: [motd]
    networks: {front: {aliases: [www]}}
    volumes: ["data:/data", {type: bind, source: /srv, target: /srv, read_only: true}, {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
    tmpfs: /run:size=2m
    depends_on: [db]
    stop_grace_period: 20s
    healthcheck: {test: curl localhost, interval: 5s, retries: 2}
    deploy:
      mode: replicated
      replicas: 3
      labels: {outer: "2"}
      endpoint_mode: vip
      resources:
        limits: {cpus: "0.1", memory: 64M, pids: 50}
        reservations: {memory: 32M}
      placement:
        constraints: [node.labels.room == kitchen]
        preferences: [{spread: node.labels.shelf}]
        max_replicas_per_node: 2
      update_config: {parallelism: 2, delay: 3s, failure_action: rollback, monitor: 9s, max_failure_ratio: 0.2, order: start-first}
      rollback_config: {parallelism: 0}
      restart_policy: {condition: on-failure, delay: 4s, max_attempts: 6, window: 1m}
  db:
    image: registry.local:5000/db
    restart: "no"
    deploy: {mode: global}
networks: {front: {}}
volumes: {data: {}}
secrets:
  db: {file: ./pw.txt}
  given: {external: true}
configs:
  motd: {content: hello}
`

func TestLoad(t *testing.T) {
	s, err := load(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	mine := map[string]string{NamespaceLabel: "shop"}
	if len(s.Secrets) != 1 || s.Secrets[0].Name != "shop_db" || string(s.Secrets[0].Data) != "s3cret" || !reflect.DeepEqual(s.Secrets[0].Labels, mine) {
		t.Errorf("secrets %+v", s.Secrets)
	}
	if len(s.Configs) != 1 || s.Configs[0].Name != "shop_motd" || string(s.Configs[0].Data) != "hello" {
		t.Errorf("configs %+v", s.Configs)
	}
	if len(s.Networks) != 2 || s.Networks[0].Name != "shop_default" || s.Networks[1].Name != "shop_front" || !reflect.DeepEqual(s.Networks[1].Labels, mine) {
		t.Errorf("networks %+v", s.Networks)
	}
	if !reflect.DeepEqual(s.External.Secrets, []string{"given"}) || s.External.Configs != nil {
		t.Errorf("external %+v", s.External)
	}
	if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "services.web.depends_on has no effect: ") {
		t.Errorf("warnings %q", s.Warnings)
	}
	if len(s.Services) != 2 {
		t.Fatalf("%d services", len(s.Services))
	}
	constraint, err := cluster.ParseConstraint("node.labels.room==kitchen")
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Spec{
		Name: "shop_web", Labels: map[string]string{NamespaceLabel: "shop", ImageLabel: "nginx:1.27", "outer": "2"}, Mode: cluster.Replicated, Replicas: 3,
		Container: cluster.Container{
			Image: "docker.io/library/nginx:1.27", Args: []string{"nginx", "-g", "daemon off;"}, Env: []string{"A=b", "FROM_FILE=1"},
			Labels: map[string]string{NamespaceLabel: "shop", "inner": "1"}, StopGracePeriod: 20 * time.Second,
			Mounts: []cluster.Mount{
				{Type: cluster.MountVolume, Source: "shop_data", Target: "/data"}, {Type: cluster.MountBind, Source: "/srv", Target: "/srv", ReadOnly: true},
				{Type: cluster.MountTmpfs, Target: "/t", SizeBytes: 1 << 20}, {Type: cluster.MountTmpfs, Target: "/run", SizeBytes: 2 << 20},
			},
			Secrets: []cluster.FileRef{{Name: "shop_db", Target: "/run/secrets/db", Mode: 0o400}, {Name: "given", Target: "/etc/given", UID: 5, Mode: 0o440}},
			Configs: []cluster.FileRef{{Name: "shop_motd", Target: "/motd", Mode: 0o444}},
			Health:  cluster.Health{Cmd: []string{"/bin/sh", "-c", "curl localhost"}, Interval: 5 * time.Second, Retries: 2},
		},
		Ports: []cluster.Port{
			{Published: 9000, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}, {Published: 5353, Target: 53, Protocol: cluster.UDP, Mode: cluster.PortHost},
		},
		Networks:  []cluster.NetworkRef{{Name: "shop_front", Aliases: []string{"web", "www"}}},
		Resources: cluster.Resources{Limits: cluster.Amount{MemoryBytes: 64 << 20, NanoCPUs: 1e8}, Reservations: cluster.Amount{MemoryBytes: 32 << 20}, Pids: 50},
		Placement: cluster.Placement{Constraints: []cluster.Constraint{constraint}, Spread: []string{"node.labels.shelf"}, MaxPerNode: 2},
		Update: cluster.UpdateConfig{Parallelism: 2, Delay: 3 * time.Second, FailureAction: cluster.OnFailureRollback, Monitor: 9 * time.Second,
			MaxFailureRatio: 0.2, Order: cluster.StartFirst},
		Rollback: cluster.UpdateConfig{Parallelism: 0, FailureAction: cluster.OnFailurePause, Monitor: 5 * time.Second},
		Restart:  cluster.RestartPolicy{Condition: cluster.RestartOnFailure, Delay: 4 * time.Second, MaxAttempts: 6, Window: time.Minute},
	}.WithDefaults()
	if got, wanted := asJSON(t, s.Services[1]), asJSON(t, want); got != wanted {
		t.Errorf("%s\nwant %s", got, wanted)
	}
	db := s.Services[0]
	if db.Name != "shop_db" || db.Mode != cluster.Global || db.Restart.Condition != cluster.RestartNone || db.Container.Image != "registry.local:5000/db:latest" ||
		!reflect.DeepEqual(db.Networks, []cluster.NetworkRef{{Name: "shop_default", Aliases: []string{"db"}}}) {
		t.Errorf("%+v", db)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestRefused: what piswarm does not have is named, and nothing is passed over.
func TestRefused(t *testing.T) {
	service := func(lines string) string { return "services:\n  web:\n    image: nginx\n    " + lines + "\n" }
	for text, want := range map[string]string{
		service("network_mode: host"):                                                           "services.web.network_mode: piswarm does not have that",
		service("sysctls: {net.core.somaxconn: 1}"):                                             "services.web.sysctls: piswarm does not have that",
		service("security_opt: [seccomp=unconfined]"):                                           "services.web.security_opt: piswarm does not have that",
		service("extra_hosts: [a=1.2.3.4]"):                                                     "services.web.extra_hosts: piswarm does not have that",
		service("deploy: {endpoint_mode: dnsrr}"):                                               "piswarm has vip alone",
		service("deploy: {mode: global, replicas: 2}"):                                          "deploy.replicas: a global service has one task on every node",
		service("deploy: {mode: many}"):                                                         "many",
		service("ports: [\"127.0.0.1:80:80\"]"):                                                 "leave the address out",
		service("ports: [\"80\"]"):                                                              "say as which port it is published",
		service("volumes: [/data]"):                                                             "a volume needs a name",
		service("volumes: [\"vol:/data\"]") + "volumes: {vol: {driver: nfs}}\n":                 "there is no driver nfs",
		service("volumes: [{type: bind, source: /a, target: /b, bind: {propagation: shared}}]"): "bind.propagation: piswarm does not have that",
		service("tmpfs: \"/run:mode=700\""):                                                     "want size alone",
		service("command: []"):                                                                  "cannot take away the image's",
		service("healthcheck: {test: [RUN, x]}"):                                                "healthcheck.test must start",
		service("restart: sometimes"):                                                           "restart \"sometimes\"",
		service("deploy: {placement: {constraints: [a]}}"):                                      "constraint",
		service("deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: a, value: 1}}]}}}"): "generic_resources: piswarm does not have that",
		service("secrets: [{source: s, uid: root}]") + "secrets: {s: {file: ./pw.txt}}\n":                                    "uid \"root\": want a number",
		service("secrets: [s]") + "secrets: {s: {file: ./none.txt}}\n":                                                       "none.txt",
		service("secrets: [s]") + "secrets: {s: {environment: NONE}}\n":                                                      "environment variable NONE is not set here",
		service("secrets: [s]") + "secrets: {s: {driver: vault, file: ./pw.txt}}\n":                                          "secrets.s.driver: piswarm does not have that",
		service("networks: [n]") + "networks: {n: {driver: macvlan}}\n":                                                      "there is no driver macvlan",
		service("networks: [n]") + "networks: {n: {internal: true}}\n":                                                       "networks.n.internal: piswarm does not have that",
		service("frobnicate: 1"):            "frobnicate",
		"services: {web: {build: .}}":       "it has no image",
		"services: {web: {image: \"a b\"}}": "image \"a b\"",
		"services: {w b: {image: a}}":       "w b",
		"services: {}":                      "no services",
		"":                                  "empty",
		"services: [":                       "compose.yaml",
		strings.Repeat("#", maxFile+1):      "larger than 1 MB",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v\nwant %s", text, err, want)
		}
	}
	for _, name := range []string{"", "Shop", "a b", "_x", strings.Repeat("x", 300), "a/b"} {
		if _, err := Load(t.Context(), name, []string{"-"}, strings.NewReader("services: {web: {image: nginx}}"), nil); err == nil {
			t.Errorf("takes the name %q", name)
		}
	}
}

// TestWarned: what a service runs as well without has no effect, and that is said.
func TestWarned(t *testing.T) {
	s, err := load(t, `services: {web: {image: nginx, build: ., container_name: xy, logging: {driver: json-file}, tty: true, stdin_open: false,
		x-mine: 1}, off: {image: nginx, profiles: [debug]}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(s.Warnings, "\n")
	for _, want := range []string{"services.web.build ", "services.web.container_name ", "services.web.logging ", "services.web.tty ", "service off has a profile"} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning of %s in %s", want, got)
		}
	}
	if len(s.Warnings) != 5 || len(s.Services) != 1 {
		t.Errorf("%d services, %q", len(s.Services), s.Warnings)
	}
}

// FuzzLoad: a file is refused, or becomes services that a cluster takes.
func FuzzLoad(f *testing.F) {
	f.Add(whole)
	f.Add("services: {web: {image: nginx, ports: [\"1-3:1-3\"]}}")
	f.Add("services: {web: &a {image: nginx, labels: *a}}")
	f.Add("services: {web: {image: nginx, deploy: {resources: {limits: {cpus: 1e30}}}}}")
	dir := f.TempDir()
	f.Chdir(dir)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file") || strings.Contains(text, "include") || strings.Contains(text, "extends") {
			return // what is on this machine is not the format's
		}
		s, err := Load(t.Context(), "shop", []string{"-"}, strings.NewReader(text), nil)
		if err != nil {
			return
		}
		for _, spec := range s.Services {
			if err := spec.Validate(); err != nil {
				t.Errorf("service %s: %v", spec.Name, err)
			}
		}
	})
}
