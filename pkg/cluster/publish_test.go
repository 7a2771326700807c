package cluster

import (
	"slices"
	"testing"
)

func TestParsePort(t *testing.T) {
	for in, want := range map[string][]Port{
		"9000:5000":                  {{9000, 5000, TCP, PortIngress}},
		"9000:5000/tcp":              {{9000, 5000, TCP, PortIngress}},
		"53:5353/UDP":                {{53, 5353, UDP, PortIngress}},
		"9000-9001:5000-5001":        {{9000, 5000, TCP, PortIngress}, {9001, 5001, TCP, PortIngress}},
		"9000-9000:1-1/udp":          {{9000, 1, UDP, PortIngress}},
		"65535:65535":                {{65535, 65535, TCP, PortIngress}},
		"published=9000,target=5000": {{9000, 5000, TCP, PortIngress}},
		"target=5000, published=9000,Protocol=udp,mode=host":   {{9000, 5000, UDP, PortHost}},
		"published=9000-9001,target=5000-5001,mode=ingress":    {{9000, 5000, TCP, PortIngress}, {9001, 5001, TCP, PortIngress}},
		"published=9000,target=5000,protocol=tcp,mode=Ingress": {{9000, 5000, TCP, PortIngress}},
	} {
		got, err := ParsePort(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestParsePortLongestRange(t *testing.T) {
	ports, err := ParsePort("1000-1255:2000-2255")
	if err != nil || len(ports) != 256 || ports[255] != (Port{1255, 2255, TCP, PortIngress}) {
		t.Errorf("%d ports, %v", len(ports), err)
	}
	_, err = ParsePort("1000-1256:2000-2256")
	checkError(t, err, "a range of 257 ports is too long")
}

func TestParsePortRefuses(t *testing.T) {
	for in, words := range map[string]string{
		"":                                       `"" is not a port`,
		"5000":                                   "for example 9000:5000",
		"5000/udp":                               "name the port to publish",
		":5000":                                  `"" is not a port`,
		"9000:":                                  `"" is not a port`,
		"x:5000":                                 `"x" is not a port`,
		"0:5000":                                 `"0" is not a port`,
		"9000:0":                                 `"0" is not a port`,
		"65536:1":                                `"65536" is not a port`,
		"-1:1":                                   `"" is not a port`,
		"+80:80":                                 `"+80" is not a port`,
		" 80:80":                                 `" 80" is not a port`,
		"9000:5000/sctp":                         "want tcp or udp",
		"9000:5000/":                             "want tcp or udp",
		"9000:5000/tcp/udp":                      "want tcp or udp",
		"9003-9000:5000-5003":                    "runs backwards",
		"9000-9003:5000-5001":                    "differ in length (4 and 2)",
		"9000-9003:5000":                         "differ in length (4 and 1)",
		"1-65535:1-65535":                        "at most 256",
		"127.0.0.1:9000:5000":                    "leave out the address, for example 9000:5000",
		"[::1]:9000:5000":                        "leave out the address",
		"::1:9000:5000":                          "leave out the address",
		"host:9000:5000":                         `"host:9000" is not a port`,
		"published=9000":                         "target is missing",
		"target=5000":                            "name the port to publish as well, for example published=9000,target=5000",
		"published=9000,target=5000,target=1":    "target is given twice",
		"published=9000,target=":                 "target has no value",
		"published=9000,target=5000,":            `unknown key ""`,
		"published=9000,target=5000,mode=global": "unknown mode",
		"published=9000,target=5000,name=x":      `unknown key "name"`,
		"=":                                      `unknown key ""`,
	} {
		ports, err := ParsePort(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
		if ports != nil {
			t.Errorf("%s: ports beside the error: %v", in, ports)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add("9000-9003:5000-5003/udp")
	f.Add("published=9000,target=5000,protocol=tcp,mode=host")
	f.Add("[::1]:80:80")
	f.Add("::::\n")
	f.Add("target=\n")
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePort(s)
		if err != nil {
			checkError(t, err, "bad published port")
			return
		}
		if len(ports) == 0 || len(ports) > maxPorts {
			t.Fatalf("%q gives %d ports", s, len(ports))
		}
		for _, p := range ports {
			if again, err := ParsePort(p.String()); err != nil || len(again) != 1 || again[0] != p {
				t.Errorf("%q gives %s, which gives %v, %v", s, p, again, err)
			}
		}
	})
}

func TestPortConflict(t *testing.T) {
	web := Spec{Name: "web", Ports: []Port{{80, 8080, TCP, PortIngress}, {9000, 5000, TCP, PortIngress}}}
	existing := []Service{{Spec: web}, {Spec: Spec{Name: "dns", Ports: []Port{{53, 53, UDP, PortIngress}}}}}
	for _, c := range []struct {
		name  string
		port  Port
		words string
	}{
		{"api", Port{9000, 1, TCP, PortIngress}, "port 9000/tcp is already published by service web"},
		{"api", Port{53, 1, UDP, PortIngress}, "port 53/udp is already published by service dns"},
		{"api", Port{53, 1, TCP, PortIngress}, ""},
		{"api", Port{5000, 9000, TCP, PortIngress}, ""},
		{"web", Port{9000, 1, TCP, PortIngress}, ""},
		{"web", Port{53, 1, UDP, PortIngress}, "by service dns"},
	} {
		err := PortConflict(Spec{Name: c.name, Ports: []Port{{1, 1, TCP, PortIngress}, c.port}}, existing)
		if c.words != "" {
			checkError(t, err, c.words)
		} else if err != nil {
			t.Errorf("%s %s: %v", c.name, c.port, err)
		}
	}
}
