// Package view reads the replicated state and the membership into the words of package cluster, for the loops
// and the API to decide and answer from. It changes nothing.
package view

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// View is what this node knows of the cluster at one moment. It is shared: readers change nothing in it.
type View struct {
	Self     string // ID of this node
	Leader   string // ID of the leader; empty while there is none
	Cluster  cluster.ClusterSettings
	Members  []cluster.Member            // every known node, in order of ID
	Services []cluster.Service           // in order of name
	Plans    map[string]cluster.Plan     // by name of the service
	Reports  map[string]cluster.Report   // by ID of the node; of a node that is not ready, its last one
	Settings map[string]cluster.Settings // by ID of the node
	Secrets  map[string]cluster.Secret   // by name; sealed
	Configs  map[string]cluster.Config   // by name
	Networks map[string]cluster.Network  // by name
	Removed  map[string]bool             // nodes that were removed for good, by ID: all else here is without them
	Versions map[string]state.Version    // of the records of services, plans and nodes, by key
}

// Reader makes views. It decodes a record once for each of its versions, not once a look, and reads nothing as long as
// nothing has changed: loops look every few seconds, and an idle cluster shall cost a Pi Zero next to nothing.
type Reader struct {
	self    string
	store   *state.Store
	members func() []cluster.Member
	log     *slog.Logger

	mu      sync.Mutex
	decoded map[string]decoded
	last    *View            // nil at first
	digest  state.Digest     // of the state that it was read from
	seen    []cluster.Member // with it
}

type decoded struct {
	version state.Version
	value   any
}

// NewReader returns a reader of the store and of what members returns.
func NewReader(store *state.Store, members func() []cluster.Member, log *slog.Logger) *Reader {
	return &Reader{self: store.Self(), store: store, members: members, log: log, decoded: map[string]decoded{}}
}

// View returns everything.
func (r *Reader) View() View {
	members := r.members()
	r.mu.Lock()
	defer r.mu.Unlock()
	digest := r.store.Digest() // before the records: what changes meanwhile makes the next view
	if r.last == nil || digest != r.digest || !slices.Equal(members, r.seen) {
		v := r.read(members)
		r.last, r.digest, r.seen = &v, digest, slices.Clone(members)
	}
	return *r.last
}

// read makes a view of the present state and these members.
func (r *Reader) read(members []cluster.Member) View {
	v := View{
		Self:     r.self,
		Plans:    map[string]cluster.Plan{},
		Reports:  map[string]cluster.Report{},
		Settings: map[string]cluster.Settings{},
		Secrets:  map[string]cluster.Secret{},
		Configs:  map[string]cluster.Config{},
		Networks: map[string]cluster.Network{},
		Removed:  map[string]bool{},
		Versions: map[string]state.Version{},
	}
	fresh := make(map[string]decoded, len(r.decoded))
	for _, record := range r.store.List("") {
		value := r.decode(record)
		fresh[record.Key] = decoded{record.Version, value}
		_, name := cluster.SplitKey(record.Key)
		switch value := value.(type) {
		case cluster.Service:
			v.Services = append(v.Services, value)
			v.Versions[record.Key] = record.Version
		case cluster.Plan:
			v.Plans[name] = value
			v.Versions[record.Key] = record.Version
		case cluster.Report:
			v.Reports[name] = value
		case cluster.Settings:
			v.Settings[name] = value
			v.Versions[record.Key] = record.Version
		case cluster.ClusterSettings:
			v.Cluster = value
		case cluster.Secret:
			v.Secrets[name] = value
		case cluster.Config:
			v.Configs[name] = value
		case cluster.Network:
			v.Networks[name] = value
		case cluster.Removed:
			v.Removed[name] = true
		}
	}
	r.decoded = fresh
	for id := range v.Removed {
		delete(v.Settings, id)
		delete(v.Reports, id)
		delete(v.Versions, cluster.NodeKey(id))
	}
	members = slices.DeleteFunc(slices.Clone(members), func(m cluster.Member) bool { return v.Removed[m.ID] })
	v.Members = withKnown(members, v)
	v.Leader = cluster.Leader(members, v.Settings)
	return v
}

