package dockerapi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// dial serves the API on a socket, as the agent does, and opens a connection to it.
func dial(t *testing.T, h http.Handler) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until it is closed
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn)
}

// split takes multiplexed streams apart.
func split(t *testing.T, raw []byte) (out [4]string) {
	t.Helper()
	for len(raw) >= 8 {
		n := int(binary.BigEndian.Uint32(raw[4:]))
		if raw[0] > 3 || len(raw) < 8+n {
			t.Fatalf("not a frame: %q", raw)
		}
		out[raw[0]] += string(raw[8 : 8+n])
		raw = raw[8+n:]
	}
	if len(raw) > 0 {
		t.Fatalf("half a frame: %q", raw)
	}
	return out
}

func makeExec(t *testing.T, h http.Handler, body string) string {
	t.Helper()
	status, answer := call(h, "POST", "/containers/"+containerID(taskOne)+"/exec", body)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != 201 || len(made.ID) != 64 {
		t.Fatalf("exec: %d %s", status, answer)
	}
	return made.ID
}

func inspectExec(t *testing.T, h http.Handler, id string) container.ExecInspectResponse {
	t.Helper()
	_, answer := call(h, "GET", "/exec/"+id+"/json", "")
	var got container.ExecInspectResponse
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return got
}

func TestExec(t *testing.T) {
	for _, test := range []struct {
		name, body, start, input string
		want                     func(t *testing.T, rest []byte)
		called                   string
	}{
		{"without input, as docker's client asks", `{"Cmd":["ls","-l"],"AttachStdout":true,"AttachStderr":true,"User":"1000","WorkingDir":"/tmp","Env":["A=B"],"Detach":false}`, `{"Detach":false,"Tty":false}`, "",
			func(t *testing.T, rest []byte) {
				if got := split(t, rest); got[1] != "out" || got[2] != "err" || got[3] != "" {
					t.Errorf("came out: %q", got)
				}
			}, `run ` + taskOne + ` ["ls" "-l"] tty=false 1000 /tmp [A=B]`},
		{"with input", `{"Cmd":["cat"],"AttachStdin":true}`, `{}`, "hello",
			func(t *testing.T, rest []byte) {
				if got := split(t, rest); got[1] != "outhello" || got[2] != "err" {
					t.Errorf("came out: %q", got)
				}
			}, `run ` + taskOne + ` ["cat"] tty=false   []`},
		{"with a terminal", `{"Cmd":["sh"],"AttachStdin":true,"Tty":true,"ConsoleSize":[24,80]}`, `{"Tty":true}`, "hello",
			func(t *testing.T, rest []byte) {
				if string(rest) != "outhello" {
					t.Errorf("came out: %q", rest)
				}
			}, `run ` + taskOne + ` ["sh"] tty=true   []`},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, h := start(t)
			id := makeExec(t, h, test.body)
			conn := dial(t, h)
			fmt.Fprintf(conn, "POST /v1.41/exec/%s/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s%s",
				id, len(test.start), test.start, test.input)
			if err := conn.CloseWrite(); err != nil { // there is no more input, and the answer is awaited all the same
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			answer, err := http.ReadResponse(in, nil)
			if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%+v, %v", answer, err)
			}
			rest, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			test.want(t, rest)
			if took := n.took(); !strings.HasPrefix(took, test.called) {
				t.Errorf("did %q, want %q", took, test.called)
			}
			// A client asks as soon as the connection has closed.
			if end := inspectExec(t, h, id); end.Running || end.ExitCode == nil || *end.ExitCode != 7 || end.ContainerID != containerID(taskOne) {
				t.Errorf("ended as %+v", end)
			}
			if status, answer := call(h, "POST", "/exec/"+id+"/start", "{}"); status != 409 || !strings.Contains(answer, "started before") {
				t.Errorf("started twice: %d %s", status, answer)
			}
			if status, answer := call(h, "POST", "/exec/"+id+"/resize?h=10&w=20", ""); status != 409 {
				t.Errorf("resized when it is over: %d %s", status, answer)
			}
		})
	}
}

func TestExecOfWhatIsMissing(t *testing.T) {
	_, h := start(t)
	id := makeExec(t, h, `{"Cmd":["missing"]}`)
	if status, answer := call(h, "POST", "/exec/"+id+"/start", "{}"); status != 422 || !strings.Contains(answer, "no such program") {
		t.Errorf("%d %s", status, answer)
	}
	if end := inspectExec(t, h, id); end.Running || end.ExitCode == nil || *end.ExitCode != 126 {
		t.Errorf("ended as %+v", end)
	}
	if status, answer := call(h, "POST", "/exec/"+makeExec(t, h, `{"Cmd":["ls"]}`)+"/start", `{"Detach":true}`); status != 501 {
		t.Errorf("detached: %d %s", status, answer)
	}
}

// Commands that nobody starts are bounded, and forgotten.
func TestExecsAreBounded(t *testing.T) {
	_, h := start(t)
	s := h.(*server)
	for range maxExecs {
		makeExec(t, h, `{"Cmd":["ls"]}`)
	}
	if status, answer := call(h, "POST", "/containers/"+containerID(taskOne)+"/exec", `{"Cmd":["ls"]}`); status != 409 || !strings.Contains(answer, "128 commands") {
		t.Fatalf("one more: %d %s", status, answer)
	}
	for _, x := range s.execs.all {
		x.since = x.since.Add(-2 * execExpiry)
	}
	makeExec(t, h, `{"Cmd":["ls"]}`)
	if len(s.execs.all) != 1 {
		t.Errorf("%d are remembered", len(s.execs.all))
	}
}

func TestLogs(t *testing.T) {
	_, h := start(t)
	details := "com.docker.swarm.node.id=" + swarmID(piOne) + ",com.docker.swarm.service.id=greeters,com.docker.swarm.task.id=" + taskOne + " "
	for path, want := range map[string]string{
		"/services/greeters/logs?stdout=1&stderr=1":                               "one\ntwo\n",
		"/services/" + greetersID + "/logs?stdout=1&details=1":                    details + "one\n" + details + "two\n",
		"/tasks/" + taskOne + "/logs?stdout=1&timestamps=1":                       "1970-01-01T00:00:00.500000000Z one\n1970-01-01T00:00:01.500000000Z two\n",
		"/containers/greeters.1." + taskOne + "/logs?stdout=1&tail=all&details=1": "one\ntwo\n",
		"/containers/" + containerID(taskOne) + "/logs?stdout=1&until=1":          "one\n",
	} {
		status, answer := callRaw(h, path)
		if got := split(t, answer); status != 200 || got[1] != want || got[3] != "" {
			t.Errorf("%s: %d %q, want %q", path, status, got, want)
		}
	}
}

func callRaw(h http.Handler, path string) (int, []byte) {
	w := &recorder{header: http.Header{}}
	r, _ := http.NewRequest("GET", path, nil) // the paths of a test are good
	h.ServeHTTP(w, r)
	return w.status, w.Bytes()
}

type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}
func (r *recorder) Flush() {}
