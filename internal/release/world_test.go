package release

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/ui"
)

// world is a registry in memory and the clones that release into it. Only
// building, inspecting and proving are left out of their releases: journal,
// drafts, uploads, promotions and attached records are the real ones, and so is
// the client. A run can be killed at any request and any write of a record:
// nothing that it does after that has an effect, as with kill -9.
type world struct {
	t    testing.TB
	host string
	// noRemoval has a registry that removes no tags; referrers has one with the
	// referrers API.
	noRemoval bool
	plans     map[string]*plan.Plan
	// jobs bounds the requests at a time, 0 as in a release. With 1 it depends on
	// nothing but the schedule what a kill leaves.
	jobs int

	server  *httptest.Server
	mu      sync.Mutex
	handler http.Handler // replaced for each schedule
	runs    map[string]*run
	serial  int
}

// run is one process, told apart by its user agent.
type run struct {
	mu     sync.Mutex
	name   string
	events int
	moves  int // of the events, those that write or remove a tag
	// at is the event that ends the process, or that hook is called at; before
	// or after it has its effect. A negative one counts moves only.
	at    int
	after bool
	hook  func()
	dead  bool
	busy  sync.WaitGroup // what was under way when it died still arrives
}

var errKilled = errors.New("killed")

// event counts one; act has the effect.
func (r *run) event(move bool, act func() error) error {
	r.mu.Lock()
	if r.dead {
		r.mu.Unlock()
		return errKilled
	}
	r.busy.Add(1)
	defer r.busy.Done()
	r.events++
	now := r.events == r.at
	if move {
		r.moves++
		now = now || r.moves == -r.at
	}
	hook := r.hook
	r.dead = now && hook == nil
	r.mu.Unlock()
	switch {
	case now && hook != nil:
		hook()
		return act()
	case now && !r.after:
		return errKilled
	case now:
		_ = act() // done, and nobody hears of it
		return errKilled
	}
	return act()
}

// files are a run's records.
type files struct{ *run }

func (f files) Replace(path string, data []byte) error {
	return f.event(false, func() error {
		tmp := path + "~" // no fsync: the machine is not switched off here
		if err := os.WriteFile(tmp, data, 0o600); err != nil {
			return err
		}
		return os.Rename(tmp, path)
	})
}

func (f files) Remove(path string) error {
	return f.event(false, func() error { return os.Remove(path) })
}

// newWorld serves a registry for as many schedules as there will be.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, runs: map[string]*run{}, plans: map[string]*plan.Plan{}}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.host = strings.TrimPrefix(w.server.URL, "http://")
	w.reset(true, false)
	for _, version := range []string{"1", "2"} {
		dir := t.TempDir()
		text := fmt.Sprintf("target \"app\" {\n  context = \".\"\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  tags = [\"%[1]s/app:%[2]s\", \"%[1]s/app:latest\"]\n}\n", w.host, version)
		for file, content := range map[string]string{"targets.hcl": text, "Dockerfile": "FROM scratch\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		streams, _, _ := ui.Buffers(ui.Traits{})
		ws, err := Open(dir, streams, []string{"HOME=" + dir})
		if err != nil {
			t.Fatal(err)
		}
		_, p, err := ws.Load(Selection{})
		if err != nil {
			t.Fatal(err)
		}
		w.plans[version] = p
	}
	return w
}

// reset empties the registry.
func (w *world) reset(referrers, noRemoval bool) {
	registrytest.HTTP.CloseIdleConnections()
	w.server.CloseClientConnections() // those of clients that are gone
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers))
	w.noRemoval = noRemoval
	w.runs = map[string]*run{}
}

