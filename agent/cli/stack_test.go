package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/cli/compose"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// addStacks answers for what stacks are made of besides services.
func (f *fakeAgent) addStacks(read func(pattern string, get func(r *http.Request) (any, error))) {
	read("GET /v1/networks", func(*http.Request) (any, error) { return f.networks, nil })
	for _, pattern := range []string{"POST /v1/networks", "DELETE /v1/networks/{name}", "PUT /v1/secrets/{name}", "PUT /v1/configs/{name}"} {
		read(pattern, func(*http.Request) (any, error) { return f.written, nil })
	}
}

const twoServices = `
services:
  web: {image: nginx, ports: ["8080:80"], secrets: [pw], configs: [motd]}
  db: {image: db, depends_on: [web]}
secrets: {pw: {environment: PW}}
configs: {motd: {content: hi}}
`

// ofStack is a service of the stack shop.
func ofStack(name string) client.Service {
	return client.Service{Version: "7", Service: cluster.Service{ID: name + "-id", Spec: cluster.Spec{
		Name: name, Mode: cluster.Replicated, Force: 3, Labels: map[string]string{compose.NamespaceLabel: "shop"},
	}}, Status: client.ServiceStatus{ID: name + "-id", Name: name, Mode: cluster.Replicated}}
}

func brief(requests []string) string {
	for i, r := range requests {
		words := strings.SplitN(r, " ", 3)
		requests[i] = words[0] + " " + words[1]
		if _, rest, ok := strings.Cut(r, `"name":"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			requests[i] += " " + name
		}
	}
	return strings.Join(requests, "\n")
}

func TestStackDeploy(t *testing.T) {
	t.Setenv("PW", "s3cret")
	f := newFakeAgent(t)
	f.services = []client.Service{ofStack("shop_web"), ofStack("shop_old"), {Service: cluster.Service{Spec: cluster.Spec{Name: "other"}}}}
	out, errs, code := f.runWith(t, twoServices, "stack deploy -d --prune -c - shop")
	if code != 0 || out != "created network shop_default\ncreated secret shop_pw\ncreated config shop_motd\ncreated service shop_db\nupdated service shop_web\nremoved service shop_old\n" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if !strings.HasPrefix(errs, "warning: services.db.depends_on has no effect: ") || strings.Count(errs, "\n") != 1 {
		t.Errorf("warnings %q", errs)
	}
	want := `POST /v1/networks shop_default
POST /v1/secrets shop_pw
POST /v1/configs shop_motd
POST /v1/services shop_db
PUT /v1/services/shop_web shop_web
DELETE /v1/services/shop_old`
	whole := strings.Join(f.writes(), "\n")
	if got := brief(f.writes()); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, part := range []string{`"force":3`, `"version":"7"`, `"data":"czNjcmV0"`, `"com.docker.stack.namespace":"shop"`} {
		if !strings.Contains(whole, part) {
			t.Errorf("no %s in %s", part, whole)
		}
	}
}

// TestStackDeployChangesNothing where something speaks against it.
func TestStackDeployChangesNothing(t *testing.T) {
	t.Setenv("PW", "s3cret")
	port := ofStack("blog")
	port.Spec.Labels, port.Spec.Ports = nil, []cluster.Port{{Published: 8080, Protocol: cluster.TCP, Mode: cluster.PortIngress}}
	strange := ofStack("shop_web")
	strange.Spec.Labels = nil
	global := ofStack("shop_web")
	global.Spec.Mode = cluster.Global
	for want, test := range map[string]struct {
		text string
		with func(*fakeAgent)
	}{
		"services.web.network_mode: piswarm does not have that": {strings.Replace(twoServices, "image: nginx,", "image: nginx, network_mode: host,", 1), func(*fakeAgent) {}},
		"port 8080/tcp is already published by service blog":    {twoServices, func(f *fakeAgent) { f.services = []client.Service{port} }},
		"is not of stack shop":                                  {twoServices, func(f *fakeAgent) { f.services = []client.Service{strange} }},
		"is global and cannot become":                           {twoServices, func(f *fakeAgent) { f.services = []client.Service{global} }},
		"there is no secret pw":                                 {strings.Replace(twoServices, "environment: PW", "external: true", 1), func(*fakeAgent) {}},
		"the services.web.secrets":                              {strings.Replace(twoServices, "secrets: {pw: {environment: PW}}", "", 1), func(*fakeAgent) {}},
		"environment variable NONE is not":                      {strings.Replace(twoServices, "environment: PW", "environment: NONE", 1), func(*fakeAgent) {}},
	} {
		f := newFakeAgent(t)
		test.with(f)
		_, errs, code := f.runWith(t, test.text, "stack deploy -c - shop")
		if want == "the services.web.secrets" {
			want = "pw"
		}
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("exit %d, %s\nwant %s", code, errs, want)
		}
		if writes := f.writes(); len(writes) > 0 {
			t.Errorf("%s: wrote %q", want, writes)
		}
	}
}

func TestStackLists(t *testing.T) {
	f := newFakeAgent(t)
	f.services = []client.Service{ofStack("shop_web"), ofStack("shop_db"), {Service: cluster.Service{Spec: cluster.Spec{Name: "other"}}}}
	f.tasks = []client.Task{{ID: "t1", Service: "shop_db", Slot: 1, Node: "pi1"}, {ID: "t2", Service: "other", Slot: 1}}
	for line, want := range map[string]string{
		"stack ls": "NAME   SERVICES\nshop   2\n", "stack ls -q": "shop\n", "stack ls --format json": "[{\"name\":\"shop\",\"services\":2}]\n",
		"stack services -q shop": "shop_web-id\nshop_db-id\n", "stack services --filter label=com.docker.stack.namespace=shop -q shop": "shop_web-id\nshop_db-id\n",
		"stack ps -q shop": "t1\n",
	} {
		if out, errs, code := f.run(t, line); code != 0 || out != want {
			t.Errorf("%s: exit %d, %q, %s; want %q", line, code, out, errs, want)
		}
	}
	for _, line := range []string{"stack ps none", "stack services none", "stack rm none"} {
		if _, errs, code := f.run(t, line); code != 1 || errs != "piswarm: no stack named none: piswarm stack ls lists them\n" {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
}

func TestStackRemove(t *testing.T) {
	f := newFakeAgent(t)
	mine := map[string]string{compose.NamespaceLabel: "shop"}
	f.services = []client.Service{ofStack("shop_web")}
	f.secrets = []client.File{{Head: cluster.Head{Name: "shop_pw", Labels: mine}}, {Head: cluster.Head{Name: "mine"}}}
	f.configs = []client.Config{{File: client.File{Head: cluster.Head{Name: "shop_motd", Labels: mine}}}}
	f.networks = []client.Network{{Network: cluster.Network{Name: "shop_default", Labels: mine}}, {Network: cluster.Network{Name: "mine"}}}
	out, errs, code := f.run(t, "stack rm shop")
	if code != 0 || out != "removed service shop_web\nremoved secret shop_pw\nremoved config shop_motd\nremoved network shop_default\n" {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	if got, want := brief(f.writes()), "DELETE /v1/services/shop_web\nDELETE /v1/secrets/shop_pw\nDELETE /v1/configs/shop_motd\nDELETE /v1/networks/shop_default"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
