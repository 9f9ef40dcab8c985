package credential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, mode os.FileMode, text string, path ...string) string {
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

// file is a file of logins: key to user, each with the password "secret".
func file(users map[string]string) string {
	auths := map[string]any{}
	for key, user := range users {
		auths[key] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":secret"))}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	tests := []struct {
		env  map[string]string
		want []string
	}{
		{map[string]string{}, nil},
		{map[string]string{"HOME": "/h"}, []string{"/h/.docker/config.json", "/h/.config/containers/auth.json"}},
		{
			map[string]string{"HOME": "/h", "DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/a.json", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c"},
			[]string{"/d/config.json", "/a.json", "/r/containers/auth.json", "/c/containers/auth.json"},
		},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, places(func(key string) string { return tt.env[key] })); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.env, diff)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	namespaces := file(map[string]string{"r.test:5000/org": "org", "r.test:5000/other/app": "app", "r.test:5000/org/deep/er": "deeper"})
	withHost := file(map[string]string{"r.test:5000/org": "org", "r.test:5000": "host", "r.test:5000/zoo": "zoo"})
	tests := []struct {
		name  string
		files []string
		ask   string
		user  string
		key   string
	}{
		{"nothing", nil, "r.test/app", "", ""},
		{"the namespace", []string{namespaces}, "r.test:5000/org/app", "org", "r.test:5000/org"},
		{"a deeper one", []string{namespaces}, "r.test:5000/org/deep/er/app", "deeper", "r.test:5000/org/deep/er"},
		{"not so deep", []string{namespaces}, "r.test:5000/org/deep/app", "org", "r.test:5000/org"},
		{"the repository", []string{namespaces}, "r.test:5000/other/app", "app", "r.test:5000/other/app"},
		{"beside the repository", []string{namespaces}, "r.test:5000/other/app2", "", ""},
		{"a name that only begins alike", []string{namespaces}, "r.test:5000/organic/app", "", ""},
		{"no namespace's login for the host", []string{namespaces}, "r.test:5000", "", ""},
		{"no entry fits", []string{namespaces}, "r.test:5000/third/app", "", ""},
		{"the host's", []string{withHost}, "r.test:5000/third/app", "host", "r.test:5000"},
		{"before the host's", []string{withHost}, "r.test:5000/org/app", "org", "r.test:5000/org"},
		{"another port", []string{withHost}, "r.test:5001/org/app", "", ""},
		{"no port", []string{withHost}, "r.test/org/app", "", ""},
		{"the first file with an entry", []string{withHost, namespaces}, "r.test:5000/other/app", "host", "r.test:5000"},
		{"the second, where the first has none", []string{`{"auths":{}}`, namespaces}, "r.test:5000/org/app", "org", "r.test:5000/org"},
		{"an empty entry is none", []string{`{"auths":{"r.test:5000":{}}}`, withHost}, "r.test:5000/x", "host", "r.test:5000"},
		{"with a scheme", []string{file(map[string]string{"https://r.test": "me"})}, "r.test/app", "me", "r.test"},
		{"with a version", []string{file(map[string]string{"https://r.test/v1/": "me"})}, "r.test/app", "me", "r.test"},
		{"in capitals", []string{file(map[string]string{"R.Test": "me"})}, "r.test/app", "me", "r.test"},
		{"Hub as Docker writes it", []string{file(map[string]string{"https://index.docker.io/v1/": "me"})}, "docker.io/acme/app", "me", "docker.io"},
		{"Hub as podman writes it", []string{file(map[string]string{"docker.io": "me"})}, "index.docker.io/acme/app", "me", "docker.io"},
		{"Hub's namespace", []string{file(map[string]string{"docker.io/acme": "acme", "docker.io": "me"})}, "registry-1.docker.io/acme/app", "acme", "docker.io/acme"},
		{"Hub by its address", []string{file(map[string]string{"registry-1.docker.io": "me"})}, "docker.io/library/alpine", "me", "docker.io"},
		{"what Docker Desktop keeps beside it", []string{file(map[string]string{"https://index.docker.io/v1/access-token": "token"})}, "docker.io/acme/app", "", ""},
		{"written out", []string{`{"auths":{"r.test":{"username":"me","password":"secret"}}}`}, "r.test/app", "me", "r.test"},
		{"a broken entry of another host", []string{`{"auths":{"x.test":{"auth":"!"},"r.test":{"username":"me","password":"secret"}}}`}, "r.test/app", "me", "r.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "not-there.json")}
			for i, text := range tt.files {
				files = append(files, write(t, 0o600, text, dir, fmt.Sprintf("%d.json", i)))
			}
			for range 20 { // the same each time
				l, err := OfFiles(files...).Lookup(tt.ask)
				if err != nil || l.Username != tt.user || l.Key != tt.key || l.Found() && l.Password != "secret" {
					t.Fatalf("%s: %+v (%v), want %q under %q", tt.ask, l, err, tt.user, tt.key)
				}
			}
		})
	}
}

