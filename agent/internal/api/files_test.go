package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// making is the body that makes a secret or a config.
func making(name, data string) string {
	raw, _ := json.Marshal(client.FileCreate{Name: name, Data: []byte(data)})
	return string(raw)
}

// using is a service web with these parts of its container.
func using(parts string) string {
	return fmt.Sprintf(`{"name":"web","mode":"replicated","replicas":1,"container":{"image":"web",%s}}`, parts)
}

func TestFileRoutes(t *testing.T) {
	big := strings.Repeat("x", cluster.MaxFileSize)
	labels := func(n int) string {
		raw, _ := json.Marshal(client.FileCreate{Name: "db", Data: []byte(big), Labels: map[string]string{"a": strings.Repeat("<", n)}})
		return string(raw)
	}
	n, server := start(t)
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/secrets", "", 200, "[]"},
		{"POST", "/v1/secrets", making("db", "hush"), 200, `"holders":3`},
		{"POST", "/v1/secrets", making("db", "other"), 409, "secret db exists already"},
		{"POST", "/v1/secrets", making("a b", "hush"), 400, "bad secret name"},
		{"POST", "/v1/secrets", making("empty", ""), 400, "it is empty"},
		{"POST", "/v1/secrets", making("most", big), 200, `"holders":3`},
		{"POST", "/v1/secrets", making("more", big+"x"), 400, "larger than 180 KiB"},
		{"POST", "/v1/secrets", making("more", strings.Repeat("x", maxBody)), 400, "larger than 180 KiB"},
		{"POST", "/v1/secrets", making("no", "unsealable"), 500, "seal: no"},
		{"POST", "/v1/configs", labels(4000), 400, "labels are too long"},
		{"POST", "/v1/configs", making("app", "on"), 200, `"holders":3`},
		{"POST", "/v1/configs", making("app", "off"), 409, "config app exists already"},
		{"GET", "/v1/secrets/db", "", 200, `"name":"db"`},
		{"GET", "/v1/secrets/none", "", 404, "no secret named none: `piswarm secret ls` lists them"},
		{"GET", "/v1/secrets/app", "", 404, "no secret named app"},
		{"GET", "/v1/configs/app", "", 200, `"data":"` + base64.StdEncoding.EncodeToString([]byte("on")) + `"`},
		{"GET", "/v1/configs/db", "", 404, "no config named db"},
		{"POST", "/v1/services", using(`"secrets":[{"name":"none"}]`), 400, "service web: no secret named none: `piswarm secret ls` lists them"},
		{"POST", "/v1/services", using(`"configs":[{"name":"db"}]`), 400, "service web: no config named db"},
		{"POST", "/v1/services", using(`"secrets":[{"name":"db"}],"configs":[{"name":"app"}]`), 200, `"holders":3`},
		{"GET", "/v1/secrets", "", 200, `"services":["web"]`},
		{"GET", "/v1/configs", "", 200, `"services":["web"]`},
		{"DELETE", "/v1/secrets/db", "", 409, "secret db is in use by service web: remove it there first, with piswarm update --secret-rm db SERVICE"},
		{"DELETE", "/v1/configs/app", "", 409, "config app is in use by service web"},
		{"DELETE", "/v1/secrets/app", "", 404, "no secret named app"},
		{"DELETE", "/v1/services/web", "", 200, `"holders":3`},
		{"DELETE", "/v1/secrets/db", "", 200, `"holders":3`},
		{"DELETE", "/v1/configs/app", "", 200, `"holders":3`},
		{"DELETE", "/v1/secrets/db", "", 404, "no secret named db"},
	} {
		before := n.Store.Digest()
		status, answer := call(t, server.URL, test.method, test.path, test.body)
		if status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%s %s: %d %.300s, want %d and %q", test.method, test.path, status, answer, test.status, test.want)
		}
		if status >= 400 && n.Store.Digest() != before {
			t.Errorf("%s %s: refused, and yet the state is another one", test.method, test.path)
		}
	}
}

