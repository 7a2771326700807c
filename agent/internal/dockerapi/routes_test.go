package dockerapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

const web = `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web"%s}%s}%s}`

func inContainerSpec(parts string) string { return fmt.Sprintf(web, ","+parts, "", "") }
func inTaskTemplate(parts string) string  { return fmt.Sprintf(web, "", ","+parts, "") }
func inSpec(parts string) string          { return fmt.Sprintf(web, "", "", ","+parts) }

func filter(text string) string { return "?filters=" + url.QueryEscape(text) }

// What is refused is refused in the API's form, names what it is about, and changes nothing.
func TestBadInput(t *testing.T) {
	n, h := start(t)
	pi1 := version(t, h, "/nodes/pi1")
	one := containerID(taskOne)
	update := fmt.Sprintf("/services/greeters/update?version=%d", version(t, h, "/services/greeters"))
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1.23/version", "", 400, "client version 1.23 is too old"},
		{"GET", "/v1.99/version", "", 400, "client version 1.99 is too new"},
		{"GET", "/v9/version", "", 400, "bad API version"},
		{"GET", "/v1.41/nowhere", "", 404, "nothing that answers GET /nowhere"},
		{"PATCH", "/version", "", 404, "nothing that answers PATCH"},
		{"POST", "/containers/create", "{}", 501, "piswarm runs services"},
		{"POST", "/build", "", 501, "builds no images"},
		{"GET", "/plugins", "", 501, "no plugins"},
		{"POST", "/volumes/create", "{}", 501, "a volume is made on the node"},

		{"POST", "/swarm/init", "{}", 503, "already part of a swarm"},
		{"POST", "/swarm/init", "{", 400, "not well formed"},
		{"POST", "/swarm/join", `{"ListenAddr":"1.2.3.4:5"}`, 400, "listen-addr 1.2.3.4:5"},
		{"POST", "/swarm/join", `{"AdvertiseAddr":"1.2.3.4"}`, 400, "on its LAN this node is 192.168.1.20"},
		{"POST", "/swarm/join", `{"Availability":"sometimes"}`, 400, "want active, pause or drain"},
		{"POST", "/swarm/leave?force=perhaps", "", 400, "want true or false"},
		{"POST", "/swarm/update?version=1", "{}", 400, "update out of sequence"},
		{"POST", "/swarm/update", "{}", 400, "invalid version number"},
		{"POST", "/swarm/update?rotateWorkerToken=1&version=" + clusterVersion(n.Version()).String(), "{}", 409, "node pi2 is down and would be left out"},
		{"POST", "/swarm/update?version=" + clusterVersion(n.Version()).String(), `{"Raft":{"SnapshotInterval":7}}`, 400, "no raft"},
		{"POST", "/swarm/update?version=" + clusterVersion(n.Version()).String(), `{"EncryptionConfig":{"AutoLockManagers":true}}`, 400, "no lock"},
		{"POST", "/swarm/update?version=" + clusterVersion(n.Version()).String(), `{"Labels":{"a":"b"}}`, 400, "labels"},
		{"GET", "/swarm/unlockkey", "", 501, "no lock"},

		{"GET", "/nodes" + filter(`{"color":["red"]}`), "", 400, `invalid filter "color"`},
		{"GET", "/nodes" + filter(`nonsense`), "", 400, "not well formed"},
		{"GET", "/nodes/none", "", 404, "node none not found"},
		{"POST", "/nodes/pi1/update?version=1", "{}", 400, "update out of sequence"},
		{"POST", fmt.Sprintf("/nodes/pi1/update?version=%d", pi1), `{"Availability":"off"}`, 400, "want active, pause or drain"},
		{"POST", fmt.Sprintf("/nodes/pi1/update?version=%d", pi1), `{"Role":"king"}`, 400, "want manager (may lead) or worker (never leads)"},
		{"POST", fmt.Sprintf("/nodes/pi1/update?version=%d", pi1), `{"Role":"worker"}`, 412, "last manager"},
		{"POST", fmt.Sprintf("/nodes/pi1/update?version=%d", pi1), `{"Name":"other"}`, 501, "host name of its machine"},
		{"POST", fmt.Sprintf("/nodes/pi1/update?version=%d", pi1), `{"Labels":{"a b":"c"}}`, 400, "bad label key"},
		{"DELETE", "/nodes/pi1", "", 409, "is the one that was asked"},
		{"DELETE", "/nodes/none", "", 404, "node none not found"},

		{"POST", "/services/create", "", 400, "not well formed"},
		{"POST", "/services/create", `{} {}`, 400, "goes on after its end"},
		{"POST", "/services/create", `{"Nam":"web"}`, 400, `unknown field "Nam"`},
		{"POST", "/services/create", `{"Name":"web"}`, 400, "ContainerSpec: missing"},
		{"POST", "/services/create", strings.Repeat(" ", maxBody+1), 413, "larger than 1024 KiB"},
		{"POST", "/services/create", `{"Name":"web","TaskTemplate":{"PluginSpec":{}}}`, 400, "plugins"},
		{"POST", "/services/create", `{"Name":"web","TaskTemplate":{"NetworkAttachmentSpec":{}}}`, 400, "network attachments"},
		{"POST", "/services/create", `{"Name":"a b","TaskTemplate":{"ContainerSpec":{"Image":"web"}}}`, 400, "bad service name"},
		{"POST", "/services/create", `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"WEB"}}}`, 400, "lowercase"},
		{"POST", "/services/create", `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"nowhere"}}}`, 422, "nobody has it"},
		{"POST", "/services/create", `{"Name":"greeters","TaskTemplate":{"ContainerSpec":{"Image":"web"}}}`, 409, "exists already"},
		{"POST", "/services/create", inContainerSpec(`"TTY":true`), 400, "tasks have no terminal"},
		{"POST", "/services/create", inContainerSpec(`"OpenStdin":true`), 400, "no standard input"},
		{"POST", "/services/create", inContainerSpec(`"Groups":["a"]`), 400, "groups"},
		{"POST", "/services/create", inContainerSpec(`"Hosts":["1.2.3.4 a"]`), 400, "extra hosts"},
		{"POST", "/services/create", inContainerSpec(`"DNSConfig":{"Nameservers":["1.2.3.4"]}`), 400, "DNS settings"},
		{"POST", "/services/create", inContainerSpec(`"Isolation":"hyperv"`), 400, "isolation"},
		{"POST", "/services/create", inContainerSpec(`"Sysctls":{"a":"b"}`), 400, "sysctls"},
		{"POST", "/services/create", inContainerSpec(`"Ulimits":[{"Name":"nofile"}]`), 400, "ulimits"},
		{"POST", "/services/create", inContainerSpec(`"OomScoreAdj":5`), 400, "OomScoreAdj"},
		{"POST", "/services/create", inContainerSpec(`"Privileges":{"Seccomp":{"Mode":"unconfined"}}`), 400, "seccomp"},
		{"POST", "/services/create", inContainerSpec(`"Privileges":{"AppArmor":{"Mode":"disabled"}}`), 400, "AppArmor"},
		{"POST", "/services/create", inContainerSpec(`"Privileges":{"SELinuxContext":{"Disable":true}}`), 400, "SELinux"},
		{"POST", "/services/create", inContainerSpec(`"Privileges":{"CredentialSpec":{"File":"x"}}`), 400, "Windows"},
		{"POST", "/services/create", inContainerSpec(`"CapabilityAdd":["FLY"]`), 400, "unknown capability"},
		{"POST", "/services/create", inContainerSpec(`"StopSignal":"SIGNOPE"`), 400, "unknown signal"},
		{"POST", "/services/create", inContainerSpec(`"Healthcheck":{"Test":["WISH","x"]}`), 400, "health check"},
		{"POST", "/services/create", inContainerSpec(`"Secrets":[{"SecretName":"none","File":{"Name":"x"}}]`), 400, "secret none not found"},
		{"POST", "/services/create", inContainerSpec(`"Secrets":[{"SecretName":"db","SecretID":"other","File":{"Name":"x"}}]`), 400, "secret db not found"},
		{"POST", "/services/create", inContainerSpec(`"Secrets":[{"SecretName":"db"}]`), 400, "no file"},
		{"POST", "/services/create", inContainerSpec(`"Secrets":[null]`), 400, "no file"},
		{"POST", "/services/create", inContainerSpec(`"Secrets":[{"SecretName":"db","File":{"Name":"x","UID":"root"}}]`), 400, "want a number"},
		{"POST", "/services/create", inContainerSpec(`"Configs":[{"ConfigName":"app","Runtime":{}}]`), 400, "no file"},
		{"POST", "/services/create", inContainerSpec(`"Mounts":[{"Type":"npipe","Target":"/x"}]`), 400, "want bind, volume or tmpfs"},
		{"POST", "/services/create", inContainerSpec(`"Mounts":[{"Type":"bind","Source":"/a","Target":"/x","BindOptions":{"Propagation":"rshared"}}]`), 400, "propagation"},
		{"POST", "/services/create", inContainerSpec(`"Mounts":[{"Type":"volume","Source":"a","Target":"/x","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}}]`), 400, "volume driver"},
		{"POST", "/services/create", inContainerSpec(`"Mounts":[{"Type":"volume","Source":"a","Target":"/x","VolumeOptions":{"Subpath":"b"}}]`), 400, "subpath"},
		{"POST", "/services/create", inContainerSpec(`"Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Mode":511}}]`), 400, "tmpfs mode"},
		{"POST", "/services/create", inTaskTemplate(`"Resources":{"SwapBytes":5}`), 400, "SwapBytes"},
		{"POST", "/services/create", inTaskTemplate(`"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}}]}}`), 400, "generic resources"},
		{"POST", "/services/create", inTaskTemplate(`"Resources":{"Limits":{"MemoryBytes":5}}`), 400, "too small"},
		{"POST", "/services/create", inTaskTemplate(`"Placement":{"Constraints":["engine.labels.a==b"]}`), 400, "an engine has no labels"},
		{"POST", "/services/create", inTaskTemplate(`"Placement":{"Constraints":["node.platform.os==windows"]}`), 400, "all nodes run linux"},
		{"POST", "/services/create", inTaskTemplate(`"Placement":{"Constraints":["moon==full"]}`), 400, "unknown attribute"},
		{"POST", "/services/create", inTaskTemplate(`"Placement":{"Preferences":[{}]}`), 400, "only spread"},
		{"POST", "/services/create", inTaskTemplate(`"Networks":[{"Target":"none"}]`), 400, "network none not found"},
		{"POST", "/services/create", inTaskTemplate(`"Networks":[{"Target":"back","DriverOpts":{"a":"b"}}]`), 400, "driver options"},
		{"POST", "/services/create", inTaskTemplate(`"LogDriver":{"Name":"syslog"}`), 400, "log driver syslog"},
		{"POST", "/services/create", inTaskTemplate(`"LogDriver":{"Name":"json-file","Options":{"tag":"x"}}`), 400, "log option tag"},
		{"POST", "/services/create", inTaskTemplate(`"RestartPolicy":{"Condition":"sometimes"}`), 400, "restart-condition"},
		{"POST", "/services/create", inTaskTemplate(`"Runtime":"wasm"`), 400, "unknown runtime"},
		{"POST", "/services/create", inSpec(`"Mode":{"Replicated":{},"Global":{}}`), 400, "one mode"},
		{"POST", "/services/create", inSpec(`"Mode":{"Replicated":{"Replicas":18446744073709551615}}`), 400, "not possible"},
		{"POST", "/services/create", inSpec(`"Mode":{"Replicated":{"Replicas":-1}}`), 400, "not well formed"},
		{"POST", "/services/create", inSpec(`"EndpointSpec":{"Mode":"dnsrr"}`), 400, "dnsrr"},
		{"POST", "/services/create", inSpec(`"EndpointSpec":{"Ports":[{"TargetPort":70000,"PublishedPort":80}]}`), 400, "want 1 to 65535"},
		{"POST", "/services/create", inSpec(`"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":80,"Protocol":"sctp"}]}`), 400, "unknown protocol"},
		{"POST", "/services/create", inSpec(`"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":9000}]}`), 409, "already published by service greeters"},
		{"POST", "/services/create", inSpec(`"UpdateConfig":{"FailureAction":"cry"}`), 400, "failure-action"},
		{"POST", "/services/create", inSpec(`"UpdateConfig":{"MaxFailureRatio":7}`), 400, "max-failure-ratio"},
		{"GET", "/services/none", "", 404, "service none not found"},
		{"GET", "/services?status=perhaps", "", 400, "want true or false"},
		{"POST", "/services/greeters/update", "{}", 400, "invalid version number"},
		{"POST", "/services/greeters/update?version=1", "{}", 400, "update out of sequence"},
		{"POST", "/services/none/update?version=1", "{}", 404, "service none not found"},
		{"POST", update + "&rollback=all", "{}", 400, "want previous"},
		{"POST", update + "&rollback=previous", "{}", 409, "no earlier spec"},
		{"POST", update + "&registryAuthFrom=moon", "{}", 400, "registryAuthFrom"},
		{"POST", update, inSpec(""), 400, "not well formed"},
		{"POST", update, inSpec(`"Labels":{}`), 400, "cannot be renamed"},
		{"DELETE", "/services/none", "", 404, "service none not found"},
		{"GET", "/services/none/logs?stdout=1", "", 404, "service none not found"},
		{"GET", "/services/greeters/logs", "", 400, "at least one stream"},
		{"GET", "/services/greeters/logs?stderr=1", "", 501, "comes with its standard output"},
		{"GET", "/services/greeters/logs?stdout=1&tail=few", "", 400, "tail=few"},
		{"GET", "/services/greeters/logs?stdout=1&since=yesterday", "", 400, "since=yesterday"},

		{"GET", "/tasks" + filter(`{"desired-state":["asleep"]}`), "", 400, "desired-state=asleep"},
		{"GET", "/tasks" + filter(`{"_up-to-date":["perhaps"]}`), "", 400, "_up-to-date=perhaps"},
		{"GET", "/tasks/none", "", 404, "task none not found"},
		{"GET", "/tasks/none/logs?stdout=1", "", 404, "task none not found"},

		{"GET", "/containers/json?size=1", "", 501, "not counted"},
		{"GET", "/containers/json?limit=few", "", 400, "want a number"},
		{"GET", "/containers/json" + filter(`{"exited":["0"]}`), "", 501, "filter exited"},
		{"GET", "/containers/none/json", "", 404, "No such container: none"},
		{"POST", "/containers/none/stop", "", 404, "No such container: none"},
		{"POST", "/containers/" + one + "/stop?t=-1", "", 400, "want 0 to 3600"},
		{"POST", "/containers/" + one + "/stop?t=soon", "", 400, "want a number"},
		{"POST", "/containers/" + one + "/stop?signal=NOPE", "", 400, "unknown signal"},
		{"POST", "/containers/" + containerID(lifeID(taskOne, at.Add(30e9))) + "/stop", "", 409, "is not running"},
		{"POST", "/containers/" + one + "/kill?signal=NOPE", "", 400, "unknown signal"},
		{"POST", "/containers/" + one + "/start", "", 501, "started by its node"},
		{"DELETE", "/containers/" + one, "", 501, "goes with it"},
		{"POST", "/containers/" + one + "/exec", `{"Cmd":[]}`, 400, "No exec command"},
		{"POST", "/containers/" + one + "/exec", `{"Cmd":["a"],"Privileged":true}`, 501, "privileged"},
		{"POST", "/containers/" + one + "/exec", `{"Cmd":["a"],"ConsoleSize":[70000,1]}`, 400, "not possible"},
		{"POST", "/exec/none/start", "{}", 404, "No such exec instance"},
		{"POST", "/exec/none/resize", "", 404, "No such exec instance"},
		{"GET", "/exec/none/json", "", 404, "No such exec instance"},
		{"GET", "/containers/none/stats", "", 404, "No such container"},
		{"GET", "/containers/" + one + "/stats?stream=perhaps", "", 400, "want true or false"},

		{"GET", "/images/none/json", "", 404, "No such image: none"},
		{"GET", "/images/greeter/history", "", 501, "history"},
		{"GET", "/images/greeter/other", "", 404, "nothing that answers"},
		{"POST", "/images/greeter/push", "", 501, "pushes to no registry"},
		{"POST", "/images/greeter/tag?repo=A", "", 400, "bad name"},
		{"POST", "/images/none/tag?repo=a", "", 404, "No such image"},
		{"DELETE", "/images/none", "", 404, "No such image"},
		{"POST", "/images/create", "", 400, "fromImage is missing"},
		{"POST", "/images/create?fromSrc=-", "", 501, "fromSrc"},
		{"POST", "/images/create?fromImage=web&platform=linux/arm", "", 501, "platform"},
		{"POST", "/images/create?fromImage=WEB", "", 400, "lowercase"},
		{"GET", "/images/json" + filter(`{"since":["x"]}`), "", 501, "filter since"},
		{"GET", "/distribution/nowhere/json", "", 422, "nobody has it"},

		{"POST", "/networks/create", `{"Name":"a b"}`, 400, "bad network name"},
		{"POST", "/networks/create", `{"Name":"back"}`, 409, "exists already"},
		{"POST", "/networks/create", `{"Name":"x","Driver":"macvlan"}`, 501, "driver macvlan"},
		{"POST", "/networks/create", `{"Name":"x","Driver":"overlay","Options":{"encrypted":""}}`, 501, "option encrypted"},
		{"POST", "/networks/create", `{"Name":"x","Internal":true}`, 501, "internal"},
		{"POST", "/networks/create", `{"Name":"x","IPAM":{"Config":[{"Subnet":"10.0.0.0/8"}]}}`, 501, "addresses of a network"},
		{"POST", "/networks/create", `{"Name":"x","EnableIPv6":true}`, 501, "IPv6"},
		{"DELETE", "/networks/back", "", 409, "in use by service greeters"},
		{"DELETE", "/networks/ingress", "", 403, "cannot be removed"},
		{"GET", "/networks/none", "", 404, "network none not found"},

		{"POST", "/secrets/create", `{"Name":"db","Data":"aHVzaA=="}`, 409, "exists already"},
		{"POST", "/secrets/create", `{"Name":"x","Data":"aHVzaA=="`, 400, "not well formed"},
		{"POST", "/secrets/create", `{"Name":"x","Driver":{"Name":"vault"}}`, 501, "driver vault"},
		{"POST", "/secrets/create", `{"Name":"x"}`, 400, "it is empty"},
		{"POST", "/secrets/db/update?version=1", `{"Name":"db"}`, 400, "out of sequence"},
		{"POST", fmt.Sprintf("/secrets/db/update?version=%d", version(t, h, "/secrets/db")), `{"Name":"db","Data":"aHVzaw=="}`, 409, "none ever changes"},
		{"POST", fmt.Sprintf("/secrets/db/update?version=%d", version(t, h, "/secrets/db")), `{"Name":"db","Labels":{"a":"b"}}`, 501, "never changes"},
		{"DELETE", "/secrets/db", "", 409, "in use by service greeters"},
		{"DELETE", "/secrets/none", "", 404, "secret none not found"},
		{"POST", "/configs/create", `{"Name":"x","Templating":{"Name":"golang"},"Data":"YQ=="}`, 501, "template driver"},
		{"DELETE", "/configs/none", "", 404, "config none not found"},

		{"GET", "/events?since=1", "", 501, "is not kept"},
		{"GET", "/events" + filter(`{"label":["x"]}`), "", 501, "filter label"},
		{"GET", "/events" + filter(`{"mood":["x"]}`), "", 400, "invalid filter"},
	} {
		before := n.store.Digest()
		n.took()
		status, answer := call(h, test.method, test.path, test.body)
		var message struct{ Message string }
		err := json.Unmarshal([]byte(answer), &message)
		if status != test.status || err != nil || !strings.Contains(message.Message, test.want) || strings.ContainsAny(message.Message, "\r\n") {
			t.Errorf("%s %s %.200s: %d %.300s, want %d and %q", test.method, test.path, test.body, status, answer, test.status, test.want)
		}
		if n.store.Digest() != before {
			t.Errorf("%s %s %.200s: refused, and yet the state is another one", test.method, test.path, test.body)
		}
		if took := n.took(); took != "" {
			t.Errorf("%s %s: refused, and yet did %s", test.method, test.path, took)
		}
		if strings.Contains(answer, "hush") || strings.Contains(answer, "aHVza") {
			t.Errorf("%s %s tells the secret: %s", test.method, test.path, answer)
		}
	}
}