// The variable comes before all files, and needs none.
func TestVariable(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := map[string]string{"HOME": home, variable: file(map[string]string{"r.test": "variable"})}
	store := New(func(key string) string { return env[key] })
	check := func(name, want, source string) {
		t.Helper()
		l, err := store.Lookup(name)
		if err != nil || l.Username != want || l.Source != source {
			t.Errorf("%s: %q in %q (%v), want %q in %q", name, l.Username, l.Source, err, want, source)
		}
	}
	check("r.test/app", "variable", "$"+variable)
	path := write(t, 0o600, file(map[string]string{"r.test": "file", "x.test": "file"}), home, ".docker", "config.json")
	check("r.test/app", "variable", "$"+variable)
	check("x.test/app", "file", path)
	env[variable] = "{"
	if _, err := store.Lookup("x.test/app"); err == nil || !strings.Contains(err.Error(), variable) {
		t.Errorf("a broken variable: %v", err)
	}
}

// A helper is a program on PATH, which is told a key and answers with a login.
func TestHelpers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	write(t, 0o700, `#!/bin/sh
read -r url
[ "$1" = get ] || exit 9
case "$url" in
https://index.docker.io/v1/|r.test|r.test/org) echo "{\"ServerURL\":\"$url\",\"Username\":\"of $url\",\"Secret\":\"secret\"}" ;;
token.test) echo '{"ServerURL":"token.test","Username":"<token>","Secret":"identity"}' ;;
broken.test) echo 'no network'; exit 1 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`, dir, "docker-credential-fake")
	tests := []struct{ file, ask, want string }{
		{`{"credsStore":"fake"}`, "r.test/app", "of r.test"},
		{`{"credsStore":"fake"}`, "docker.io/acme/app", "of https://index.docker.io/v1/"},
		{`{"credsStore":"fake"}`, "unknown.test/app", ""},
		{`{"credsStore":"fake"}`, "r.test/org/app", "of r.test"},
		{`{"credsStore":"fake","auths":{"r.test/org":{}}}`, "r.test/org/app", "of r.test/org"},
		{`{"credHelpers":{"r.test":"fake"}}`, "r.test/app", "of r.test"},
		{`{"credHelpers":{"r.test/org":"fake"}}`, "r.test/org/app", "of r.test/org"},
		{`{"credHelpers":{"docker.io":"fake"}}`, "docker.io/acme/app", "of https://index.docker.io/v1/"},
		{`{"credHelpers":{"x.test":"of-nobody"},"auths":{"r.test":{"username":"plain","password":"secret"}}}`, "r.test/app", "plain"},
		{`{"credHelpers":{"r.test":"fake"},"credsStore":"of-nobody"}`, "r.test/app", "of r.test"},
		{`{"credsStore":"fake","auths":{"unknown.test":{"username":"plain","password":"secret"}}}`, "unknown.test/app", "plain"},
	}
	for i, tt := range tests {
		l, err := OfFiles(write(t, 0o600, tt.file, dir, fmt.Sprintf("%d.json", i))).Lookup(tt.ask)
		if err != nil || l.Username != tt.want {
			t.Errorf("%s of %s: %q (%v), want %q", tt.ask, tt.file, l.Username, err, tt.want)
		}
	}
	l, err := OfFiles(write(t, 0o600, `{"credsStore":"fake"}`, dir, "token.json")).Lookup("token.test/app")
	if err != nil || l.IdentityToken != "identity" || l.Username != "" {
		t.Errorf("an identity token: %+v (%v)", l, err)
	}
	for _, text := range []string{`{"credHelpers":{"r.test":"of-nobody"}}`, `{"credHelpers":{"broken.test":"fake"}}`} {
		host := "r.test"
		if strings.Contains(text, "broken") {
			host = "broken.test"
		}
		_, err := OfFiles(write(t, 0o600, text, dir, "bad.json")).Lookup(host + "/app")
		if err == nil || !strings.Contains(err.Error(), "docker-credential-") || !strings.Contains(err.Error(), "bad.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What cannot be read is named, and nothing of it is quoted.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"a directory", dir, "is a directory"},
		{"a pipe", fifo, "not a regular file"},
		{"large", write(t, 0o600, `{"auths":{"`+strings.Repeat("x", 10<<20)+`":{}}}`, dir, "large"), "larger than 4 MiB"},
		{"no JSON", write(t, 0o600, "machine r.test login me password hunter2", dir, "netrc"), "not Docker's JSON"},
		{"other JSON", write(t, 0o600, `["hunter2"]`, dir, "list"), "not Docker's JSON"},
		{"cut off", write(t, 0o600, `{"auths":{"r.test":{"auth":"hunter2`, dir, "cut"), "not Docker's JSON"},
		{"no base64", write(t, 0o600, `{"auths":{"r.test":{"auth":"hunter2!"}}}`, dir, "base64"), "not the base64"},
		{"no colon", write(t, 0o600, file(nil)[:0]+`{"auths":{"r.test":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("hunter2"))+`"}}}`, dir, "colon"), "not the base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := OfFiles(tt.path).Lookup("r.test/app")
			if err == nil || !strings.Contains(err.Error(), tt.path) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q and %q", err, tt.path, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 1000 {
				t.Errorf("it tells too much: %v", err)
			}
		})
	}
	// An earlier place with the login does not need the later ones.
	good := write(t, 0o600, file(map[string]string{"r.test": "me"}), dir, "good")
	if l, err := OfFiles(good, dir).Lookup("r.test/app"); err != nil || l.Username != "me" {
		t.Errorf("%+v, %v", l, err)
	}
}

// A login shows whose it is, not what it is.
func TestLoginIsSecret(t *testing.T) {
	t.Parallel()
	l := Login{Username: "me", Password: "hunter2", IdentityToken: "hunter2", RegistryToken: "hunter2", Key: "r.test", Source: "/a"}
	for _, format := range []string{"%s", "%v", "%+v", "%#v", "%q"} {
		if text := fmt.Sprintf(format, l); strings.Contains(text, "hunter2") || !strings.Contains(text, "as me (r.test in /a)") {
			t.Errorf("%s: %s", format, text)
		}
	}
	if text := fmt.Sprint(Login{}); text != "without a login" {
		t.Error(text)
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, 0o600, `{"proxies":{"default":{"httpProxy":"http://127.0.0.1:3128"}},"auths":{}}`, dir, "config.json")
	got, err := OfFiles(path).Docker()
	if err != nil || got.Proxies["default"].HTTPProxy != "http://127.0.0.1:3128" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := OfFiles(filepath.Join(dir, "none")).Docker(); err != nil || len(got.Proxies) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := OfFiles(dir).Docker(); err == nil {
		t.Error("a directory")
	}
}
