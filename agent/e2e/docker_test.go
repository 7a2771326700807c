package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const dockerSocket = "unix:///run/piswarm/docker.sock"

// docker runs docker's own client on a host, as it is installed on this machine.
func (s *shelf) docker(host, line string) result {
	s.t.Helper()
	return s.on(host, append([]string{"docker", "-H", dockerSocket}, strings.Fields(line)...)...)
}

// mustDocker runs a line that has to succeed and to print something of that pattern.
func (s *shelf) mustDocker(host, line, want string) string {
	s.t.Helper()
	r := s.docker(host, line)
	if r.code != 0 || !regexp.MustCompile("(?s)"+want).MatchString(r.out) {
		s.t.Fatalf("docker %s on %s: exit %d, want %q in\n%s%s", line, host, r.code, want, r.out, r.err)
	}
	return r.out
}

// The walk of the tutorials, typed word for word, by docker's own client.
func TestDockerClient(t *testing.T) {
	s := startLab(t, 3, "")
	s.mustDocker("pi1", "version", `Server: piswarm.*API version: +1\.56 \(minimum version 1\.24\)`)
	if r := s.docker("pi1", "service ls"); r.code == 0 || !strings.Contains(r.err, "This node is not a swarm manager") {
		t.Errorf("service ls without a cluster: exit %d %s", r.code, r.err)
	}
	s.dockerSwarm()
	if r := s.feed(read(t, greeterTar), "pi1", "docker", "-H", dockerSocket, "load"); r.code != 0 || !strings.Contains(r.out, "Loaded image: greeter:latest") {
		t.Fatalf("docker load: exit %d %s%s", r.code, r.out, r.err)
	}
	s.mustDocker("pi1", "image ls greeter", `greeter +latest`)
	// Docker's client watches for as long as an update monitors; the delay lets the test see what is missing.
	s.mustDocker("pi1", "service create --publish 9000:5000 --name greeters --replicas 2 --update-monitor 1s --rollback-monitor 1s --restart-delay 3s greeter", `[Ss]ervice.* converged`)
	s.mustDocker("pi1", "service ls", `greeters +replicated +2/2 +greeter:latest +\*:9000->5000/tcp`)
	answers := strings.Split(strings.TrimSpace(s.fetch("laptop", "http://pi2:9000/", 3)), "\n")
	if len(answers) != 3 || answers[0] == answers[1] || answers[0] != answers[2] {
		t.Errorf("three answers do not alternate: %q", answers)
	}
	s.mustDocker("pi1", "service scale greeters=4", `greeters scaled to 4.*converged`)
	s.dockerStop()
	s.dockerLogs()
	s.dockerUpdate()
	s.dockerDrain()
	s.mustDocker("pi1", "service rm greeters", `greeters`)
	s.dockerStack()
	if r := s.on("pi1", s.self(), dockerSDKArg); r.code != 0 || !strings.Contains(r.out, "all done") {
		t.Errorf("a program of docker's SDK: exit %d %s%s", r.code, r.out, r.err)
	}
	s.eventually(20*time.Second, "no container is left", func() bool {
		return s.docker("pi1", "ps -q").out+s.docker("pi2", "ps -q").out+s.docker("pi3", "ps -q").out == ""
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// dockerSwarm makes three nodes a swarm.
func (s *shelf) dockerSwarm() {
	s.t.Helper()
	if r := s.docker("pi1", "swarm init --advertise-addr 10.9.8.7"); r.code == 0 || !strings.Contains(r.err, "on its LAN this node is") {
		s.t.Errorf("swarm init with a stranger's address: exit %d %s", r.code, r.err)
	}
	out := s.mustDocker("pi1", "swarm init", `Swarm initialized: current node \([a-z0-9]{25}\) is now a manager.*docker swarm join --token PSWM-1-\S+ [0-9.]+:7946`)
	join := strings.TrimPrefix(strings.TrimSpace(regexp.MustCompile(`docker swarm join .*`).FindString(out)), "docker ")
	s.mustDocker("pi2", join, `This node joined a swarm as a`)
	s.mustDocker("pi3", strings.Replace(join, ":7946", ":2377", 1), `This node joined a swarm as a`) // as tutorials have it
	s.awaitReady(3)
	s.mustDocker("pi1", "node ls", `\* +pi1 +Ready +Active +(Leader|Reachable).*pi2 +Ready +Active.*pi3 +Ready +Active`)
	s.mustDocker("pi3", "info --format {{.Swarm.LocalNodeState}}/{{.Swarm.Nodes}}", `^active/3`)
}

// dockerStop stops one container, whose node starts it again.
func (s *shelf) dockerStop() {
	s.t.Helper()
	id := strings.Fields(s.mustDocker("pi1", "ps -q --filter name=greeters", `[0-9a-f]{12}`))[0]
	s.mustDocker("pi1", "ps", id+` +greeter:latest .*Up .*5000/tcp +greeters\.[1-4]\.[a-z0-9]{25}`)
	s.mustDocker("pi1", "stop "+id, "^"+id)
	seen := false
	s.eventually(30*time.Second, "4/4 after 3/4", func() bool {
		out := s.mustDocker("pi2", "service ls", "greeters")
		seen = seen || strings.Contains(out, "3/4")
		return seen && strings.Contains(out, "4/4")
	})
	s.mustDocker("pi2", "service ps greeters", `\\_ greeters\.[1-4] +greeter:latest +pi1 +Shutdown +(Complete|Failed)`)
}

// dockerLogs reads what tasks write, and runs a command beside one.
func (s *shelf) dockerLogs() {
	s.t.Helper()
	s.mustDocker("pi3", "service logs greeters", `greeters\.[1-4]\.[a-z0-9]+@pi[1-3] +\| \S`)
	r := s.on("pi3", "timeout", "2", "docker", "-H", dockerSocket, "service", "logs", "-f", "--tail", "1", "greeters")
	if r.code != 124 || !strings.Contains(r.out, "@pi1") {
		s.t.Errorf("service logs -f: exit %d %s%s", r.code, r.out, r.err)
	}
	id := strings.Fields(s.mustDocker("pi1", "ps -q --filter name=greeters", `[0-9a-f]{12}`))[0]
	s.mustDocker("pi1", "logs "+id, `\S`)
	s.mustDocker("pi1", "exec "+id+" /greeter get 1 http://127.0.0.1:5000/", `Hello, Docker world from [0-9a-z]+\.`)
	if r := s.docker("pi1", "exec "+id+" /greeter get nothing"); r.code != 1 {
		s.t.Errorf("exec of what fails: exit %d, want 1: %s%s", r.code, r.out, r.err)
	}
	s.mustDocker("pi1", "stats --no-stream "+id, id+` +greeters\.[1-4]\.\S+ +[0-9.]+% +[0-9.]+[KM]iB`)
}

// dockerUpdate gives the service another image, and takes it back.
func (s *shelf) dockerUpdate() {
	s.t.Helper()
	s.mustDocker("pi1", "tag greeter:latest greeter:2", "")
	s.eventually(10*time.Second, "the image has its other name", func() bool { return strings.Contains(s.docker("pi1", "image ls").out, "greeter      2") })
	s.mustDocker("pi1", "service update --update-parallelism 0 --image greeter:2 greeters", `[Ss]ervice.* converged`)
	s.mustDocker("pi1", "service ls", `greeters +replicated +4/4 +greeter:2 `)
	s.mustDocker("pi1", "service rollback greeters", `rolling back.*[Ss]ervice.* converged`)
	s.mustDocker("pi1", "service ls", `greeters +replicated +4/4 +greeter:latest `)
	s.mustDocker("pi1", "service inspect --pretty greeters", `UpdateStatus:\s+State:\s+rollback_completed`)
}

// dockerDrain takes all tasks off a node.
func (s *shelf) dockerDrain() {
	s.t.Helper()
	s.mustDocker("pi1", "node update --availability drain --label-add room=attic pi2", "pi2")
	s.mustDocker("pi1", "node ls", `pi2 +Ready +Drain`)
	s.mustDocker("pi1", "node inspect --pretty pi2", `room=attic.*Availability:\s+Drain`)
	s.eventually(30*time.Second, "pi2 has no task", func() bool { return s.docker("pi2", "ps -q").out == "" })
	s.eventually(30*time.Second, "all run elsewhere", func() bool { return strings.Contains(s.docker("pi2", "service ls").out, "4/4") })
	s.mustDocker("pi1", "node update --availability active pi2", "pi2")
}

const stackFile = `version: "3.8"
services:
  web:
    image: greeter
    ports: ["9100:5000"]
    networks: [back]
    secrets: [password]
    configs: [{source: motd, target: /motd}]
    deploy: {replicas: 2}
  db:
    image: greeter
    networks: [back]
    deploy: {resources: {limits: {memory: 64M}}}
networks: {back: {}}
secrets: {password: {file: ./password}}
configs: {motd: {file: ./motd}}
`

// dockerAlias has one service of the stack ask another by its name in the file, and read what it was given.
func (s *shelf) dockerAlias() {
	s.t.Helper()
	for _, host := range []string{"pi1", "pi2", "pi3"} {
		id, _, _ := strings.Cut(s.docker(host, "ps -q --filter name=shop_web").out, "\n")
		if id != "" {
			s.mustDocker(host, "exec "+id+" /greeter get 1 http://db:5000/", `Hello, Docker world`)
			return
		}
	}
	s.t.Error("no container of shop_web is anywhere")
}

// dockerStack deploys a compose file, twice, and removes it.
func (s *shelf) dockerStack() {
	s.t.Helper()
	stack := filepath.Join(dir, "stack")
	if err := os.MkdirAll(stack, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for name, text := range map[string]string{"compose.yaml": stackFile, "password": "hush", "motd": "hello"} {
		if err := os.WriteFile(filepath.Join(stack, name), []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	deploy := fmt.Sprintf("stack deploy -c %s/compose.yaml shop", stack)
	s.mustDocker("pi1", deploy, `Creating network shop_back.*Creating secret shop_password.*Creating config shop_motd.*Creating service shop_`)
	s.eventually(30*time.Second, "the stack runs", func() bool {
		out := s.mustDocker("pi2", "stack services shop", "shop_db")
		return strings.Contains(out, "2/2") && strings.Contains(out, "1/1")
	})
	s.mustDocker("pi2", "stack ls", `shop +2`)
	s.mustDocker("pi2", "secret ls", `shop_password`)
	s.mustDocker("pi2", "config inspect --pretty shop_motd", `hello`)
	s.mustDocker("pi2", "network ls", `shop_back +overlay +swarm`)
	s.fetch("laptop", "http://pi3:9100/", 1)
	s.dockerAlias()
	before := s.mustDocker("pi2", "stack ps -q shop", `\S`)
	s.mustDocker("pi2", deploy, `Updating service shop_`)
	if after := s.mustDocker("pi2", "stack ps -q shop", `\S`); after != before {
		s.t.Errorf("to deploy the same twice replaced tasks:\n%s\n%s", before, after)
	}
	s.mustDocker("pi3", "stack rm shop", `Removing service shop_.*Removing secret shop_password.*Removing config shop_motd.*Removing network shop_back`)
	if out := s.mustDocker("pi1", "service ls -q", "") + s.mustDocker("pi1", "secret ls -q", ""); strings.TrimSpace(out) != "" {
		s.t.Errorf("the stack left %s", out)
	}
}
