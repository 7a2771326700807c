package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestWrites holds what each command asks of the agent and what it prints when that is done.
func TestWrites(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("  PSWM-1-a-file \nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args, stdin string
		wrote       []string
		stdout      string
	}{
		{args: "node update --availability drain pi2", wrote: []string{`PATCH /v1/nodes/pi2 {"availability":"drain"}`}, stdout: "pi2\n"},
		{args: "node update --role worker --label-add room=hall --label-add lit --label-rm floor node2-01", wrote: []string{`PATCH /v1/nodes/node2-0123456789abcdef {"role":"worker","labelsAdd":{"lit":"","room":"hall"},"labelsRemove":["floor"]}`}, stdout: "node2-01\n"},
		{args: "rm greeters lamp-01", wrote: []string{"DELETE /v1/services/greeters", "DELETE /v1/services/lamp"}, stdout: "greeters\nlamp\n"},
		{args: "service rm lamp", wrote: []string{"DELETE /v1/services/lamp"}, stdout: "lamp\n"},
		{args: "image rm greeter registry.local:5000/lamp:1.2", wrote: []string{"DELETE /v1/images?name=docker.io%2Flibrary%2Fgreeter%3Alatest", "DELETE /v1/images?name=registry.local%3A5000%2Flamp%3A1.2"}, stdout: "docker.io/library/greeter:latest\nregistry.local:5000/lamp:1.2\n"},
		{args: "init", wrote: []string{`POST /v1/init {"name":"home","pool":"10.77.0.0/16"}`}, stdout: "The cluster home is made, with this node as its first.\n\nTo add another node, run this on it:\n\n    piswarm join --token PSWM-1-home-secret\n\nWho has the token can read and change everything. piswarm token shows it again.\n"},
		{args: "init --name lab --pool 10.90.0.0/16", wrote: []string{`POST /v1/init {"name":"lab","pool":"10.90.0.0/16"}`}, stdout: "The cluster lab is made"},
		{args: "join --token PSWM-1-a-b", wrote: []string{`POST /v1/join {"token":"PSWM-1-a-b"}`}, stdout: "This node has joined the cluster. See piswarm status.\n"},
		{args: "join --token-file - 192.168.2.20 192.168.2.21", stdin: "PSWM-1-a-stdin\n", wrote: []string{`POST /v1/join {"token":"PSWM-1-a-stdin","addresses":["192.168.2.20","192.168.2.21"]}`}, stdout: "This node has joined"},
		{args: "join --token-file " + tokenFile, wrote: []string{`POST /v1/join {"token":"PSWM-1-a-file"}`}, stdout: "This node has joined"},
		{args: "node rm pi3 node2-01", wrote: []string{"DELETE /v1/nodes/pi3", "DELETE /v1/nodes/node2-0123456789abcdef"}, stdout: "pi3\nnode2-0123456789abcdef\n"},
		{args: "node rm --force pi3", wrote: []string{"DELETE /v1/nodes/pi3?force=true"}, stdout: "pi3\n"},
		{args: "rollback -d greeters-01", wrote: []string{"POST /v1/services/greeters/rollback"}, stdout: "greeters\n"},
		{args: "service update -d --rollback greeters", wrote: []string{"POST /v1/services/greeters/rollback"}, stdout: "greeters\n"},
		{args: "update --replicas 2 greeters", stdout: "greeters: nothing to change\n"},
		{args: "update -q --replicas 2 greeters", stdout: ""},
		{args: "secret create db -", stdin: "hush\n", wrote: []string{`POST /v1/secrets {"name":"db","data":"aHVzaAo="}`}, stdout: "svc1id\n"},
		{args: "secret create -l team=door --label beta db " + tokenFile, wrote: []string{`POST /v1/secrets {"name":"db","labels":{"beta":"","team":"door"},"data":"ICBQU1dNLTEtYS1maWxlIAptb3JlCg=="}`}, stdout: "svc1id\n"},
		{args: "config create app -", stdin: "on", wrote: []string{`POST /v1/configs {"name":"app","data":"b24="}`}, stdout: "svc1id\n"},
		{args: "secret rm tls.key db-password-01", wrote: []string{"DELETE /v1/secrets/tls.key", "DELETE /v1/secrets/db-password"}, stdout: "tls.key\ndb-password\n"},
		{args: "config rm nginx.conf", wrote: []string{"DELETE /v1/configs/nginx.conf"}, stdout: "nginx.conf\n"},
		{args: "leave", wrote: []string{"POST /v1/leave"}, stdout: "This node has left the cluster.\n"},
		{args: "scale -d greeters=0", wrote: []string{`POST /v1/services/greeters/scale {"replicas":0}`}, stdout: "greeters scaled to 0\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			f := shelf(t)
			f.written.Warning = ""
			r := run(t, f, test.stdin, strings.Fields(test.args)...)
			if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, test.stdout) {
				t.Errorf("got %+v, want %q", r, test.stdout)
			}
			if got := f.writes(); !slices.Equal(got, test.wrote) {
				t.Errorf("wrote %q\nwant  %q", got, test.wrote)
			}
		})
	}
}