// Whoever deploys the same twice is served; nothing ever changes by it.
func TestSameFileRoutes(t *testing.T) {
	n, server := start(t)
	for _, kind := range []string{"/v1/secrets", "/v1/configs"} {
		for _, test := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"PUT", kind + "/db", making("db", "hush"), 404, "named db"},
			{"POST", kind, making("db", "hush"), 200, `"holders":3`},
			{"PUT", kind + "/db", making("db", "hush"), 200, `"holders":1`},
			{"PUT", kind + "/db", making("db", "husk"), 409, "none ever changes"},
			{"PUT", kind + "/db", `{"name":"db","data":"aHVzaA==","labels":{"a":"b"}}`, 409, "other labels"},
			{"PUT", kind + "/db", making("other", "hush"), 400, "cannot be renamed"},
			{"PUT", kind + "/db", `{"data":"aHVz`, 400, "not well formed"},
		} {
			before := n.Store.Digest()
			status, answer := call(t, server.URL, test.method, test.path, test.body)
			if status != test.status || !strings.Contains(answer, test.want) || strings.Contains(answer, "hush") {
				t.Errorf("%s %s %s: %d %.300s, want %d and %q", test.method, test.path, test.body, status, answer, test.status, test.want)
			}
			if test.method == "PUT" && n.Store.Digest() != before {
				t.Errorf("%s %s: the state is another one", test.method, test.path)
			}
		}
	}
}

func TestNetworkRoutes(t *testing.T) {
	n, server := start(t)
	on := func(name string) string {
		return fmt.Sprintf(`{"name":"web","mode":"replicated","replicas":1,"container":{"image":"web"},"networks":[{"name":%q,"aliases":["w"]}]}`, name)
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/networks", "", 200, "[]"},
		{"POST", "/v1/networks", `{"name":"back","labels":{"a":"b"}}`, 200, `"holders":3`},
		{"POST", "/v1/networks", `{"name":"back"}`, 409, "network back exists already"},
		{"POST", "/v1/networks", `{"name":"a b"}`, 400, "bad network name"},
		{"POST", "/v1/networks", `{"name":"host"}`, 400, "a meaning of its own"},
		{"POST", "/v1/networks", `{"name":"x","labels":{"":"b"}}`, 400, "a label needs a key"},
		{"POST", "/v1/networks", `{"name":"x","subnet":"10.0.0.0/8"}`, 400, "not well formed"},
		{"GET", "/v1/networks/back", "", 200, `"name":"back","labels":{"a":"b"}`},
		{"GET", "/v1/networks/none", "", 404, "no network named none"},
		{"POST", "/v1/services", on("nowhere"), 400, "no network named nowhere"},
		{"POST", "/v1/services", on("a b"), 400, "bad network name"},
		{"POST", "/v1/services", on("back"), 200, `"holders":3`},
		{"GET", "/v1/networks", "", 200, `"services":["web"]`},
		{"DELETE", "/v1/networks/back", "", 409, "network back is in use by service web"},
		{"DELETE", "/v1/services/web", "", 200, `"holders":3`},
		{"DELETE", "/v1/networks/back", "", 200, `"holders":3`},
		{"DELETE", "/v1/networks/back", "", 404, "no network named back"},
	} {
		before := n.Store.Digest()
		status, answer := call(t, server.URL, test.method, test.path, test.body)
		if status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%s %s: %d %.300s, want %d and %q", test.method, test.path, status, answer, test.status, test.want)
		}
		if status >= 400 && n.Store.Digest() != before {
			t.Errorf("%s %s: refused, and yet the state is another one", test.method, test.path)
		}
	}
}

// No answer, no error and no record has the value of a secret.
func TestSecretIsNotTold(t *testing.T) {
	n, server := start(t)
	const value = "31415926535897"
	encoded := base64.StdEncoding.EncodeToString([]byte(value))
	told := func(what, text string) {
		t.Helper()
		if strings.Contains(text, value) || strings.Contains(text, encoded) {
			t.Errorf("%s tells it: %s", what, text)
		}
	}
	for _, body := range []string{
		making("db", value), making("db", value), making("a b", value), making(value+"/", "x"),
		`{"name":"db","data":` + value + `}`, `{"name":"db","data":"` + value + `!"}`, `{"name":"db","` + value + `":1}`, `{"name":"db","data":"` + encoded + `"}` + value,
		`{"name":` + value + `}`, value,
	} {
		_, answer := call(t, server.URL, "POST", "/v1/secrets", body)
		if !strings.Contains(answer, "bad secret name") { // a name may be repeated
			told(body, answer)
		}
	}
	for _, path := range []string{"/v1/secrets", "/v1/secrets/db", "/v1/status", "/v1/services"} {
		_, answer := call(t, server.URL, "GET", path, "")
		told(path, answer)
		if strings.Contains(answer, "sealed") {
			t.Errorf("%s shows what is sealed: %s", path, answer)
		}
	}
	for _, record := range n.Store.List("") {
		told(record.Key, string(record.Value))
	}
}

