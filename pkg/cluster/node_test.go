package cluster

import "testing"

func TestPlatformRuns(t *testing.T) {
	zero, two, four, pc := Platform{"linux", "arm", "v6"}, Platform{"linux", "arm", "v7"}, Platform{"linux", "arm64", "v8"}, Platform{"linux", "amd64", ""}
	for _, c := range []struct {
		image Platform
		on    map[Platform]bool
	}{
		{Platform{"linux", "arm", "v5"}, map[Platform]bool{zero: true, two: true, four: true, pc: false}},
		{Platform{"linux", "arm", "v6"}, map[Platform]bool{zero: true, two: true, four: true, pc: false}},
		{Platform{"linux", "arm", "v7"}, map[Platform]bool{zero: false, two: true, four: true, pc: false}},
		{Platform{"linux", "arm", ""}, map[Platform]bool{zero: false, two: true, four: true, pc: false}},
		{Platform{"linux", "arm64", ""}, map[Platform]bool{zero: false, two: false, four: true, pc: false}},
		{Platform{"linux", "arm64", "v8"}, map[Platform]bool{zero: false, two: false, four: true, pc: false}},
		{Platform{"linux", "amd64", ""}, map[Platform]bool{zero: false, two: false, four: false, pc: true}},
		{Platform{"windows", "amd64", ""}, map[Platform]bool{pc: false}},
		{Platform{"unknown", "unknown", ""}, map[Platform]bool{zero: false, four: false, pc: false}},
	} {
		for node, want := range c.on {
			if got := node.Runs(c.image); got != want {
				t.Errorf("%s on %s: %v, want %v", c.image, node, got, want)
			}
		}
	}
}

func TestPlatformString(t *testing.T) {
	if s := (Platform{"linux", "arm", "v6"}).String(); s != "linux/arm/v6" {
		t.Error(s)
	}
	if s := (Platform{OS: "linux", Arch: "amd64"}).String(); s != "linux/amd64" {
		t.Error(s)
	}
}

func TestKeys(t *testing.T) {
	for key, want := range map[string][2]string{
		ServiceKey("web"): {KindService, "web"},
		NodeKey("1f"):     {KindNode, "1f"},
		PlanKey("web"):    {KindPlan, "web"},
		ReportKey("1f"):   {KindReport, "1f"},
		"":                {"", ""},
		"service":         {"", ""},
		"service/":        {"", ""},
		"/web":            {"", ""},
	} {
		if kind, name := SplitKey(key); kind != want[0] || name != want[1] {
			t.Errorf("%q: %q, %q; want %q", key, kind, name, want)
		}
	}
	if Persistent(ReportKey("1f")) || !Persistent(PlanKey("web")) || !Persistent(ServiceKey("web")) || !Persistent(NodeKey("1f")) {
		t.Error("reports, and only reports, stay off the disk")
	}
}
