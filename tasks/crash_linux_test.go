package tasks_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// crashPoints is how many moments of a release are tried.
var crashPoints = flag.Int("crash-points", 30, "how many moments of a release to kill it at")

// TestCrash kills releases with SIGKILL at requests to the registry and at
// writes of the record, spread over a release. After each, the tags are as they
// were or the first of their order have moved; the next release, of the same
// source or of a changed one, ends like an undisturbed one, solves no finished
// child again, and leaves no partial file. A rollback after it gives the set that
// was there before the killed one, whole.
func TestCrash(t *testing.T) {
	t.Parallel()
	worker := embeddedtest.Worker(t)
	binary := compiled(t)
	proxy := newCountingProxy(t, embeddedtest.Registry(t))
	r := &crashRig{t: t, binary: binary, worker: worker.Address, proxy: proxy}

	quiet := r.workspace(t)
	requests := proxy.count(func() { r.mustRelease(t, quiet, "new") })
	want := map[string]map[string]string{"new": r.tags(quiet)}
	r.mustRelease(t, quiet, "newer")
	want["newer"] = r.tags(quiet)
	if requests < 20 {
		t.Fatalf("a release made %d requests only", requests)
	}
	t.Logf("a release makes %d requests; killing at %d of them", requests, *crashPoints)
	for i := range *crashPoints {
		at := 1 + i*(requests-1)/max(1, *crashPoints-1)
		t.Run(fmt.Sprintf("request %d", at), func(t *testing.T) {
			r.crash(t, want, []string{"new", "newer"}[i%2], func(_ string, v *victim) func() { return proxy.killAt(at, v) })
		})
	}
	for at := 1; at <= 10; at++ {
		t.Run(fmt.Sprintf("record %d", at), func(t *testing.T) {
			r.crash(t, want, []string{"new", "newer"}[at%2], func(dir string, v *victim) func() {
				return killAtWrite(t, filepath.Join(dir, ".archmage", "releases"), at, v)
			})
		})
	}
}

// crashRig holds what all crashes share.
type crashRig struct {
	t              *testing.T
	binary, worker string
	proxy          *countingProxy
	runs           atomic.Int64
}

var crashTags = []string{"1-arm64", "1-amd64", "latest-amd64", "latest-arm64", "1", "latest"}

// workspace has released its old content already.
func (r *crashRig) workspace(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("crash%d", r.runs.Add(1)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := `variable "CONTENT" {}
target "app" {
  platforms         = ["linux/amd64", "linux/arm64"]
  tags              = ["` + r.proxy.host + `/` + filepath.Base(dir) + `:1", "` + r.proxy.host + `/` + filepath.Base(dir) + `:latest"]
  labels            = { content = CONTENT }
  dockerfile-inline = "FROM scratch\nCOPY file /file"
}
`
	for file, content := range map[string]string{"targets.hcl": text, "file": "content"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.mustRelease(t, dir, "old")
	return dir
}

func (r *crashRig) command(dir, content string) *exec.Cmd {
	cmd := exec.Command(r.binary, "release")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUILDKIT_HOST="+r.worker, "CONTENT="+content, "SOURCE_DATE_EPOCH=1700000000", "HOME="+dir)
	return cmd
}

func (r *crashRig) mustRelease(t *testing.T, dir, content string) string {
	t.Helper()
	out, err := r.command(dir, content).CombinedOutput()
	if err != nil {
		t.Fatalf("releasing %s: %v\n%s", content, err, out)
	}
	return string(out)
}

// tags reads what the tags of a workspace name.
func (r *crashRig) tags(dir string) map[string]string {
	out := map[string]string{}
	for _, tag := range crashTags {
		req, err := http.NewRequest(http.MethodHead, "http://"+r.proxy.host+"/v2/"+filepath.Base(dir)+"/manifests/"+tag, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
		resp, err := registrytest.HTTP.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
			r.t.Fatalf("reading tag %s: %s %v", tag, resp.Status, resp.Header)
		}
		out[tag] = resp.Header.Get("Docker-Content-Digest")
	}
	return out
}

// victim is a release to be killed, at once if it already lives.
type victim struct {
	mu      sync.Mutex
	process *os.Process
	killed  bool
}

func (v *victim) start(cmd *exec.Cmd) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	v.process = cmd.Process
	if v.killed {
		return v.process.Kill()
	}
	return nil
}

func (v *victim) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.killed = true
	if v.process != nil {
		_ = v.process.Kill()
	}
}

