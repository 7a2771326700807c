package dockerapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// What docker's client waits for: the state of the last update, and after scaling none.
func TestUpdateStatus(t *testing.T) {
	later := at.Add(time.Minute)
	for _, test := range []struct {
		name             string
		generation       uint64
		changed, updated time.Time
		state            cluster.UpdateState
		want             swarm.UpdateState // empty: none
	}{
		{"new", 0, time.Time{}, at, cluster.UpdateCompleted, ""},
		{"updating", 1, at, at, cluster.Updating, swarm.UpdateStateUpdating},
		{"updated", 1, at, at, cluster.UpdateCompleted, swarm.UpdateStateCompleted},
		{"updated, then scaled", 1, at, later, cluster.UpdateCompleted, ""},
		{"updated by an older version", 1, time.Time{}, later, cluster.UpdateCompleted, swarm.UpdateStateCompleted},
		{"scaled while it is updated", 1, at, later, cluster.Updating, swarm.UpdateStateUpdating},
		{"rolled back", 2, at, at, cluster.RollbackCompleted, swarm.UpdateStateRollbackCompleted},
		{"rolled back, then scaled", 2, at, later, cluster.RollbackCompleted, ""},
		{"paused, then scaled", 1, at, later, cluster.UpdatePaused, swarm.UpdateStatePaused},
	} {
		s := client.Service{Service: cluster.Service{Generation: test.generation, ChangedAt: test.changed, UpdatedAt: test.updated}}
		s.Status.Update = client.UpdateStatus{State: test.state, Message: "why"}
		got := updateStatus(s)
		if (got == nil) != (test.want == "") || got != nil && (got.State != test.want || got.Message != "why") {
			t.Errorf("%s: %+v, want %q", test.name, got, test.want)
		}
	}
}

func stored(t *testing.T, n *node1, name string) cluster.Service {
	t.Helper()
	record, ok := n.store.Get(cluster.ServiceKey(name))
	var s cluster.Service
	if !ok || json.Unmarshal(record.Value, &s) != nil {
		t.Fatalf("service %s: %s", name, record.Value)
	}
	return s
}

// everything is a spec that says something in every place that piswarm has.
const everything = `{"Name":"web","Labels":{"a":"b"},"TaskTemplate":{
 "ContainerSpec":{"Image":"web:1@%s","Labels":{"c":"d"},"Command":["/web"],"Args":["-v"],"Hostname":"h","Env":["E=1"],"Dir":"/d","User":"1:2","Init":true,
  "StopSignal":"int","StopGracePeriod":5000000000,"ReadOnly":true,"CapabilityAdd":["net_raw"],"CapabilityDrop":["ALL"],
  "Privileges":{"NoNewPrivileges":true,"Seccomp":{"Mode":"default"}},"DNSConfig":{},"Isolation":"default",
  "Healthcheck":{"Test":["CMD","/check"],"Interval":7000000000,"Timeout":1000000000,"Retries":2,"StartPeriod":3000000000,"StartInterval":1000000000},
  "Mounts":[{"Type":"bind","Source":"/srv","Target":"/a","ReadOnly":true},{"Type":"volume","Source":"data","Target":"/b","VolumeOptions":{"Labels":{"com.docker.stack.namespace":"x"}}},{"Type":"tmpfs","Target":"/c","TmpfsOptions":{"SizeBytes":65536}}],
  "Secrets":[{"SecretName":"db","SecretID":"s3cr3ts3cr3ts3cr3ts3cr3ts","File":{"Name":"pw","UID":"5","GID":"6","Mode":256}}],
  "Configs":[{"ConfigName":"app","ConfigID":"c0nf1gc0nf1gc0nf1gc0nf1gc","File":{"Name":"/etc/app","UID":"","GID":"","Mode":292}}]},
 "Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864,"Pids":50},"Reservations":{"NanoCPUs":100000000,"MemoryBytes":33554432}},
 "RestartPolicy":{"Condition":"on-failure","Delay":1000000000,"MaxAttempts":3,"Window":60000000000},
 "Placement":{"Constraints":["node.role == manager","node.platform.arch==aarch64","node.platform.os==linux","node.id==aaaa111122223333zpiswarmz"],"Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.room"}}],"MaxReplicas":2},
 "Networks":[{"Target":"n3tw0rkn3tw0rkn3tw0rkn3tw","Aliases":["w"]}],"LogDriver":{"Name":"json-file","Options":{"max-size":"1m"}},"ForceUpdate":0,"Runtime":"container"},
 "Mode":{"Replicated":{"Replicas":3}},
 "UpdateConfig":{"Parallelism":2,"Delay":1000000000,"FailureAction":"rollback","Monitor":2000000000,"MaxFailureRatio":0.25,"Order":"start-first"},
 "RollbackConfig":{"Parallelism":0,"FailureAction":"continue","Order":"stop-first"},
 "EndpointSpec":{"Mode":"vip","Ports":[{"TargetPort":80,"PublishedPort":8080},{"Protocol":"udp","TargetPort":53,"PublishMode":"host"}]}}`