// A node in no cluster says what to do, and answers what needs none.
func TestWithoutSwarm(t *testing.T) {
	n := &node1{}
	h := New(client.InProcess(api.New(n, slog.New(slog.DiscardHandler)).Handler()))
	for _, path := range []string{"/services", "/nodes", "/tasks", "/swarm", "/secrets", "/configs", "/services/web", "/nodes/self"} {
		if status, answer := call(h, "GET", path, ""); status != http.StatusServiceUnavailable || !strings.Contains(answer, "docker swarm init") {
			t.Errorf("GET %s: %d %s", path, status, answer)
		}
	}
	for path, want := range map[string]string{
		"/_ping": "OK", "/info": `"LocalNodeState":"inactive"`, "/version": `"ApiVersion":"1.56"`, "/containers/json": "[]", "/images/json": "[]",
		"/networks": "[]", "/volumes": `"Volumes":[]`,
	} {
		if status, answer := call(h, "GET", path, ""); status != 200 || !strings.Contains(answer, want) {
			t.Errorf("GET %s: %d %s", path, status, answer)
		}
	}
	for body, want := range map[string]string{
		`{}`: `init "" ""`,
		`{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"192.168.1.20:2377","Spec":{"Name":"den"},"DefaultAddrPool":["10.90.0.0/16"],"SubnetSize":24}`: `init "den" "10.90.0.0/16"`,
		`{"AdvertiseAddr":"192.168.1.99"}`:                    "",
		`{"DefaultAddrPool":["10.90.0.0/16","10.91.0.0/16"]}`: "",
		`{"SubnetSize":20}`:                                   "",
		`{"ForceNewCluster":true}`:                            "",
		`{"AutoLockManagers":true}`:                           "",
		`{"DataPathPort":4789}`:                               "",
	} {
		status, answer := call(h, "POST", "/swarm/init", body)
		if took := n.took(); took != want || (want != "") != (status == 200 && answer == `"aaaa111122223333zpiswarmz"`) {
			t.Errorf("init %s: %d %s, did %q, want %q", body, status, answer, took, want)
		}
	}
	if status, answer := call(h, "POST", "/v1.41/swarm/join", `{"RemoteAddrs":["192.168.1.20:2377","pi3:9999"],"JoinToken":"PSWM-1-x-y"}`); status != 200 {
		t.Errorf("join: %d %s", status, answer)
	}
	if took := n.took(); took != "join PSWM-1-x-y [192.168.1.20 pi3:9999]" {
		t.Errorf("join did %q", took)
	}
}

