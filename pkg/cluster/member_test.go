package cluster

import "testing"

func TestLeader(t *testing.T) {
	members := []Member{{ID: "c", Condition: Ready}, {ID: "a", Condition: Down}, {ID: "b", Condition: Ready}, {ID: "0", Condition: Left}}
	for _, c := range []struct {
		name     string
		members  []Member
		settings map[string]Settings
		want     string
	}{
		{"smallest ID of those that are ready", members, nil, "b"},
		{"a worker never leads", members, map[string]Settings{"b": {Role: Worker}, "c": {Role: Manager}}, "c"},
		{"a drained node may lead", members, map[string]Settings{"b": {Role: Manager, Availability: Drain}}, "b"},
		{"only workers", members, map[string]Settings{"b": {Role: Worker}, "c": {Role: Worker}}, ""},
		{"nobody", nil, nil, ""},
	} {
		if got := Leader(c.members, c.settings); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTaskStatusReady(t *testing.T) {
	for _, c := range []struct {
		TaskStatus
		want bool
	}{
		{TaskStatus{State: Running, Address: "10.77.3.2"}, true},
		{TaskStatus{State: Running}, false},
		{TaskStatus{State: Unhealthy, Address: "10.77.3.2"}, false},
		{TaskStatus{State: Stopping, Address: "10.77.3.2"}, false},
	} {
		if got := c.Ready(); got != c.want {
			t.Errorf("%+v: %v", c.TaskStatus, got)
		}
	}
}

func TestMinority(t *testing.T) {
	known := map[string]Settings{"a": {}, "b": {}, "c": {}, "d": {}}
	for _, c := range []struct {
		name    string
		members []Member
		want    bool
	}{
		{"all", []Member{{ID: "a", Condition: Ready}, {ID: "b", Condition: Ready}, {ID: "c", Condition: Ready}, {ID: "d", Condition: Ready}}, false},
		{"half is no minority", []Member{{ID: "a", Condition: Ready}, {ID: "b", Condition: Ready}, {ID: "c", Condition: Down}}, false},
		{"less than half", []Member{{ID: "a", Condition: Ready}, {ID: "b", Condition: Down}}, true},
		{"a stranger does not count", []Member{{ID: "a", Condition: Ready}, {ID: "x", Condition: Ready}}, true},
	} {
		if got := Minority(c.members, known); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if Minority(nil, nil) {
		t.Error("where nobody is known, nobody is in the minority")
	}
}
