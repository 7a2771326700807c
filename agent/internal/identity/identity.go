// Package identity owns what a node remembers of itself: its ID, its place in the pod network, and which cluster
// it belongs to. It keeps them in two small files that change a handful of times in a node's life; the
// replicated state is not its business.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// Node is who this node is.
type Node struct {
	ID string `json:"id"`
	// Subnet is the index of this node's /24 within the pod network; 0 means none chosen yet.
	Subnet int `json:"subnet"`
}

// Membership is the cluster that this node belongs to.
type Membership struct {
	Keys trust.Keyring
	Name string // of the cluster
	Pool string // pod network that this node knows of
	// Former are public IDs that the cluster had under secrets of before, the latest last: a token in the configuration
	// that is one of those is no mistake.
	Former []string
}

// maxFormer bounds Former.
const maxFormer = 16

// With returns the membership with another keyring. A secret that it does not accept any more becomes a former one.
func (m Membership) With(k trust.Keyring) Membership {
	for _, s := range m.Keys.Secrets() {
		if id := s.ClusterID(); !k.Accepts(s) && !slices.Contains(m.Former, id) && !(m.Keys.Coming && s.Equal(m.Keys.Other)) {
			m.Former = append(slices.Clone(m.Former), id)
		}
	}
	m.Former = m.Former[max(0, len(m.Former)-maxFormer):]
	m.Keys = k
	return m
}

// Was tells whether a secret is the cluster's of before.
func (m Membership) Was(s trust.Secret) bool { return slices.Contains(m.Former, s.ClusterID()) }

// Dir is the directory that the files lie in, for example /var/lib/piswarm.
type Dir string

const (
	nodeFile    = "node.json"
	clusterFile = "cluster.json"
)

// Node reads the node's identity, making one at the first start.
func (d Dir) Node() (Node, error) {
	var n Node
	err := d.read(nodeFile, &n)
	switch {
	case err == nil && n.ID != "":
		return n, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Node{}, fmt.Errorf("%w: to start over as a new node, remove it", err)
	}
	return d.NewNode()
}

// NewNode gives the machine a new identity in place of the one on disk: to the cluster it is a node that it has
// not seen before.
func (d Dir) NewNode() (Node, error) {
	name, _ := hardware(boards)
	n := Node{ID: newID(name)}
	return n, d.SaveNode(n)
}

// Elsewhere tells whether this identity was made on other hardware: the card was copied, or moved to another Pi. Where
// the hardware does not say what it is, it is taken for the same.
func (n Node) Elsewhere() bool { return n.elsewhere(boards) }

func (n Node) elsewhere(root string) bool {
	name, sure := hardware(root)
	return sure && !strings.HasPrefix(n.ID, hardwareHalf(name))
}

// SaveNode keeps the node's identity.
func (d Dir) SaveNode(n Node) error { return d.write(nodeFile, n) }

// clusterJSON is Membership on disk: the only place where the secret is written.
type clusterJSON struct {
	Token string `json:"token"`
	// Other is the token that the cluster is moving to or from, if it is moving.
	Other  string   `json:"other,omitempty"`
	Coming bool     `json:"coming,omitempty"`
	Former []string `json:"former,omitempty"`
	Name   string   `json:"name"`
	Pool   string   `json:"pool"`
}

// Membership reads the cluster that this node belongs to; false means none.
func (d Dir) Membership() (Membership, bool, error) {
	var c clusterJSON
	if err := d.read(clusterFile, &c); errors.Is(err, fs.ErrNotExist) {
		return Membership{}, false, nil
	} else if err != nil {
		return Membership{}, false, err
	}
	m := Membership{Name: c.Name, Pool: c.Pool, Former: c.Former}
	var err error
	if m.Keys.Primary, err = trust.ParseToken(c.Token); err == nil && c.Other != "" {
		m.Keys.Other, err = trust.ParseToken(c.Other)
		m.Keys.Coming = c.Coming
	}
	if err != nil {
		return Membership{}, false, fmt.Errorf("read %s: %w", d.path(clusterFile), err)
	}
	return m, true, nil
}

// SaveMembership keeps the cluster that this node belongs to.
func (d Dir) SaveMembership(m Membership) error {
	c := clusterJSON{Token: m.Keys.Primary.Token(), Name: m.Name, Pool: m.Pool, Former: m.Former}
	if m.Keys.Moving() {
		c.Other, c.Coming = m.Keys.Other.Token(), m.Keys.Coming
	}
	return d.write(clusterFile, c)
}

// ForgetMembership makes this node one of no cluster.
func (d Dir) ForgetMembership() error {
	if err := os.Remove(d.path(clusterFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

func (d Dir) read(name string, into any) error {
	raw, err := os.ReadFile(d.path(name))
	if err != nil {
		return fmt.Errorf("read %s: %w", d.path(name), err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read %s: %w", d.path(name), err)
	}
	return nil
}

// write replaces the file as a whole and is on the card when it returns.
func (d Dir) write(name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	if err := renameio.WriteFile(d.path(name), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	return nil
}

// newID makes a node ID of 16 hexadecimal digits. The first half comes from the hardware, so that a card that
// is cloned after its first boot can be told from its original; the second half is random, so that two machines
// that give the same answer about themselves are still two nodes.
func newID(hardware string) string {
	var random [4]byte
	rand.Read(random[:])
	return hardwareHalf(hardware) + hex.EncodeToString(random[:])
}

func hardwareHalf(hardware string) string {
	sum := sha256.Sum256([]byte("piswarm node " + hardware))
	return hex.EncodeToString(sum[:4])
}

// boards is the root of the machine's own files.
const boards = "/"

// hardware names the machine: the Pi's serial number, else the machine ID, else nothing. It is not sure of it where
// there is a serial number that cannot be read just now.
func hardware(root string) (name string, sure bool) {
	if text, err := line(filepath.Join(root, "sys/firmware/devicetree/base/serial-number")); err == nil && text != "" {
		return text, true
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	text, err := line(filepath.Join(root, "etc/machine-id"))
	return text, err == nil && text != ""
}

func line(path string) (string, error) {
	raw, err := os.ReadFile(path)
	return strings.Trim(string(raw), "\x00\n "), err
}