func TestPing(t *testing.T) {
	_, h := start(t)
	for _, path := range []string{"/_ping", "/v1.24/_ping", "/v1.41/_ping", "/v1.56/_ping"} {
		status, answer := call(h, "GET", path, "")
		if status != 200 || answer != "OK" {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if status, answer := call(h, "HEAD", "/_ping", ""); status != 200 || answer != "" {
		t.Errorf("HEAD: %d %q", status, answer)
	}
}

// What is asked of a container goes to its task.
func TestContainerActions(t *testing.T) {
	n, h := start(t)
	one := containerID(taskOne)
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"POST", "/containers/" + one[:12] + "/stop", 204, "stop " + taskOne + ` "" 10s`},
		{"POST", "/containers/greeters.1." + taskOne + "/stop?t=3&signal=int", 204, "stop " + taskOne + ` "SIGINT" 3s`},
		{"POST", "/containers/" + one + "/restart", 204, "stop " + taskOne + ` "" 10s`},
		{"POST", "/containers/" + one + "/kill?signal=HUP", 204, "signal " + taskOne + ` "SIGHUP"`},
		{"POST", "/images/greeter/tag?repo=greeter&tag=2", 201, "tag docker.io/library/greeter:latest docker.io/library/greeter:2"},
		{"DELETE", "/images/greeter?force=1", 200, "remove docker.io/library/greeter:latest"},
		{"DELETE", "/nodes/pi2", 200, "forget " + piTwo},
	} {
		status, answer := call(h, test.method, test.path, "")
		if took := n.took(); status != test.status || took != test.want {
			t.Errorf("%s %s: %d %s did %q, want %d and %q", test.method, test.path, status, answer, took, test.status, test.want)
		}
	}
}

