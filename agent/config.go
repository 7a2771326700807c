package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// Paths are where the agent keeps its things.
type Paths struct {
	Config string // piswarm.toml
	Data   string // on disk, kept
	Run    string // on tmpfs: the socket, task output, network namespaces
}

// DefaultPaths are those that the packages install for.
var DefaultPaths = Paths{Config: "/etc/piswarm/piswarm.toml", Data: "/var/lib/piswarm", Run: "/run/piswarm"}

// Config is what the user may set for a node, in piswarm.toml or on the command line.
type Config struct {
	// Token makes the node a member of that cluster at its first start. The SD image carries it.
	Token string `toml:"token"`
	// Cluster is the name of a cluster that is made from Token; an existing one has its own.
	Cluster string `toml:"cluster"`
	// Advertise is the LAN address or interface to use where there are several.
	Advertise string `toml:"advertise"`
	// VIP is an address of the LAN that the leader has besides its own.
	VIP netip.Addr `toml:"vip"`
	// Labels are this node's at its first start.
	Labels map[string]string `toml:"labels"`
	// Dashboard says who may look at this node's page without signing in: DashboardView, or, empty, nobody.
	Dashboard string `toml:"dashboard"`
}

// DashboardView lets everyone look who reaches the node.
const DashboardView = "view"

// LoadConfig reads piswarm.toml. A file that is not there is one with nothing in it.
func LoadConfig(path string) (Config, error) {
	var c Config
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	decoder := toml.NewDecoder(f).DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", path, explain(err))
	}
	if c.Token != "" {
		if _, err := trust.ParseToken(c.Token); err != nil {
			return c, fmt.Errorf("%s: token: %w", path, err)
		}
	}
	if c.Cluster != "" {
		if err := cluster.ValidateNodeName(c.Cluster); err != nil {
			return c, fmt.Errorf("%s: cluster: bad name %q: want letters, digits, -, _ and dots, for example home", path, c.Cluster)
		}
	}
	if c.VIP.IsValid() {
		if err := CheckVIP(c.VIP); err != nil {
			return c, fmt.Errorf("%s: vip: %w", path, err)
		}
	}
	if c.Dashboard != "" && c.Dashboard != DashboardView {
		return c, fmt.Errorf("%s: dashboard: bad value %q: want %q, to let everyone on the network look at the page, or no such line", path, c.Dashboard, DashboardView)
	}
	if err := cluster.ValidateLabels(c.Labels); err != nil {
		return c, fmt.Errorf("%s: labels: %w", path, err)
	}
	return c, nil
}

// CheckVIP tells whether an address can be the floating one of a cluster.
func CheckVIP(a netip.Addr) error {
	if !a.Is4() || !a.IsGlobalUnicast() {
		return fmt.Errorf("%s is no address that a node of a LAN can have: want an IPv4 address, for example 192.168.1.250", a)
	}
	return nil
}

// explain makes one line of what the TOML decoder says, with the place. It never quotes a value: that may be the
// token.
func explain(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		row, _ := first.Position()
		return fmt.Errorf("line %d: there is no setting %s: want token, cluster, advertise, vip, labels or dashboard", row, strings.Join(first.Key(), "."))
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, column := bad.Position()
		return fmt.Errorf("line %d, column %d: %s", row, column, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return err
}