// decode returns the record's value in the type of its kind, or nil for one that cannot be read.
func (r *Reader) decode(record state.Record) any {
	if d, ok := r.decoded[record.Key]; ok && d.version == record.Version {
		return d.value
	}
	kind, name := cluster.SplitKey(record.Key)
	var value any
	var err error
	switch kind {
	case cluster.KindService:
		value, err = as[cluster.Service](record.Value)
		if s, ok := value.(cluster.Service); err == nil && ok && s.Spec.Name != name {
			err = errName
		}
	case cluster.KindSecret:
		value, err = as[cluster.Secret](record.Value)
	case cluster.KindConfig:
		value, err = as[cluster.Config](record.Value)
	case cluster.KindNetwork:
		value, err = as[cluster.Network](record.Value)
	case cluster.KindPlan:
		value, err = as[cluster.Plan](record.Value)
	case cluster.KindReport:
		value, err = as[cluster.Report](record.Value)
	case cluster.KindNode:
		value, err = as[cluster.Settings](record.Value)
	case cluster.KindRemoved:
		value, err = as[cluster.Removed](record.Value)
	case cluster.KindCluster:
		value, err = as[cluster.ClusterSettings](record.Value)
	}
	if err != nil {
		r.log.Warn("a record cannot be read and is passed over", "key", record.Key, "version", record.Version, "error", err)
		return nil
	}
	return value
}

func as[T any](raw []byte) (T, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}

type constantError string

func (e constantError) Error() string { return string(e) }

const errName = constantError("the service has another name than its key")

// withKnown adds to the members those nodes that only the state knows: they have been off since this agent
// started. A node that left the gossip while the state still knows it was merely shut down: it is expected back, and
// only one that was removed from the cluster has left.
func withKnown(members []cluster.Member, v View) []cluster.Member {
	all := slices.Clone(members)
	for i, m := range all {
		settings, known := v.Settings[m.ID]
		if m.Name == "" {
			all[i].Name = settings.Name
		}
		if m.Condition == cluster.Left && known {
			all[i].Condition = cluster.Down
		}
	}
	for id, settings := range v.Settings {
		if !slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == id }) {
			all = append(all, cluster.Member{ID: id, Name: settings.Name, Condition: cluster.Down})
		}
	}
	slices.SortFunc(all, func(a, b cluster.Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Member returns the member of that ID.
func (v View) Member(id string) (cluster.Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// Ready tells whether that node is ready.
func (v View) Ready(id string) bool {
	m, ok := v.Member(id)
	return ok && m.Condition == cluster.Ready
}

// Service returns the service of that name.
func (v View) Service(name string) (cluster.Service, bool) {
	i, ok := slices.BinarySearchFunc(v.Services, name, func(s cluster.Service, name string) int {
		return strings.Compare(s.Spec.Name, name)
	})
	if !ok {
		return cluster.Service{}, false
	}
	return v.Services[i], true
}

// Plan returns the tasks planned for the service, none while the leader has not answered to it.
func (v View) Plan(s cluster.Service) []cluster.Task {
	if p, ok := v.Plans[s.Spec.Name]; ok && p.ServiceID == s.ID {
		return p.Tasks
	}
	return nil
}

// Status returns what a ready node says about the task of that ID.
func (v View) Status(node, task string) (cluster.TaskStatus, bool) {
	if !v.Ready(node) {
		return cluster.TaskStatus{}, false
	}
	for _, s := range v.Reports[node].Tasks {
		if s.ID == task {
			return s, true
		}
	}
	return cluster.TaskStatus{}, false
}

// FileID returns the ID of the secret or config of that name, whichever kind says.
func (v View) FileID(kind, name string) (string, bool) {
	if kind == cluster.KindSecret {
		s, ok := v.Secrets[name]
		return s.ID, ok
	}
	c, ok := v.Configs[name]
	return c.ID, ok
}

// SettingsOf returns what the user set for a node, or what holds as long as nothing was.
func (v View) SettingsOf(id string) cluster.Settings {
	s := v.Settings[id]
	s.Availability = cmp.Or(s.Availability, cluster.Active)
	s.Role = cmp.Or(s.Role, cluster.Manager)
	return s
}