func (w *world) serve(rw http.ResponseWriter, req *http.Request) {
	w.mu.Lock()
	handler := w.handler
	name, _, _ := strings.Cut(req.Header.Get("User-Agent"), " ")
	r := w.runs[name]
	refuse := w.noRemoval && req.Method == http.MethodDelete
	w.mu.Unlock()
	if r == nil {
		handler.ServeHTTP(rw, req)
		return
	}
	answer := httptest.NewRecorder()
	err := r.event(writesTag(req), func() error {
		if refuse {
			answer.WriteHeader(http.StatusMethodNotAllowed)
			return nil
		}
		handler.ServeHTTP(answer, req)
		return nil
	})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(rw.Header(), answer.Header())
	rw.WriteHeader(answer.Code)
	_, _ = rw.Write(answer.Body.Bytes())
}

// writesTag tells requests that write or remove a tag.
func writesTag(req *http.Request) bool {
	tag := path.Base(req.URL.Path)
	return (req.Method == http.MethodPut || req.Method == http.MethodDelete) &&
		path.Base(path.Dir(req.URL.Path)) == "manifests" && slices.Contains(worldTags, tag)
}

// direct asks the registry without anybody counting it.
func (w *world) direct(method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://"+w.host+path, bytes.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, req)
	return answer
}

var worldTags = []string{"1", "1-amd64", "1-arm64", "2", "2-amd64", "2-arm64", "latest", "latest-amd64", "latest-arm64"}

// tags are what all tags point to.
func (w *world) tags() journal.Tags {
	out := journal.Tags{}
	for _, tag := range worldTags {
		answer := w.direct(http.MethodHead, "/v2/app/manifests/"+tag, "", nil)
		d := digest.Digest("")
		if answer.Code == http.StatusOK {
			d = digest.Digest(answer.Header().Get("Docker-Content-Digest"))
		}
		out[w.host+"/app:"+tag] = d
	}
	return out
}

