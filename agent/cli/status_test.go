package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
)

// TestStatusOfWhoHasJustJoined: it is in a cluster, though it has not heard yet of which name and leader.
func TestStatusOfWhoHasJustJoined(t *testing.T) {
	var out bytes.Buffer
	writeStatus(&out, client.Status{Nodes: []client.NodeStatus{{Name: "pi1", State: "ready"}}}, nil, 80)
	got := out.String()
	if !strings.HasPrefix(got, "cluster without a name yet, leader none yet, ") || !strings.Contains(got, "pi1") || strings.Contains(got, "no cluster") {
		t.Errorf("got:\n%s", got)
	}
}
