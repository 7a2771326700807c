package dockerapi

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// anyWorld knows every name.
func anyWorld() world {
	return world{
		networks: map[string]string{"back": "back", "front": "front"},
		fileID:   func(string, string) (string, bool) { return "id", true },
		port:     func(cluster.Protocol) (uint16, error) { return firstPort, nil },
	}
}

// FuzzSpecFromDocker translates whatever a client sends. What is taken and valid comes back as it was when it is read
// again, as docker's client does to change a service.
func FuzzSpecFromDocker(f *testing.F) {
	for _, text := range []string{
		inContainerSpec(`"Env":["A=B"],"Args":["x"],"Command":["/y"],"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000}`),
		inContainerSpec(`"Secrets":[{"SecretName":"db","File":{"Name":"db","UID":"0","GID":"5","Mode":292}}],"Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":65536}}]`),
		inTaskTemplate(`"Placement":{"Constraints":["node.id==aaaa111122223333zpiswarmz","node.platform.arch==x86_64"],"Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.a"}}],"MaxReplicas":2}`),
		inTaskTemplate(`"Networks":[{"Target":"back","Aliases":["web"]}],"RestartPolicy":{"Condition":"on-failure","Delay":5,"MaxAttempts":3}`),
		inSpec(`"Mode":{"ReplicatedJob":{"MaxConcurrent":2,"TotalCompletions":5}},"UpdateConfig":{"Parallelism":2,"MaxFailureRatio":0.1,"Order":"start-first"}`),
		inSpec(`"EndpointSpec":{"Ports":[{"TargetPort":80},{"TargetPort":53,"PublishedPort":5353,"Protocol":"udp","PublishMode":"host"}]}`),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		d, err := read[swarm.ServiceSpec](r)
		if err != nil {
			return
		}
		in := reading{world: anyWorld()}
		spec, err := in.specIn(d)
		if err != nil {
			return
		}
		if spec = spec.WithDefaults(); spec.Validate() == nil {
			sameAgain(t, spec)
		}
	})
}

// FuzzSpecToDocker translates whatever is stored, and back: nothing that docker has no words for is lost.
func FuzzSpecToDocker(f *testing.F) {
	raw, err := json.Marshal(greeters().Spec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"name":"a","mode":"global","container":{"image":"docker.io/library/a:1","health":{"tcp":true,"port":5,"interval":7000000}},"onPartition":"stop","resources":{"limits":{"nanoCPUs":2000000},"pids":9},"update":{"parallelism":0,"failureAction":"continue","maxFailureRatio":0.3}}`))
	f.Add([]byte(`{"name":"a","mode":"replicated-job","replicas":3,"container":{"image":"docker.io/library/a:1","devices":[{"host":"/dev/x"}],"privileged":true,"init":true},"restart":{"condition":"none"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var spec cluster.Spec
		if json.Unmarshal(raw, &spec) != nil {
			return
		}
		spec = spec.WithDefaults()
		c := &spec.Container
		// In the state an image has its normal name, a file an ID, and a network is known.
		name, digest, err := splitDigest(c.Image)
		if err != nil || digest != "" || spec.Validate() != nil {
			return
		}
		c.Image = name
		for _, ref := range c.Files {
			ref.ID = "id"
		}
		for i := range spec.Networks {
			if i >= 2 {
				return
			}
			spec.Networks[i].Name = []string{"back", "front"}[i]
		}
		sameAgain(t, spec)
	})
}

// sameAgain hands a spec out as docker's client gets it, and takes it back as that sends it.
func sameAgain(t *testing.T, spec cluster.Spec) {
	t.Helper()
	out, err := json.Marshal(specOut(spec))
	if err != nil {
		t.Fatal(err)
	}
	d, err := read[swarm.ServiceSpec](httptest.NewRequest("POST", "/", strings.NewReader(string(out))))
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	in := reading{world: anyWorld(), base: spec}
	back, err := in.specIn(d)
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	before, _ := json.Marshal(spec)
	after, _ := json.Marshal(back.WithDefaults())
	if string(before) != string(after) {
		t.Fatalf("changed by being looked at:\n%s\n%s", before, after)
	}
	if len(in.warnings) > 0 {
		t.Fatalf("what is there already is warned of: %q", in.warnings)
	}
}

// FuzzFilters reads filters of either form.
func FuzzFilters(f *testing.F) {
	f.Add(`{"name":{"web":true,"x":false}}`)
	f.Add(`{"label":["a=b","c"]}`)
	f.Fuzz(func(_ *testing.T, text string) {
		if got, err := parseFilters(text); err == nil {
			got.labels("label", map[string]string{"a": "b"})
			got.prefix("name", "web")
			_, _, _ = got.switched("dangling")
		}
	})
}