func TestServiceCreate(t *testing.T) {
	n, h := start(t)
	status, answer := call(h, "POST", "/v1.41/services/create", fmt.Sprintf(everything, bytesOf))
	var made swarm.ServiceCreateResponse
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != 201 || len(made.ID) != 25 {
		t.Fatalf("%d %s", status, answer)
	}
	if warned := strings.Join(made.Warnings, "; "); !strings.Contains(warned, "max-size is not kept") || !strings.Contains(warned, "one flat network") || len(made.Warnings) != 2 {
		t.Errorf("warned of %q", made.Warnings)
	}
	got, err := json.Marshal(stored(t, n, "web").Spec)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"web","labels":{"a":"b"},"mode":"replicated","replicas":3,"container":{"image":"docker.io/library/web:1","digest":"` + bytesOf + `","platforms":[{"os":"linux","arch":"arm64"}],` +
		`"entrypoint":["/web"],"args":["-v"],"env":["E=1"],"workdir":"/d","user":"1:2","hostname":"h","labels":{"c":"d"},` +
		`"mounts":[{"type":"bind","source":"/srv","target":"/a","readOnly":true},{"type":"volume","source":"data","target":"/b"},{"type":"tmpfs","target":"/c","sizeBytes":65536}],` +
		`"secrets":[{"name":"db","id":"s3cr3ts3cr3ts3cr3ts3cr3ts","target":"/run/secrets/pw","uid":5,"gid":6,"mode":256}],"configs":[{"name":"app","id":"c0nf1gc0nf1gc0nf1gc0nf1gc","target":"/etc/app","mode":292}],` +
		`"capAdd":["CAP_NET_RAW"],"capDrop":["ALL"],"readOnly":true,"init":true,"stopSignal":"SIGINT","stopGracePeriod":5000000000,` +
		`"health":{"cmd":["/check"],"interval":7000000000,"timeout":1000000000,"retries":2,"startPeriod":3000000000,"startInterval":1000000000}},` +
		`"resources":{"limits":{"memoryBytes":67108864,"nanoCPUs":500000000},"reservations":{"memoryBytes":33554432,"nanoCPUs":100000000},"pids":50},` +
		`"placement":{"constraints":[{"attribute":"node.role","value":"manager"},{"attribute":"node.arch","value":"arm64"},{"attribute":"node.id","value":"aaaa111122223333"}],"spread":["node.labels.room"],"maxPerNode":2,"strategy":"spread"},` +
		`"ports":[{"published":8080,"target":80,"protocol":"tcp","mode":"ingress"},{"published":30000,"target":53,"protocol":"udp","mode":"host"}],"networks":[{"name":"back","aliases":["w"]}],"onPartition":"run",` +
		`"restart":{"condition":"on-failure","delay":1000000000,"maxAttempts":3,"window":60000000000},` +
		`"update":{"parallelism":2,"delay":1000000000,"monitor":2000000000,"maxFailureRatio":0.25,"failureAction":"rollback","order":"start-first"},"rollback":{"parallelism":0,"monitor":5000000000,"failureAction":"continue","order":"stop-first"}}`
	if string(got) != want {
		t.Errorf("stored\n%s\nwant\n%s", got, want)
	}
	// An image that is pinned to other bytes than its name means now is those bytes.
	if status, answer := call(h, "POST", "/services/create", `{"Name":"old","TaskTemplate":{"ContainerSpec":{"Image":"web:1@`+strings.Replace(bytesOf, "aa", "bb", 1)+`"}}}`); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	if c := stored(t, n, "old").Spec.Container; c.Image != "docker.io/library/web@"+c.Digest || c.Digest == bytesOf {
		t.Errorf("pinned as %s %s", c.Image, c.Digest)
	}
}

// Docker's client changes what it has read and sends it back: what it has no words for stays.
func TestServiceUpdate(t *testing.T) {
	n, h := start(t)
	read := func() (uint64, map[string]any) {
		_, answer := call(h, "GET", "/services/greeters", "")
		var one struct {
			Version struct{ Index uint64 }
			Spec    map[string]any
		}
		if err := json.Unmarshal([]byte(answer), &one); err != nil {
			t.Fatal(err)
		}
		return one.Version.Index, one.Spec
	}
	update := func(query string, change func(map[string]any)) string {
		t.Helper()
		index, spec := read()
		change(spec)
		body, _ := json.Marshal(spec)
		status, answer := call(h, "POST", fmt.Sprintf("/services/greeters/update?version=%d%s", index, query), string(body))
		if status != 200 {
			t.Fatalf("%d %s", status, answer)
		}
		return answer
	}
	before := stored(t, n, "greeters")
	update("", func(spec map[string]any) {
		spec["Mode"].(map[string]any)["Replicated"].(map[string]any)["Replicas"] = 5
	})
	scaled := stored(t, n, "greeters")
	if scaled.Spec.Replicas != 5 || scaled.Generation != before.Generation || scaled.SpecVersion != before.SpecVersion {
		t.Errorf("scaled: %+v", scaled)
	}
	if scaled.Spec.Container.Health.HTTP != "/healthz" || scaled.Spec.Placement.Strategy != cluster.Binpack {
		t.Errorf("scaling lost what docker has no words for: %+v", scaled.Spec)
	}
	container := func(spec map[string]any) map[string]any {
		return spec["TaskTemplate"].(map[string]any)["ContainerSpec"].(map[string]any)
	}
	update("&registryAuthFrom=spec", func(spec map[string]any) { container(spec)["Env"] = []string{"A=C"} })
	if s := stored(t, n, "greeters"); s.Generation != 1 || s.Spec.Container.Env[0] != "A=C" || s.ChangedAt.IsZero() || s.Spec.Container.Digest != bytesOf {
		t.Errorf("updated: %+v", s)
	}
	update("&rollback=previous", func(map[string]any) {})
	if s := stored(t, n, "greeters"); s.Generation != 2 || s.Spec.Container.Env[0] != "A=B" || !s.RollingBack {
		t.Errorf("rolled back: %+v", s)
	}
	if status, answer := call(h, "DELETE", "/services/greeters", ""); status != 200 {
		t.Errorf("remove: %d %s", status, answer)
	}
}

func TestNodeUpdate(t *testing.T) {
	n, h := start(t)
	body := `{"Availability":"drain","Role":"manager","Labels":{"floor":"2"}}`
	if status, answer := call(h, "POST", fmt.Sprintf("/nodes/%s/update?version=%d", swarmID(piOne), version(t, h, "/nodes/pi1")), body); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	record, _ := n.store.Get(cluster.NodeKey(piOne))
	if want := `{"name":"pi1","availability":"drain","role":"manager","labels":{"floor":"2"}}`; string(record.Value) != want {
		t.Errorf("%s, want %s", record.Value, want)
	}
	// The same again changes nothing, and is fine.
	digest := n.store.Digest()
	if status, answer := call(h, "POST", fmt.Sprintf("/nodes/self/update?version=%d", version(t, h, "/nodes/self")), body); status != 200 || n.store.Digest() != digest {
		t.Errorf("again: %d %s", status, answer)
	}
}

func TestFilters(t *testing.T) {
	_, h := start(t)
	for _, test := range []struct {
		path, filters string
		want          int
	}{
		{"/tasks", `{"service":{"greeters":true}}`, 3},
		{"/tasks", `{"service":["` + greetersID + `"],"desired-state":["running"]}`, 2},
		{"/tasks", `{"_up-to-date":["true"]}`, 2},
		{"/tasks", `{"_up-to-date":["false"]}`, 1},
		{"/tasks", `{"node":["` + swarmID(piOne) + `"]}`, 2},
		{"/tasks", `{"node":["pi2"]}`, 0},
		{"/tasks", `{"name":["greeters.2"]}`, 1},
		{"/tasks", `{"desired-state":["shutdown"]}`, 1},
		{"/services", `{"label":["tier=front"]}`, 1},
		{"/services", `{"label":["tier=back"]}`, 0},
		{"/services", `{"name":["greet"],"mode":["replicated"]}`, 1},
		{"/nodes", `{"role":["worker"]}`, 1},
		{"/nodes", `{"node.label":["room=attic"]}`, 1},
		{"/containers/json", `{"name":["greeters"]}`, 1},
		{"/containers/json", `{"status":["exited"]}`, 1},
		{"/containers/json", `{"ancestor":["greeter"],"network":["back"],"volume":["data"]}`, 1},
		{"/containers/json", `{"ancestor":["web"]}`, 0},
		{"/containers/json", `{"label":["com.docker.swarm.service.name=greeters"],"is-task":["true"]}`, 1},
		{"/containers/json", `{"is-task":["false"]}`, 0},
		{"/images/json", `{"reference":["greeter*"]}`, 1},
		{"/images/json", `{"reference":["web"]}`, 0},
		{"/images/json", `{"dangling":["true"]}`, 0},
		{"/networks", `{"type":["custom"]}`, 1},
		{"/networks", `{"dangling":["true"]}`, 0},
		{"/secrets", `{"names":["db","app"]}`, 1},
		{"/configs", `{"name":["ap"]}`, 1},
	} {
		status, answer := call(h, "GET", test.path+filter(test.filters), "")
		var all []any
		if err := json.Unmarshal([]byte(answer), &all); err != nil || status != 200 || len(all) != test.want {
			t.Errorf("%s %s: %d, %d found, want %d", test.path, test.filters, status, len(all), test.want)
		}
	}
}

func TestStackTwice(t *testing.T) {
	n, h := start(t)
	before := n.store.Digest()
	for path, body := range map[string]string{
		"/secrets/db":  `{"Name":"db","Data":"aHVzaA=="}`,
		"/configs/app": `{"Name":"app","Labels":{},"Data":"b24="}`,
	} {
		if status, answer := call(h, "POST", fmt.Sprintf("%s/update?version=%d", path, version(t, h, path)), body); status != 200 {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if n.store.Digest() != before {
		t.Error("the same again changed something")
	}
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]string{piOne: piOne + "zpiswarmz", "c1u573r": "c1u573rzpiswarmzpiswarmzp", greetersID: greetersID, "": ""} {
		if got := swarmID(id); got != want || ownID(got) != id {
			t.Errorf("%q: %q, and back %q", id, got, ownID(got))
		}
	}
	if a, b := index("7@aaaa"), index("7@bbbb"); a == b || a.Index>>16 != 7 || b.Index>>16 != 7 {
		t.Errorf("one counter of two nodes: %d, %d", a.Index, b.Index)
	}
	if index("8@aaaa").Index <= index("7@bbbb").Index {
		t.Error("a later version has a smaller number")
	}
}