// foreign has somebody else point a tag to something of their own.
func (w *world) foreign(tag string, n int) digest.Digest {
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"foreign":"%d"}}`, ocispecs.MediaTypeImageIndex, n)
	w.direct(http.MethodPut, "/v2/app/manifests/"+tag, ocispecs.MediaTypeImageIndex, raw)
	return digest.FromBytes(raw)
}

// clone is a workspace with its own journal.
type clone struct {
	*world
	dir   string
	hooks []Hook
}

func (w *world) clone() *clone {
	parent := w.t.TempDir()
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "archmage-world"); err == nil {
			parent = dir
			w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
		}
	}
	return &clone{world: w, dir: parent}
}

// remove removes it, when its schedule is over.
func (c *clone) remove() { _ = os.RemoveAll(c.dir) }

// forget loses the workstation.
func (c *clone) forget() { _ = os.RemoveAll(filepath.Join(c.dir, journal.Dir)) }

// ended is how a run ended.
type ended struct {
	// said is all that a user sees: stderr, stdout and the error.
	said   string
	err    error
	killed bool
	events int
}

// do runs something in a process of its own, to be killed at an event, or with
// a hook there; 0 means neither.
func (c *clone) do(at int, after bool, hook func(), do func(context.Context, *Workspace, *registry.Client) error) ended {
	c.mu.Lock()
	c.serial++
	r := &run{name: fmt.Sprintf("run%d", c.serial), at: at, after: after, hook: hook}
	c.runs[r.name] = r
	c.mu.Unlock()
	streams, out, errs := ui.Buffers(ui.Traits{Width: 200})
	ws, err := Open(c.dir, streams, []string{"HOME=" + c.dir})
	if err != nil {
		c.t.Fatal(err)
	}
	ws.journal.Files, ws.Hooks = files{r}, c.hooks
	client, err := registry.New(nil, registry.Options{Attempts: 1, Backoff: time.Millisecond, UserAgent: r.name, Jobs: c.jobs})
	if err != nil {
		c.t.Fatal(err)
	}
	err = ws.journal.Make()
	if err == nil {
		err = do(c.t.Context(), ws, client)
	}
	r.busy.Wait()
	ws.status.Close()
	said := errs.String() + out.String()
	if err != nil {
		said += err.Error()
	}
	return ended{said: said, err: err, killed: r.dead, events: r.events}
}

// release is a whole one of the given content.
func (c *clone) release(version, content string, force bool, at int, after bool, hook func()) ended {
	p := c.plans[version]
	var children []*journal.Child
	for _, arch := range []string{"amd64", "arm64"} {
		img := registrytest.Push(c.t, c.host+"/app", registrytest.Spec{
			Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: arch}, Author: content},
		})
		children = append(children, &journal.Child{Platform: "linux/" + arch, Repository: c.host + "/app", Digest: img.Pushed.Digest, MediaType: img.Pushed.MediaType, Size: img.Pushed.Size})
	}
	return c.do(at, after, hook, func(ctx context.Context, ws *Workspace, client *registry.Client) error {
		return releaseChildren(ctx, ws, p, client, children, force)
	})
}

// releaseChildren is a release of what was built, of which only building, inspecting
// and proving are left out.
func releaseChildren(ctx context.Context, ws *Workspace, p *plan.Plan, client *registry.Client, children []*journal.Child, force bool) error {
	if err := ws.closeOpen(ctx, p, client); err != nil {
		return err
	}
	r, err := ws.begin(p, nil, false)
	if err != nil {
		return err
	}
	if err := ws.readBefore(ctx, p, client, r); err != nil {
		return err
	}
	if err := r.Save(); err != nil {
		return err
	}
	for _, child := range children {
		r.Target("app").Put(child, []string{"linux/amd64", "linux/arm64"})
		if err := r.Save(); err != nil {
			return err
		}
	}
	if err := r.Advance(journal.Built); err != nil {
		return err
	}
	if err := ws.assemble(ctx, p, client, r); err != nil {
		return err
	}
	tr := r.Target("app")
	tr.Inspected = &journal.Check{Index: tr.Index, Passed: true}
	if err := r.Advance(journal.Assembled); err != nil {
		return err
	}
	return ws.publish(ctx, p, client, r, PushOptions{Force: force}, true)
}

func (c *clone) rollback(version, to string, force bool, at int, after bool) ended {
	p := c.plans[version]
	return c.do(at, after, nil, func(ctx context.Context, ws *Workspace, client *registry.Client) error {
		return ws.rollback(ctx, p, client, RollbackOptions{To: to, Force: force})
	})
}

// records reads the clone's journal.
func (c *clone) records() map[string]*journal.Record {
	out := map[string]*journal.Record{}
	all, err := journal.Open(filepath.Join(c.dir, journal.Dir)).All(func(id string, err error) { c.t.Errorf("record %s: %v", id, err) })
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range all {
		out[r.ID] = r
	}
	return out
}

// unnamed lists the tags that differ, and that what was said does not name.
func unnamed(want, got journal.Tags, said string) []string {
	var out []string
	for _, tag := range slices.Sorted(maps.Keys(got)) {
		if got[tag] != want[tag] && !strings.Contains(said, tag+" ") && !strings.Contains(said, tag+"\"") && !strings.Contains(said, tag+" (") && !strings.Contains(said, tag+"\n") {
			out = append(out, fmt.Sprintf("%s points to %.19s, not %.19s", tag, got[tag], want[tag]))
		}
	}
	return out
}

// newest is the newest record of the clone.
func (c *clone) newest() *journal.Record {
	all := c.records()
	return all[slices.Max(slices.Collect(maps.Keys(all)))]
}

// damageNewest cuts the newest record.
func (c *clone) damageNewest(t *testing.T) {
	t.Helper()
	newest := slices.Max(slices.Collect(maps.Keys(c.records())))
	if err := os.WriteFile(filepath.Join(c.dir, journal.Dir, "releases", newest+".json"), []byte(`{"schema":2,"step":"promo`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// go test ./internal/release -kill-step=1 kills at every request and write.
var killStep = flag.Int("kill-step", 7, "kill at every so manyth request and write")
