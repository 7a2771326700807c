package cluster

import "strings"

// Kinds of records, each the first part of a key of the replicated state.
const (
	KindService = "service" // service/<name>, written by any node for the user
	KindNode    = "node"    // node/<id>, written by any node for the user
	KindPlan    = "plan"    // plan/<service name>, written by the leader
	KindCluster = "cluster" // cluster/settings, written by init
	KindSecret  = "secret"  // secret/<name>, written by any node for the user
	KindConfig  = "config"  // config/<name>, written by any node for the user
	KindNetwork = "network" // network/<name>, written by any node for the user
	KindRemoved = "removed" // removed/<id>, written by any node for the user
	KindReport  = "report"  // report/<id>, written by that node alone, never on disk
)

// ServiceKey is the key of the service of that name.
func ServiceKey(name string) string { return KindService + "/" + name }

// NodeKey is the key of a node's settings.
func NodeKey(id string) string { return KindNode + "/" + id }

// PlanKey is the key of the plan of the service of that name.
func PlanKey(service string) string { return KindPlan + "/" + service }

// SecretKey is the key of the secret of that name.
func SecretKey(name string) string { return KindSecret + "/" + name }

// ConfigKey is the key of the config of that name.
func ConfigKey(name string) string { return KindConfig + "/" + name }

// NetworkKey is the key of the network of that name.
func NetworkKey(name string) string { return KindNetwork + "/" + name }

// ReportKey is the key of a node's report.
func ReportKey(id string) string { return KindReport + "/" + id }

// RemovedKey is the key of the record that says that a node was removed from the cluster.
func RemovedKey(id string) string { return KindRemoved + "/" + id }

// SplitKey returns the two parts of a key. Both are empty for a key of another form.
func SplitKey(key string) (kind, name string) {
	kind, name, ok := strings.Cut(key, "/")
	if !ok || kind == "" || name == "" {
		return "", ""
	}
	return kind, name
}

// Persistent tells whether the record of that key is kept on disk. Reports are not: they change often, and a
// node that starts makes a new one.
func Persistent(key string) bool {
	kind, _ := SplitKey(key)
	return kind != KindReport
}

// SettingsKey is the key of the one record that says what holds for the whole cluster.
const SettingsKey = KindCluster + "/settings"
