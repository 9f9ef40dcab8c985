package worker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/session/auth"

	"github.com/archmage-build/archmage/internal/credential"
)

// logins is a store with a login for each key, whose user has the key's name.
func logins(t *testing.T, keys ...string) *credential.Store {
	t.Helper()
	auths := map[string]any{}
	for _, key := range keys {
		auths[key] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(key[strings.LastIndexByte(key, '/')+1:] + ":secret"))}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return credential.OfFiles(path)
}

// A daemon gets the login for what its session is about, and for no other host.
func TestAuthOfSession(t *testing.T) {
	t.Parallel()
	w := &Worker{credentials: logins(t, "r.test/org", "r.test/other", "x.test", "docker.io")}
	tests := []struct {
		repositories []string
		host, want   string
	}{
		{[]string{"r.test/org/app"}, "r.test", "org"},
		{[]string{"r.test/other/app", "r.test/org/app"}, "r.test", "other"},
		{[]string{"r.test/third/app", "r.test/org/app"}, "r.test", "org"},
		{[]string{"r.test/third/app"}, "r.test", ""},
		{[]string{"r.test/org/app"}, "x.test", ""},
		{[]string{"r.test/org/app", "x.test/app"}, "x.test", "x.test"},
		{[]string{"x.test"}, "x.test", "x.test"},
		{[]string{"docker.io/library/alpine"}, "registry-1.docker.io", "docker.io"},
		{nil, "r.test", ""},
	}
	for _, tt := range tests {
		got, err := w.Auth(tt.repositories...).(auth.AuthServer).Credentials(t.Context(), &auth.CredentialsRequest{Host: tt.host})
		if err != nil || got.Username != tt.want || (got.Secret != "") != (tt.want != "") {
			t.Errorf("%v, %s: %q (%v), want %q", tt.repositories, tt.host, got.GetUsername(), err, tt.want)
		}
	}
}

// tokens is a token service that refuses more than one scope where strict, and
// tells who asked for what.
func tokens(t *testing.T, strict bool) (realm string, asked chan string) {
	t.Helper()
	asked = make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // no OAuth here, as at many
			w.WriteHeader(http.StatusNotFound)
			return
		}
		user, _, _ := r.BasicAuth()
		scopes := r.URL.Query()["scope"]
		asked <- user + " " + strings.Join(scopes, " ")
		if strict && len(scopes) > 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"token":"good"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/token", asked
}

// A token is asked for with the login of the repository that is pushed to, and
// where the service takes one scope alone, for that one.
func TestAuthTokens(t *testing.T) {
	t.Parallel()
	const pull, push = "repository:other/base:pull", "repository:org/app:pull,push"
	for _, strict := range []bool{false, true} {
		realm, asked := tokens(t, strict)
		host := strings.TrimPrefix(strings.TrimSuffix(realm, "/token"), "http://")
		w := &Worker{credentials: logins(t, host+"/org", host+"/other")}
		server := w.Auth(host+"/org/app", host+"/other/base").(auth.AuthServer)
		token, err := server.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: host, Realm: realm, Service: "s", Scopes: []string{pull, push}})
		if err != nil || token.Token != "good" {
			t.Fatalf("strict %t: %v, %v", strict, token, err)
		}
		want := []string{"org " + pull + " " + push}
		if strict {
			want = append(want, "org "+push)
		}
		for _, w := range want {
			if got := <-asked; got != w {
				t.Errorf("strict %t: asked %q, want %q", strict, got, w)
			}
		}
		if _, err := server.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: host, Realm: realm, Scopes: []string{pull}}); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != "other "+pull {
			t.Errorf("asked %q", got)
		}
	}
}

// Whoever names a token service is not believed blindly.
func TestAuthRealms(t *testing.T) {
	t.Parallel()
	sent := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent++ }))
	defer server.Close()
	w := &Worker{credentials: logins(t, "r.test", "10.0.0.9:5000"), plainHTTP: func(host string) bool { return host == "10.0.0.9:5000" }}
	a := w.Auth("r.test/app", "10.0.0.9:5000/app").(*authServer)
	refused := map[string]string{
		server.URL:                         "r.test",
		"http://auth.test/token":           "r.test",
		"https://127.0.0.1/token":          "r.test",
		"https://169.254.169.254/latest":   "r.test",
		"https://[::1]:2375/":              "r.test",
		"https://192.168.1.1/":             "r.test",
		"ftp://auth.test/":                 "r.test",
		"file:///etc/passwd":               "r.test",
		"/token":                           "r.test",
		"http://127.0.0.1:2375/containers": "10.0.0.9:5000",
		"http://169.254.169.254/latest":    "10.0.0.9:5000",
	}
	for realm, host := range refused {
		if _, err := a.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: host, Realm: realm, Scopes: []string{"repository:app:pull"}}); err == nil {
			t.Errorf("%s may name %s", host, realm)
		}
	}
	if sent != 0 {
		t.Errorf("%d requests were sent", sent)
	}
	for realm, host := range map[string]string{
		"https://auth.test/token":     "r.test",
		"https://r.test/token":        "r.test",
		"http://10.0.0.9:5001/token":  "10.0.0.9:5000",
		"https://10.0.0.9:5000/token": "10.0.0.9:5000",
	} {
		if err := a.checkRealm(host, realm); err != nil {
			t.Errorf("%s may not name %s: %v", host, realm, err)
		}
	}
	if text := fmt.Sprint(a.checkRealm("r.test", "http://me:hunter2@auth.test/")); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}
