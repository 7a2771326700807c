package cluster

import (
	"reflect"
	"testing"
	"time"
)

func TestParseHealthHTTP(t *testing.T) {
	for in, want := range map[string]struct {
		path string
		port uint16
	}{
		"/healthz":       {"/healthz", 0},
		"/":              {"/", 0},
		":8080/healthz":  {"/healthz", 8080},
		":8080":          {"/", 8080},
		"/a?b=c%20d":     {"/a?b=c%20d", 0},
		":1/with/:colon": {"/with/:colon", 1},
	} {
		path, port, err := ParseHealthHTTP(in)
		if err != nil || path != want.path || port != want.port {
			t.Errorf("%q: %q, port %d, %v; want %q, port %d", in, path, port, err, want.path, want.port)
		}
	}
	for in, words := range map[string]string{
		"":                 "want a path such as /healthz",
		"healthz":          "want a path such as /healthz",
		"http://localhost": "want a path such as /healthz",
		"/a b":             "want a path such as /healthz",
		":0/healthz":       "is not a port from 1 to 65535",
		":x/healthz":       "is not a port from 1 to 65535",
	} {
		_, _, err := ParseHealthHTTP(in)
		checkError(t, err, words)
	}
}

func TestHealthOverImage(t *testing.T) {
	image := Health{Cmd: []string{"check"}, Interval: time.Second, Retries: 5}
	for _, c := range []struct {
		what       string
		spec, want Health
	}{
		{"nothing said", Health{}, image},
		{"another interval", Health{Interval: time.Minute}, Health{Cmd: []string{"check"}, Interval: time.Minute, Retries: 5}},
		{"another check", Health{TCP: true}, Health{TCP: true, Interval: time.Second, Retries: 5}},
		{"none wanted", Health{Disabled: true}, Health{Disabled: true}},
	} {
		if got := c.spec.Over(image); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
	if got := (Health{}).Over(Health{Disabled: true}); !got.Disabled {
		t.Errorf("an image that turns its base's check off: %+v", got)
	}
}

func TestHealthPort(t *testing.T) {
	s := Spec{Ports: []Port{{53, 53, UDP, PortIngress}, {9000, 5000, TCP, PortIngress}}}
	if got := s.HealthPort(); got != 5000 {
		t.Errorf("port %d, want that of the first TCP port's container side, 5000", got)
	}
	if s.Container.Health.Port = 8080; s.HealthPort() != 8080 {
		t.Errorf("port %d, want the one that is named, 8080", s.HealthPort())
	}
}

func TestRestartAgain(t *testing.T) {
	for condition, want := range map[RestartCondition][2]bool{ // after success, after failure
		"": {true, true}, RestartAny: {true, true}, RestartOnFailure: {false, true}, RestartNone: {false, false},
	} {
		r := RestartPolicy{Condition: condition}
		if got := [2]bool{r.Again(false), r.Again(true)}; got != want {
			t.Errorf("%q: runs again after success and failure %v, want %v", condition, got, want)
		}
	}
}