// What a service names is what that was when it was named: a secret made anew under an old name is another one.
func TestServicePinsItsFiles(t *testing.T) {
	n, server := start(t)
	do := func(method, path, body string) string {
		t.Helper()
		status, answer := call(t, server.URL, method, path, body)
		if status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, status, answer)
		}
		return answer
	}
	web := func() client.Service {
		t.Helper()
		var s client.Service
		if err := json.Unmarshal([]byte(do("GET", "/v1/services/web", "")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	change := func(spec cluster.Spec) string {
		raw, _ := json.Marshal(client.ServiceUpdate{Spec: spec, Version: web().Version})
		return string(raw)
	}
	do("POST", "/v1/secrets", making("db", "one"))
	do("POST", "/v1/secrets", making("db2", "two"))
	do("POST", "/v1/services", using(`"secrets":[{"name":"db"}]`))
	first := web()
	if id, _ := n.View().FileID(cluster.KindSecret, "db"); id == "" || first.Spec.Container.Secrets[0].ID != id {
		t.Fatalf("it names %+v, and the secret is %q", first.Spec.Container.Secrets, id)
	}

	spec := first.Spec
	spec.Container.Secrets = []cluster.FileRef{{Name: "db2"}}
	do("PUT", "/v1/services/web", change(spec))
	second := web()
	if second.SpecVersion == first.SpecVersion {
		t.Error("another secret, and no other version")
	}
	// The leader has not said yet that the update is over, so that tasks of before may be made again.
	if status, answer := call(t, server.URL, "DELETE", "/v1/secrets/db", ""); status != 409 {
		t.Errorf("removed in the middle of the update: %d %s", status, answer)
	}
	put(t, n.Store, cluster.PlanKey("web"), cluster.Plan{ServiceID: second.ID, Update: cluster.Update{State: cluster.UpdateCompleted, Generation: second.Generation}})
	do("DELETE", "/v1/secrets/db", "")

	before := n.Store.Digest()
	if status, answer := call(t, server.URL, "POST", "/v1/services/web/rollback", ""); status != 409 || !strings.Contains(answer, "the secret db that it used before was removed") {
		t.Errorf("rollback to a secret that is gone: %d %s", status, answer)
	}
	spec.Container.Secrets = []cluster.FileRef{{Name: "db2"}, {Name: "none"}}
	if status, answer := call(t, server.URL, "PUT", "/v1/services/web", change(spec)); status != 400 || !strings.Contains(answer, "no secret named none") {
		t.Errorf("update to a secret that is not there: %d %s", status, answer)
	}
	if n.Store.Digest() != before {
		t.Error("refused, and yet the state is another one")
	}

	// The other side of a partition has made another secret of that name: it wins, and the next update takes it up.
	put(t, n.Store, cluster.SecretKey("db2"), cluster.Secret{Head: cluster.Head{ID: "other", Name: "db2"}, Sealed: []byte("x")})
	spec.Container.Secrets = second.Spec.Container.Secrets
	do("PUT", "/v1/services/web", change(spec))
	if got := web(); got.Spec.Container.Secrets[0].ID != "other" || got.SpecVersion == second.SpecVersion {
		t.Errorf("it names %+v of version %d", got.Spec.Container.Secrets, got.SpecVersion)
	}
}

// The largest secret fits into one record of the state, with some labels.
func TestLargestSecretFits(t *testing.T) {
	raw, err := json.Marshal(cluster.Secret{
		Head:   cluster.Head{ID: newID(), Name: strings.Repeat("n", 63), Labels: map[string]string{"a": strings.Repeat("x", 4096)}, CreatedAt: today()},
		Sealed: make([]byte, cluster.MaxFileSize+100),
	})
	if err != nil || len(raw) > state.MaxValue {
		t.Errorf("%d bytes, want at most %d (%v)", len(raw), state.MaxValue, err)
	}
}
