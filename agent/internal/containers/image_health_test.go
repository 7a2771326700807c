package containers

import (
	"reflect"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestHealthOf(t *testing.T) {
	for config, want := range map[string]cluster.Health{
		`{}`:            {},
		`{"config":{}}`: {},
		`{"config":{"Healthcheck":{"Test":["NONE"]}}}`:                          {Disabled: true},
		`{"config":{"Healthcheck":{"Test":["CMD","/check","-v"],"Retries":5}}}`: {Cmd: []string{"/check", "-v"}, Retries: 5},
		`{"config":{"Healthcheck":{"Test":["CMD-SHELL","curl -f x || exit 1"]}}}`: {
			Cmd: []string{"/bin/sh", "-c", "curl -f x || exit 1"}},
		`{"config":{"Shell":["/bin/bash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","true"]}}}`: {
			Cmd: []string{"/bin/bash", "-ec", "true"}},
		`{"config":{"Healthcheck":{"Interval":1000000000,"Timeout":2000000000,"StartPeriod":3000000000,"StartInterval":4000000000}}}`: {
			Interval: time.Second, Timeout: 2 * time.Second, StartPeriod: 3 * time.Second, StartInterval: 4 * time.Second},
		// docker would refuse these; a check without a pause would be all that the node does.
		`{"config":{"Healthcheck":{"Test":["CMD","x"],"Interval":1,"Timeout":-1,"Retries":-1}}}`: {Cmd: []string{"x"}},
	} {
		if got, err := healthOf([]byte(config)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", config, got, err, want)
		}
	}
	for _, config := range []string{``, `{"config":{"Healthcheck":{"Test":["ASK","x"]}}}`} {
		if got, err := healthOf([]byte(config)); err == nil {
			t.Errorf("%s: %+v, want an error", config, got)
		}
	}
}