// TestEveryFlagOfCreate holds that no flag is without effect.
func TestEveryFlagOfCreate(t *testing.T) {
	envFile := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(envFile, []byte("FROM=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFakeAgent(t)
	r := run(t, f, "", "create", "--detach", "--quiet", "--name", "web", "--mode", "replicated", "--replicas", "3",
		"-p", "80:8080", "--publish", "published=53,target=5353,protocol=udp",
		"-e", "A=1", "--env-file", envFile, "-l", "team=door", "--container-label", "lit",
		"--constraint", "node.labels.room==kitchen", "--constraint", "node.arch!=arm",
		"--placement-pref", "spread=node.labels.floor", "--replicas-max-per-node", "2", "--strategy", "binpack", "--on-partition", "stop",
		"--limit-cpu", "1.5", "--limit-memory", "64m", "--reserve-cpu", "0.25", "--reserve-memory", "32m", "--limit-pids", "100",
		"--mount", "type=bind,source=/srv,target=/srv,readonly", "--device", "/dev/gpiomem:/dev/gpio:rw",
		"--secret", "db", "--secret", "source=tls,target=key,uid=1000,gid=1001,mode=0440", "--config", "source=app,target=/etc/app",
		"--cap-add", "net_raw", "--cap-drop", "ALL", "--privileged", "--read-only", "--init", "-u", "1000:1000", "-w", "/app",
		"--hostname", "door", "--entrypoint", "sh -c", "--stop-signal", "int", "--stop-grace-period", "3s",
		"--health-cmd", "wget -q localhost", "--health-interval", "10s", "--health-timeout", "2s", "--health-retries", "4",
		"--health-start-period", "1m", "--health-start-interval", "1s",
		"--restart-condition", "on-failure", "--restart-delay", "2s", "--restart-max-attempts", "5", "--restart-window", "1h",
		"--update-parallelism", "0", "--update-delay", "3s", "--update-monitor", "0s", "--update-max-failure-ratio", "0.2",
		"--update-failure-action", "rollback", "--update-order", "start-first",
		"--rollback-parallelism", "2", "--rollback-delay", "4s", "--rollback-monitor", "6s", "--rollback-max-failure-ratio", "0.5",
		"--rollback-failure-action", "continue", "--rollback-order", "stop-first",
		"nginx:1.27", "echo hello", "--name", "not-a-flag")
	if r.code != 0 || r.stdout != "svc1id\n" {
		t.Fatalf("got %+v", r)
	}
	want := `POST /v1/services {"name":"web","labels":{"team":"door"},"mode":"replicated","replicas":3,"container":{"image":"docker.io/library/nginx:1.27","digest":"",` +
		`"entrypoint":["sh","-c"],"args":["echo hello","--name","not-a-flag"],"env":["FROM=file","A=1"],"workdir":"/app","user":"1000:1000","hostname":"door","labels":{"lit":""},` +
		`"mounts":[{"type":"bind","source":"/srv","target":"/srv","readOnly":true}],"secrets":[{"name":"db","target":"/run/secrets/db","mode":256},{"name":"tls","target":"/run/secrets/key","uid":1000,"gid":1001,"mode":288}],` +
		`"configs":[{"name":"app","target":"/etc/app","mode":292}],"devices":[{"host":"/dev/gpiomem","container":"/dev/gpio","permissions":"rw"}],` +
		`"capAdd":["CAP_NET_RAW"],"capDrop":["ALL"],"privileged":true,"readOnly":true,"init":true,"stopSignal":"SIGINT","stopGracePeriod":3000000000,` +
		`"health":{"cmd":["/bin/sh","-c","wget -q localhost"],"interval":10000000000,"timeout":2000000000,"retries":4,"startPeriod":60000000000,"startInterval":1000000000}},` +
		`"resources":{"limits":{"memoryBytes":67108864,"nanoCPUs":1500000000},"reservations":{"memoryBytes":33554432,"nanoCPUs":250000000},"pids":100},` +
		`"placement":{"constraints":[{"attribute":"node.labels.room","value":"kitchen"},{"attribute":"node.arch","not":true,"value":"arm"}],"spread":["node.labels.floor"],"maxPerNode":2,"strategy":"binpack"},` +
		`"ports":[{"published":80,"target":8080,"protocol":"tcp","mode":"ingress"},{"published":53,"target":5353,"protocol":"udp","mode":"ingress"}],"onPartition":"stop",` +
		`"restart":{"condition":"on-failure","delay":2000000000,"maxAttempts":5,"window":3600000000000},` +
		`"update":{"parallelism":0,"delay":3000000000,"maxFailureRatio":0.2,"failureAction":"rollback","order":"start-first"},` +
		`"rollback":{"parallelism":2,"delay":4000000000,"monitor":6000000000,"maxFailureRatio":0.5,"failureAction":"continue","order":"stop-first"}}`
	if got := f.writes(); len(got) != 1 || got[0] != want {
		t.Errorf("wrote %s\nwant  %s", got, want)
	}
}

// TestSomeFlagsOfCreate holds those that contradict others, and what holds where none is given.
func TestSomeFlagsOfCreate(t *testing.T) {
	for args, want := range map[string]string{
		"":                                `"replicas":1,`,
		"--name lamp":                     `"restart":{"condition":"any"},"update":{"parallelism":1,"monitor":5000000000,"failureAction":"pause"},"rollback":{"parallelism":1,"monitor":5000000000,"failureAction":"pause"}}`,
		"--mode global":                   `"mode":"global","replicas":0`,
		"--mode global-job":               `"mode":"global-job","replicas":0`,
		"--mode replicated-job":           `"restart":{"condition":"on-failure"}`,
		"--health-http /healthz -p 80:81": `"health":{"http":"/healthz"}`,
		"--health-http :81/":              `"health":{"http":"/","port":81}`,
		"--health-tcp -p 80:81":           `"health":{"tcp":true}`,
		"--health-tcp=81":                 `"health":{"tcp":true,"port":81}`,
		"--no-healthcheck":                `"health":{"disabled":true}`,
		"--health-interval 5s":            `"health":{"interval":5000000000}`,
		"--mode replicated-job --replicas 9 --max-concurrent 3": `"mode":"replicated-job","replicas":9,"maxConcurrent":3`,
	} {
		f := newFakeAgent(t)
		r := run(t, f, "", strings.Fields("create -d "+args+" lamp")...)
		if got := f.writes(); r.code != 0 || len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %+v, wrote %q, want %s", args, r, got, want)
		}
	}
}

func TestImageLoad(t *testing.T) {
	tar := filepath.Join(t.TempDir(), "greeter.tar")
	if err := os.WriteFile(tar, []byte(strings.Repeat("x", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded := []client.Progress{
		{Message: "unpack greeter", Current: 500, Total: 1000},
		{Message: "unpack greeter", Current: 1000, Total: 1000},
		{Images: []cluster.Image{{Name: "docker.io/library/greeter:latest"}}, Done: true},
	}
	for _, test := range []struct {
		name, args, stdin string
		progress          []client.Progress
		want              result
		wrote             string
	}{
		{"file", "image load -i " + tar, "", loaded, result{"sending\nunpack greeter\nLoaded image: greeter:latest\n", "", 0}, "POST /v1/images/load (1000 bytes)"},
		{"stdin", "image load", "12345", loaded, result{"sending\nunpack greeter\nLoaded image: greeter:latest\n", "", 0}, "POST /v1/images/load (5 bytes)"},
		{"quiet", "image load -q", "12345", loaded, result{"Loaded image: greeter:latest\n", "", 0}, "POST /v1/images/load (5 bytes)"},
		{"truncated", "image load -q", "12345", []client.Progress{{Error: "the tar file is cut short"}}, result{"", "piswarm: the tar file is cut short\n", 1}, "POST /v1/images/load (5 bytes)"},
		{"broken off", "image load -q", "12345", loaded[:1], result{"", "piswarm: the agent broke off: unexpected EOF\n", 1}, "POST /v1/images/load (5 bytes)"},
		{"pull", "image pull greeter", "", loaded, result{"unpack greeter\nPulled image: greeter:latest\n", "", 0}, "POST /v1/images/pull (44 bytes)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeAgent(t)
			f.progress = test.progress
			if r := run(t, f, test.stdin, strings.Fields(test.args)...); r != test.want {
				t.Errorf("got %+v\nwant %+v", r, test.want)
			}
			if got := f.writes(); !slices.Equal(got, []string{test.wrote}) {
				t.Errorf("wrote %q, want %q", got, test.wrote)
			}
		})
	}
}

// TestCompletion asks for words as the shell's completion scripts do.
func TestCompletion(t *testing.T) {
	f := shelf(t)
	for args, want := range map[string][]string{
		"inspect ":                          {"greeters", "lamp"},
		"rm greeters ":                      {"lamp"},
		"service scale ":                    {"greeters", "lamp"},
		"node inspect pi":                   {"pi1", "pi2", "pi3"},
		"node update pi1 ":                  nil,
		"node update --availability ":       {"active", "pause", "drain"},
		"create --mode ":                    {"replicated", "global", "replicated-job", "global-job"},
		"create --restart-condition ":       {"any", "on-failure", "none"},
		"update --image ":                   {"greeter:latest", "registry.local:5000/lamp:1.2"},
		"update greeters ":                  nil,
		"rollback ":                         {"greeters", "lamp"},
		"node rm pi1 ":                      {"pi2", "pi3"},
		"create --update-order ":            {"start-first", "stop-first"},
		"create --update-failure-action ":   {"pause", "continue", "rollback"},
		"create --rollback-failure-action ": {"pause", "continue"},
		"create ":                           {"greeter:latest", "registry.local:5000/lamp:1.2"},
		"ls ":                               nil,
		"ls --format ":                      {"table", "json"},
		"secret rm tls.key ":                {"db-password"},
		"config inspect ":                   {"nginx.conf"},
		"create --secret ":                  {"db-password", "tls.key"},
		"update --config-rm ":               {"nginx.conf"},
		"update --secret-add ":              {"db-password", "tls.key"},
		"secret create ":                    nil,
	} {
		words := strings.Split(args, " ")
		r := run(t, f, "", append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...)
		var got []string
		for line := range strings.Lines(r.stdout) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q completes to %q, want %q", args, got, want)
		}
	}
	f.host = "unix:///nonexistent"
	if r := run(t, f, "", cobra.ShellCompNoDescRequestCmd, "inspect", ""); strings.TrimSpace(r.stdout) != ":4" {
		t.Errorf("without an agent: got %q", r.stdout)
	}
}

// TestEveryCommandHelps holds that each command has a short text and an example that the command line accepts, and
// that the long and the short forms are the same commands.
func TestEveryCommandHelps(t *testing.T) {
	root := newRootCommand(newApp(nil, nil, nil))
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return // for the program itself, not for people
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no short text or no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long) {
			if len([]rune(line)) > 121 {
				t.Errorf("%s: a line of its help is too long: %s", cmd.CommandPath(), line)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			words, err := splitWords(line[strings.Index(line, "piswarm")+len("piswarm"):])
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			words, _, _ = cutWord(words, "|")
			found, rest, err := root.Find(words)
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	service, _, err := root.Find([]string{"service"})
	if err != nil {
		t.Fatal(err)
	}
	for _, long := range service.Commands() {
		short, _, err := root.Find([]string{long.Name()})
		if err != nil || short.Short != long.Short {
			t.Errorf("piswarm %s is not piswarm service %s", long.Name(), long.Name())
		}
	}
}

func cutWord(words []string, sep string) (before, after []string, found bool) {
	if i := slices.Index(words, sep); i >= 0 {
		return words[:i], words[i+1:], true
	}
	return words, nil, false
}

// TestTokenRotate: the token alone is on standard output, so that it can be piped.
func TestTokenRotate(t *testing.T) {
	const warning = "warning: off, and in need of the new token (piswarm join on each): pi3\n"
	for args, said := range map[string]string{
		"token rotate":    "the new token is on pi1, pi2\nThe token was changed on 2 nodes: pi1, pi2\n" + warning,
		"token rotate -q": warning,
	} {
		r := run(t, shelf(t), "", strings.Fields(args)...)
		if r.code != 0 || r.stdout != "PSWM-1-new-secret\n" || r.stderr != said {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
