package tasks_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// privateRegistry stands before a registry and lets each user into one namespace,
// by password or, as most do, by tokens of a service beside it.
type privateRegistry struct {
	host   string
	tokens bool
	// passwords are by user, who owns the namespace of that name.
	passwords map[string]string

	mu     sync.Mutex
	wrong  []string       // requests with a login that does not belong there
	logins map[string]int // requests by user
}

func newPrivateRegistry(t *testing.T, behind string, tokens bool, passwords map[string]string) *privateRegistry {
	t.Helper()
	p := &privateRegistry{tokens: tokens, passwords: passwords, logins: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	proxy.ModifyResponse = func(r *http.Response) error { // uploads go on through here
		if at, err := url.Parse(r.Header.Get("Location")); err == nil && at.Path != "" {
			at.Scheme, at.Host = "", ""
			r.Header.Set("Location", at.String())
		}
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := p.user(w, r)
		if !ok {
			return
		}
		namespace, _, inside := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		p.mu.Lock()
		p.logins[user]++
		if inside && namespace != user {
			p.wrong = append(p.wrong, user+": "+r.Method+" "+r.URL.Path)
		}
		p.mu.Unlock()
		if inside && namespace != user {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		r.Header.Del("Authorization")
		r.Host = behind
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.host = strings.TrimPrefix(server.URL, "http://")
	return p
}

// user tells who asks, or answers that one must log in.
func (p *privateRegistry) user(w http.ResponseWriter, r *http.Request) (string, bool) {
	user, password, ok := r.BasicAuth()
	ok = ok && p.passwords[user] == password
	challenge := `Basic realm="test"`
	if p.tokens {
		switch {
		case r.URL.Path == "/token" && r.Method != http.MethodGet: // no OAuth here, as at many
			w.WriteHeader(http.StatusNotFound)
			return "", false
		case r.URL.Path == "/token" && ok:
			_, _ = fmt.Fprintf(w, `{"token":%q}`, "token-of-"+user)
			return "", false
		}
		user, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
		challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, p.host)
		if repo, _, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/"+kindOfPath(r.URL.Path)+"/"); found {
			challenge += fmt.Sprintf(`,scope="repository:%s:pull,push"`, repo)
		}
	}
	if !ok {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	}
	return user, ok
}

func kindOfPath(path string) string {
	for _, kind := range []string{"manifests", "blobs", "referrers", "tags"} {
		if strings.Contains(path, "/"+kind+"/") {
			return kind
		}
	}
	return "none"
}

// With podman's logins alone, one a namespace, a worker pushes, builds FROM a
// private image and runs it, and this machine copies it to another registry. No
// login goes where it does not belong, and none is found again in anything that
// was written or shown.
func TestCredentials(t *testing.T) {
	t.Parallel()
	binary, behind, worker := compiled(t), embeddedtest.Registry(t), embeddedtest.Worker(t)
	first := newPrivateRegistry(t, behind, true, map[string]string{"credbase": "s3cret-of-the-base", "credorg": "s3cret-of-the-org"})
	second := newPrivateRegistry(t, behind, false, map[string]string{"credmirror": "s3cret-of-the-mirror"})
	dir, home := t.TempDir(), t.TempDir()
	auths, secrets := map[string]any{}, []string{}
	for _, r := range []*privateRegistry{first, second} {
		for user, password := range r.passwords {
			auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
			auths[r.host+"/"+user] = map[string]string{"auth": auth}
			secrets = append(secrets, password, auth)
		}
	}
	// Somebody else's, of a host that nothing here names.
	auths["elsewhere.test"] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("me:s3cret-of-nobody"))}
	secrets = append(secrets, "s3cret-of-nobody")
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	authFile := filepath.Join(t.TempDir(), "auth.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(authFile, string(text))
	copyFile(t, embeddedtest.Busybox(t), filepath.Join(dir, "busybox"))
	write(filepath.Join(dir, "targets.hcl"), fmt.Sprintf(`
group "default" { targets = ["base", "app"] }
target "base" {
  platforms         = ["linux/amd64"]
  tags              = ["%[1]s/credbase/base:1"]
  dockerfile-inline = "FROM scratch\nCOPY busybox /bin/busybox\n"
}
target "app" {
  platforms         = ["linux/amd64"]
  tags              = ["%[1]s/credorg/app:1", "%[2]s/credmirror/app:1"]
  dockerfile-inline = "FROM %[1]s/credbase/base:1\nRUN [\"/bin/busybox\", \"touch\", \"/made\"]\nENTRYPOINT [\"/bin/busybox\"]\n"
  attest            = [{ type = "provenance", mode = "max" }]
  smoke {
    command = ["echo", "hello"]
    expect { stdout = ["^hello"] }
  }
}
worker "here" { address = %[3]q }
device "here" { worker = "here" }
`, first.host, second.host, worker.Address))
	stop, shown := make(chan struct{}), make(chan []string)
	go func() { shown <- commandLines(stop, secrets) }()
	var said []byte
	for _, args := range [][]string{{"release", "-targets=base"}, {"release", "-targets=app"}, {"inspect"}, {"releases"}} {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+authFile, "HOME="+home, "DOCKER_CONFIG=", "XDG_RUNTIME_DIR=", "XDG_CONFIG_HOME=", "BUILDKIT_PROGRESS=plain")
		out, err := cmd.CombinedOutput()
		said = append(said, out...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	close(stop)
	if found := <-shown; len(found) > 0 {
		t.Errorf("on a command line: %q", found)
	}
	if want := "logging in as credorg (" + first.host + "/credorg in " + authFile + ")"; !bytes.Contains(said, []byte(want)) {
		t.Errorf("it does not say %q:\n%s", want, said)
	}
	for _, r := range []*privateRegistry{first, second} {
		if len(r.wrong) > 0 {
			t.Errorf("logins went astray: %q", r.wrong)
		}
		for user := range r.passwords {
			if r.logins[user] == 0 {
				t.Errorf("%s never logged in", user)
			}
		}
	}
	search(t, "what was shown", said, secrets)
	for _, root := range []string{dir, home, worker.Log} {
		searchFiles(t, root, secrets)
	}
	for repo, tag := range map[string]string{"credbase/base": "1", "credorg/app": "1", "credmirror/app": "1"} {
		searchImage(t, "http://"+behind+"/v2/"+repo, tag, secrets, map[string]bool{})
	}
}

func search(t *testing.T, where string, data []byte, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if bytes.Contains(data, []byte(s)) {
			t.Errorf("%s holds %q", where, s)
		}
	}
}

