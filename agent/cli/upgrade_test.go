package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// upgradable are nodes that take any package, and are then what fate says.
type upgradable struct {
	mu    sync.Mutex
	nodes []client.Node
	has   map[string]client.Upgrade
	fate  map[string]client.UpgradeProgress // done unless named
	took  []string                          // nodes, in order
}

// serve answers as the agent of node pi1.
func (u *upgradable) serve(t *testing.T) *fakeAgent {
	t.Helper()
	dir, err := os.MkdirTemp("", "piswarm") // t.TempDir can be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(u.answer))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return &fakeAgent{host: "unix://" + listener.Addr().String()}
}

func (u *upgradable) answer(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	say := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/nodes/"), "/")
	switch {
	case r.URL.Path == "/v1/version":
		say(client.Version{Version: "1", NodeID: "n1", ClusterID: "c"})
	case r.URL.Path == "/v1/nodes":
		var all []client.NodeStatus
		for _, n := range u.nodes {
			all = append(all, n.NodeStatus)
		}
		say(all)
	case rest == "" && r.Method == "GET":
		i := slices.IndexFunc(u.nodes, func(n client.Node) bool { return n.ID == id })
		u.nodes[i].Description.Version = u.has[id].Version
		say(u.nodes[i])
	case r.Method == "GET":
		say(u.has[id])
	default:
		raw, _ := io.ReadAll(r.Body)
		sum := sha256.Sum256(raw)
		now := u.has[id]
		now.Last = client.UpgradeState{State: client.UpgradeDone, SHA256: hex.EncodeToString(sum[:]), Version: "2"}
		if u.fate[id] == client.UpgradeFailed {
			now.Last.State, now.Last.Version, now.Last.Error = client.UpgradeFailed, "1", "the agent does not answer"
		} else {
			now.Version, now.Installed = "2", "2"
		}
		u.has[id], u.took = now, append(u.took, id+" "+r.URL.Query().Get("kind")+" "+string(raw))
		say(client.Written{})
	}
}

func newUpgradable() *upgradable {
	u := &upgradable{has: map[string]client.Upgrade{}, fate: map[string]client.UpgradeProgress{}}
	for _, n := range []struct{ id, name, arch string }{{"n1", "pi1", "armhf"}, {"n2", "pi2", "arm64"}, {"n3", "pi3", "armhf"}} {
		u.nodes = append(u.nodes, client.Node{NodeStatus: client.NodeStatus{ID: n.id, Name: n.name, State: cluster.Ready}})
		u.has[n.id] = client.Upgrade{Kind: client.UpgradePackage, Platform: n.arch, Installed: "1", Version: "1"}
	}
	return u
}

// packages makes a directory with files of these names; each holds its own name.
func packages(t *testing.T, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestUpgrade: the node that is asked is the last, each gets what is for it, and nobody anything after one that failed.
func TestUpgrade(t *testing.T) {
	all := []string{"piswarm_2_armhf.deb", "piswarm_2_arm64.deb", "piswarm-linux-arm64", "SHA256SUMS"}
	for name, c := range map[string]struct {
		change func(u *upgradable)
		files  []string
		took   []string
		code   int
		says   []string
	}{
		"all": {
			files: all, took: []string{"n2 deb piswarm_2_arm64.deb", "n3 deb piswarm_2_armhf.deb", "n1 deb piswarm_2_armhf.deb"},
			says: []string{"pi2: upgraded from 1 to 2", "pi1: upgraded from 1 to 2"},
		},
		"one has it": {
			change: func(u *upgradable) {
				u.has["n3"] = client.Upgrade{Kind: "deb", Platform: "armhf", Installed: "2", Version: "2"}
			},
			files: all, took: []string{"n2 deb piswarm_2_arm64.deb", "n1 deb piswarm_2_armhf.deb"}, says: []string{"pi3: has it already"},
		},
		"one fails": {
			change: func(u *upgradable) { u.fate["n2"] = client.UpgradeFailed },
			files:  all, took: []string{"n2 deb piswarm_2_arm64.deb"}, code: 2,
			says: []string{"pi2: it is back at 1, because: the agent does not answer", "not touched: pi3, pi1"},
		},
		"one is off": {
			change: func(u *upgradable) { u.nodes[1].State = cluster.Down },
			files:  all, took: []string{"n3 deb piswarm_2_armhf.deb", "n1 deb piswarm_2_armhf.deb"}, code: 2, says: []string{"left out: pi2"},
		},
		"nothing for one": {files: all[:1], code: 1, says: []string{"there is nothing for pi2: it needs piswarm_VERSION_arm64.deb"}},
		"a program": {
			change: func(u *upgradable) {
				u.has["n2"] = client.Upgrade{Kind: "program", Platform: "linux-arm64", Version: "1"}
			},
			files: all, took: []string{"n2 program piswarm-linux-arm64", "n3 deb piswarm_2_armhf.deb", "n1 deb piswarm_2_armhf.deb"},
		},
		"two for one": {files: append([]string{"piswarm_1_armhf.deb"}, all...), code: 1, says: []string{"are for the same nodes: leave one"}},
		"nothing":     {files: all[3:], code: 1, says: []string{"there is no piswarm_VERSION_ARCHITECTURE.deb"}},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpgradable()
			if c.change != nil {
				c.change(u)
			}
			r := run(t, u.serve(t), "", "upgrade", "--from", packages(t, c.files...))
			if r.code != c.code || !slices.Equal(u.took, c.took) {
				t.Errorf("exit %d, want %d; taken %q, want %q\n%s%s", r.code, c.code, u.took, c.took, r.stdout, r.stderr)
			}
			for _, want := range c.says {
				if !strings.Contains(r.stdout+r.stderr, want) {
					t.Errorf("it says %q, without %q", r.stdout+r.stderr, want)
				}
			}
		})
	}
}
