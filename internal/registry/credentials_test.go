package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/credential"
)

func writeFile(t *testing.T, mode os.FileMode, text string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func auths(host, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	host := serve(t, basicAuth(memory()))
	good, bad := auths(host, "me", "secret"), auths(host, "me", "wrong")
	tests := []struct {
		name  string
		files []string
		kind  Kind
		says  string
	}{
		{"none", nil, Unauthorized, "docker login " + host},
		{"Docker's", []string{good}, -1, ""},
		{"wrong", []string{bad}, Denied, "refuses the credentials"},
		{"podman's beside Docker's", []string{`{"auths":{}}`, good}, -1, ""},
		{"the first counts", []string{good, bad}, -1, ""},
		{"another registry's", []string{auths("other.test", "me", "secret")}, Unauthorized, "wants credentials"},
		{"the repository's own", []string{auths(host+"/hello", "me", "secret")}, -1, ""},
		{"broken file", []string{`{"auths":`}, Credentials, "config0.json"},
		{"missing helper", []string{`{"credsStore":"of-nobody"}`}, Credentials, "docker-credential-of-nobody"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "not-there.json")}
			for i, text := range tt.files {
				files = append(files, writeFile(t, 0o600, text, dir, fmt.Sprintf("config%d.json", i)))
			}
			c := newTestClient(t, nil, Options{Credentials: credential.OfFiles(files...)})
			err := c.CheckPush(t.Context(), host+"/hello")
			if kindOf(err) != tt.kind || tt.kind == -1 && err != nil {
				t.Fatalf("kind %d (%v), want %d", kindOf(err), err, tt.kind)
			}
			if err != nil && !strings.Contains(told(err), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			// The same through the other way of asking.
			if _, err := c.Head(t.Context(), host+"/hello:1"); tt.kind != -1 && kindOf(err) != tt.kind {
				t.Errorf("Head: kind %d (%v), want %d", kindOf(err), err, tt.kind)
			}
		})
	}
}

// TestCredentialHelper runs a helper as Docker does, a program on PATH.
func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	host := serve(t, basicAuth(memory()))
	answer, err := json.Marshal(map[string]string{"ServerURL": host, "Username": "me", "Secret": "secret"})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, 0o700, fmt.Sprintf("#!/bin/sh\nread -r url\n[ \"$1\" = get ] && [ \"$url\" = %q ] && echo '%s'\n", host, answer), dir, "docker-credential-fake")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", dir)
	writeFile(t, 0o600, fmt.Sprintf(`{"credHelpers":{%q:"fake"}}`, host), dir, "config.json")
	c := newTestClient(t, nil, Options{Credentials: credential.New(os.Getenv)})
	if err := c.CheckPush(t.Context(), host+"/hello"); err != nil {
		t.Error(err)
	}
}

// TestToken goes through a token service that stands beside the registry, and
// sees which scopes are asked for.
func TestToken(t *testing.T) {
	t.Parallel()
	inner := memory()
	var host string
	scopes := make(chan string, 100)
	host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			user, password, _ := r.BasicAuth()
			if user != "me" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			scopes <- r.URL.Query().Get("scope")
			_, _ = io.WriteString(w, `{"token":"good"}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, host))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	file := writeFile(t, 0o600, auths(host, "me", "secret"), t.TempDir(), "config.json")
	c := newTestClient(t, nil, Options{Credentials: credential.OfFiles(file)})
	if err := c.CheckPush(t.Context(), host+"/hello"); err != nil {
		t.Fatal(err)
	}
	if got := <-scopes; got != "repository:hello:push,pull" {
		t.Errorf("scope %q", got)
	}
	if err := newTestClient(t, nil, Options{}).CheckPush(t.Context(), host+"/hello"); kindOf(err) != Unauthorized {
		t.Errorf("without credentials: %v", err)
	}
}