func searchFiles(t *testing.T, root string, secrets []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		search(t, path, data, secrets)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d files searched in %s", files, root)
}

// searchImage searches all that a manifest names, unpacked too.
func searchImage(t *testing.T, repo, ref string, secrets []string, seen map[string]bool) {
	t.Helper()
	if seen[ref] {
		return
	}
	seen[ref] = true
	get := func(path string) []byte {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, repo+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"} {
			req.Header.Add("Accept", kind)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s%s: %s, %v", repo, path, resp.Status, err)
		}
		return data
	}
	raw := get("/manifests/" + ref)
	search(t, repo+" "+ref, raw, secrets)
	type named struct{ Digest string }
	var doc struct {
		Manifests, Layers []named
		Config            named
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, m := range doc.Manifests {
		searchImage(t, repo, m.Digest, secrets, seen)
	}
	for _, b := range append(doc.Layers, doc.Config) {
		if b.Digest == "" {
			continue
		}
		blob := get("/blobs/" + b.Digest)
		search(t, repo+" "+b.Digest, blob, secrets)
		if r, err := gzip.NewReader(bytes.NewReader(blob)); err == nil {
			unpacked, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			search(t, repo+" "+b.Digest+", unpacked", unpacked, secrets)
		}
	}
}

// commandLines looks at the arguments of all processes until it is stopped, and
// returns those that hold a secret.
func commandLines(stop <-chan struct{}, secrets []string) []string {
	found := map[string]bool{}
	for {
		select {
		case <-stop:
			var out []string
			for line := range found {
				out = append(out, line)
			}
			return out
		default:
		}
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			data, _ := os.ReadFile(f) // gone meanwhile
			for _, s := range secrets {
				if bytes.Contains(data, []byte(s)) {
					found[string(data)] = true
				}
			}
		}
	}
}
