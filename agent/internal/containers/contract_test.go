package containers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/containers/containerstest"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestRuntimeKeepsContract(t *testing.T) {
	containerstest.Run(t, func(t *testing.T) containerstest.Subject {
		n, other := newNode(t), newNode(t)
		server := httptest.NewServer(other.BlobHandler())
		t.Cleanup(server.Close)
		peers := []containers.Peer{{Name: "other", BaseURL: server.URL, Client: http.DefaultClient}}
		return containerstest.Subject{
			Runtime: n,
			Up:      func(id string) bool { return strings.Contains(n.log(id), "up\n") },
			Digest:  n.load("program", "here"),
			Health:  cluster.Health{Cmd: []string{"/program", "exit", "0"}, Interval: 7 * time.Second, Retries: 2},
			Offered: containers.PullRequest{Ref: "offered", Digest: other.load("offered", "offered"), Sources: peers},
			Nowhere: containers.PullRequest{Ref: "nowhere", Digest: "sha256:" + strings.Repeat("0", 64), Sources: peers},
		}
	})
}
