package tasks_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// listen starts what users mistake for a registry and puts its host into a
// variable:
//
//	listen html|login NAME
func listen(ts *testscript.TestScript, _ bool, args []string) {
	handlers := map[string]http.HandlerFunc{
		"html": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>It works!</html>")
		},
		"login": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="acme"`)
			w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		},
	}
	if len(args) != 2 || handlers[args[0]] == nil {
		ts.Fatalf("usage: listen html|login NAME")
	}
	s := httptest.NewServer(handlers[args[0]])
	ts.Defer(s.Close)
	ts.Setenv(args[1], strings.TrimPrefix(s.URL, "http://"))
}

// gitserver serves the repositories below DIR over HTTP, as git's own server
// does; NAME becomes its host and port.
func gitserver(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: gitserver DIR NAME")
	}
	backend, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	s := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + ts.MkAbs(args[0]), "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	})
	ts.Defer(s.Close)
	ts.Setenv(args[1], strings.TrimPrefix(s.URL, "http://"))
}

// socket makes a Unix socket, as editors, agents and git itself leave in
// directories.
func socket(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: socket FILE")
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(syscall.Mknod(ts.MkAbs(args[0]), syscall.S_IFSOCK|0o644, 0))
}

// full makes a directory on a file system of one page, which is soon full.
// It needs root.
func full(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: full DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.Mkdir(dir, 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4k", "none", dir).CombinedOutput(); err != nil {
		ts.Fatalf("mounting a small file system: %v: %s", err, out)
	}
	ts.Defer(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			ts.Logf("umount: %v: %s", err, out)
		}
	})
}

// peers compiles tools of other people, pinned in .peers/go.mod, and puts them
// on the PATH:
//
//	peers crane regctl
func peers(t *testing.T) func(*testscript.TestScript, bool, []string) {
	packages := map[string]string{
		"crane":  "github.com/google/go-containerregistry/cmd/crane",
		"regctl": "github.com/regclient/regclient/cmd/regctl",
	}
	bin := t.TempDir()
	var mu sync.Mutex
	return func(ts *testscript.TestScript, _ bool, args []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range args {
			cmd := exec.Command("go", "build", "-modfile=.peers/go.mod", "-o", filepath.Join(bin, a), packages[a])
			cmd.Dir = root(t)
			if out, err := cmd.CombinedOutput(); err != nil {
				ts.Fatalf("compiling %s: %v\n%s", a, err, out)
			}
		}
		ts.Setenv("PATH", bin+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	}
}

// retag lets a tag name what another one names, behind archmage's back:
//
//	retag REPOSITORY FROM TO
func retag(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: retag REPOSITORY FROM TO")
	}
	host, repo, _ := strings.Cut(args[0], "/")
	url := "http://" + host + "/v2/" + repo + "/manifests/"
	req, err := http.NewRequest(http.MethodGet, url+args[1], nil)
	ts.Check(err)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := registrytest.HTTP.Do(req)
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	req, err = http.NewRequest(http.MethodPut, url+args[2], bytes.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", resp.Header.Get("Content-Type"))
	resp, err = registrytest.HTTP.Do(req)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	if resp.StatusCode != http.StatusCreated {
		ts.Fatalf("retagging: %s", resp.Status)
	}
}