func TestUploads(t *testing.T) {
	_, h := start(t)
	for _, test := range []struct{ path, body, want string }{
		{"/images/load?quiet=1", "tar", `"stream":"Loaded image: web:latest\n"`},
		{"/images/load", "bad", `"errorDetail":{"message":"not an image archive"},"error":"not an image archive"`},
		{"/images/create?fromImage=web&tag=1", "", `"status":"Status: Downloaded newer image for web:1"`},
		{"/images/create?fromImage=nowhere", "", `"error":"image nowhere: nobody has it"`},
	} {
		if status, answer := call(h, "POST", test.path, test.body); status != 200 || !strings.Contains(answer, test.want) {
			t.Errorf("%s: %d %s", test.path, status, answer)
		}
	}
}

// TestRestartOfWhatIsNotStartedAgain must not end it for good.
func TestRestartOfWhatIsNotStartedAgain(t *testing.T) {
	for what, change := range map[string]func(*cluster.Spec){
		"on-failure": func(s *cluster.Spec) { s.Restart.Condition = cluster.RestartOnFailure },
		"none":       func(s *cluster.Spec) { s.Restart.Condition = cluster.RestartNone },
		"a job":      func(s *cluster.Spec) { s.Mode = cluster.ReplicatedJob },
	} {
		n, h := start(t)
		service := greeters()
		change(&service.Spec)
		put(t, n.store, cluster.ServiceKey("greeters"), service)
		status, answer := call(h, "POST", "/containers/"+containerID(taskOne)+"/restart", "")
		if took := n.took(); status != 409 || took != "" || !strings.Contains(answer, "docker service update --force greeters") {
			t.Errorf("%s: %d %s did %q", what, status, answer, took)
		}
	}
}