// crash kills a release of new content; the next one is of the content then.
func (r *crashRig) crash(t *testing.T, wants map[string]map[string]string, then string, arm func(dir string, v *victim) (disarm func())) {
	want := wants["new"]
	dir := r.workspace(t)
	old := r.tags(dir)
	cmd := r.command(dir, "new")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	v := &victim{}
	disarm := arm(dir, v)
	if err := v.start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, or through before the moment came
	disarm()

	// Between the ranks of the order, either all have moved or none.
	ranks := [][]string{crashTags[:4], {"1"}, {"latest"}}
	got := r.tags(dir)
	moved, rest := true, false
	for _, rank := range ranks {
		for _, tag := range rank {
			switch got[tag] {
			case want[tag]:
				if rest {
					t.Errorf("tag %s has moved before those of an earlier rank:\n%s", tag, said.String())
				}
			case old[tag]:
				moved = false
			default:
				t.Errorf("tag %s names %s, which is neither old nor new", tag, got[tag])
			}
		}
		rest = rest || !moved
	}
	finished := finishedChildren(t, dir)
	// A process may die in the middle of a write, which no test can time.
	for _, half := range []string{"releases/.tmp-20231114T221320Z-000000.json-1", "layout/.tmp-index.json1"} {
		path := filepath.Join(dir, ".archmage", half)
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := r.mustRelease(t, dir, then)
	if end := r.tags(dir); fmt.Sprint(end) != fmt.Sprint(wants[then]) {
		t.Errorf("after the next release the tags are\n%v\nwant\n%v", end, wants[then])
	}
	if then != "new" {
		r.checkRollback(t, dir, old, want)
	} else if finished > 0 && !strings.Contains(again, fmt.Sprintf("kept %d of 2 builds", finished)) {
		t.Errorf("%d builds were finished, but the next release did not keep them:\n%s", finished, again)
	}
	if left := partialFiles(t, dir); len(left) > 0 {
		t.Errorf("partial files are left: %v", left)
	}
}

// checkRollback undoes the release that came after the killed one: what is
// there then was published whole, by the release before, or by the killed one if
// it had moved all its tags.
func (r *crashRig) checkRollback(t *testing.T, dir string, old, killed map[string]string) {
	t.Helper()
	cmd := r.command(dir, "newer")
	cmd.Args[1] = "rollback"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rolling back: %v\n%s", err, out)
	}
	if end := fmt.Sprint(r.tags(dir)); end != fmt.Sprint(old) && end != fmt.Sprint(killed) {
		t.Errorf("rolled back to a set that was never released:\n%v\nold\n%v\nkilled\n%v", end, old, killed)
	}
}

// finishedChildren counts the builds in the newest record of new content.
func finishedChildren(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, ".archmage", "releases", "*.json"))
	if err != nil || len(files) < 2 {
		return 0 // killed before the second record was there
	}
	data, err := os.ReadFile(slices.Max(files))
	if err != nil {
		t.Fatal(err)
	}
	var rec struct {
		Targets []struct{ Children []struct{ Digest string } }
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		t.Fatalf("the record is not whole: %v\n%s", err, data)
	}
	return len(rec.Targets[0].Children)
}

func partialFiles(t *testing.T, dir string) []string {
	t.Helper()
	var left []string
	err := filepath.WalkDir(filepath.Join(dir, ".archmage"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if (strings.HasPrefix(name, ".") && name != ".archmage" && name != ".gitignore" && name != ".lock") || strings.Contains(name, ".tmp") || name == "tmp" {
			left = append(left, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// countingProxy stands between everybody and the registry.
type countingProxy struct {
	host string

	mu   sync.Mutex
	n    int
	at   int
	kill func()
}

func newCountingProxy(t *testing.T, registry string) *countingProxy {
	t.Helper()
	p := &countingProxy{}
	forward := &httputil.ReverseProxy{Transport: registrytest.HTTP.Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: registry})
		r.Out.Host = r.In.Host // the registry names itself in redirects
	}}
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		w.Header().Set("Why", err.Error())
		w.WriteHeader(http.StatusBadGateway)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.n++
		if p.kill != nil && p.n == p.at {
			p.kill()
		}
		p.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.host = strings.TrimPrefix(s.URL, "http://")
	return p
}

func (p *countingProxy) count(do func()) int {
	p.mu.Lock()
	p.n = 0
	p.mu.Unlock()
	do()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *countingProxy) killAt(at int, v *victim) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.at = 0, at
	p.kill = v.kill
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.kill = nil
	}
}

// killAtWrite kills v when the nth file has been put into dir.
func killAtWrite(t *testing.T, dir string, nth int, v *victim) func() {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		seen := 0
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			for off := 0; off+unix.SizeofInotifyEvent <= n; {
				length := int(buf[off+12]) | int(buf[off+13])<<8
				off += unix.SizeofInotifyEvent + length
				seen++
				if seen == nth {
					v.kill()
				}
			}
		}
	}()
	return func() {
		_ = f.Close()
		<-done
	}
}
