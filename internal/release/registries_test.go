package release

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/ui"
)

// failing is a registry that fails at one request, or from one on, counted from
// the moment it is armed.
type failing struct {
	host string

	mu    sync.Mutex
	inner http.Handler
	n     int
	at    int // 0 for never
	down  bool
}

func (f *failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.n++
	fails := f.at > 0 && (f.n == f.at || f.down && f.n > f.at)
	f.mu.Unlock()
	if fails {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	f.inner.ServeHTTP(w, r)
}

func (f *failing) arm(at int, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.at, f.down = 0, at, down
}

func (f *failing) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// pair is two registries that one target is released to.
type pair struct {
	t          testing.TB
	registries [2]*failing
	dir        string
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{t: t, dir: t.TempDir()}
	for i := range p.registries {
		f := &failing{}
		server := httptest.NewUnstartedServer(f)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		t.Cleanup(server.Close)
		f.host = strings.TrimPrefix(server.URL, "http://")
		p.registries[i] = f
	}
	p.empty()
	text := fmt.Sprintf("target \"app\" {\n  context = \".\"\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  tags = [\"%s/app:1\", \"%[1]s/app:latest\", \"%[2]s/mirror/app:1\", \"%[2]s/mirror/app:latest\"]\n}\n", p.registries[0].host, p.registries[1].host)
	for file, content := range map[string]string{"targets.hcl": text, "Dockerfile": "FROM scratch\n"} {
		if err := os.WriteFile(filepath.Join(p.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// empty takes everything out of the registries and the workspace.
func (p *pair) empty() {
	for _, f := range p.registries {
		f.mu.Lock()
		f.inner, f.at = ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)), 0
		f.mu.Unlock()
	}
	if err := os.RemoveAll(filepath.Join(p.dir, journal.Dir)); err != nil {
		p.t.Fatal(err)
	}
}

// tags are what all tags point to, as the registries say behind the faults.
func (p *pair) tags() journal.Tags {
	out := journal.Tags{}
	for i, repo := range []string{"app", "mirror/app"} {
		f := p.registries[i]
		for _, tag := range []string{"1", "1-amd64", "1-arm64", "latest", "latest-amd64", "latest-arm64"} {
			answer := httptest.NewRecorder()
			f.inner.ServeHTTP(answer, httptest.NewRequest(http.MethodHead, "http://"+f.host+"/v2/"+repo+"/manifests/"+tag, nil))
			d := digest.Digest("")
			if answer.Code == http.StatusOK {
				d = digest.Digest(answer.Header().Get("Docker-Content-Digest"))
			}
			out[f.host+"/"+repo+":"+tag] = d
		}
	}
	return out
}

// release is a whole one of the given content, but for building, inspecting and
// proving.
func (p *pair) release(content string) (said string, err error) {
	var children []*journal.Child
	repo := p.registries[0].host + "/app"
	armed := p.registries[0].at
	p.registries[0].mu.Lock()
	p.registries[0].at = 0
	p.registries[0].mu.Unlock()
	for _, arch := range []string{"amd64", "arm64"} {
		img := registrytest.Push(p.t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: arch}, Author: content}})
		children = append(children, &journal.Child{Platform: "linux/" + arch, Repository: repo, Digest: img.Pushed.Digest, MediaType: img.Pushed.MediaType, Size: img.Pushed.Size})
	}
	p.registries[0].arm(armed, p.registries[0].down)
	streams, out, errs := ui.Buffers(ui.Traits{Width: 200})
	ws, err := Open(p.dir, streams, []string{"HOME=" + p.dir})
	if err != nil {
		p.t.Fatal(err)
	}
	client, err := registry.New(nil, registry.Options{Attempts: 1, Backoff: time.Millisecond, Jobs: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	_, pl, err := ws.Load(Selection{})
	if err == nil {
		err = ws.journal.Make()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	err = releaseChildren(p.t.Context(), ws, pl, client, children, false)
	ws.status.Close()
	said = errs.String() + out.String()
	if err != nil {
		said += err.Error()
	}
	return said, err
}

// A target in two registries (sampled; -kill-step=1 tries each request): whichever
// request of whichever of them fails, once or from then on, the tags of both are those of one release, or the ones that
// could not be put back are named; and the next run makes all of them its own.
func TestRegistriesFailInTurn(t *testing.T) {
	t.Parallel()
	for which, name := range []string{"the first", "the second"} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, for good %t", name, down), func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				f := p.registries[which]
				failures, halves := 0, 0
				for at := 1 + which; ; at += *killStep {
					p.empty()
					if said, err := p.release("old"); err != nil {
						t.Fatalf("%v: %s", err, said)
					}
					old := p.tags()
					f.arm(at, down)
					said, err := p.release("new")
					if at > f.requests() {
						break // there are no more
					}
					f.arm(0, false)
					after := p.tags()
					moved := 0
					for tag, d := range after {
						if d != old[tag] {
							moved++
						}
					}
					switch {
					case err == nil && moved != len(after):
						t.Errorf("request %d: it ended well with %d of %d tags moved: %s", at, moved, len(after), said)
					case err != nil && moved > 0 && moved < len(after):
						halves++
						if left := unnamed(old, after, said); len(left) > 0 || !down {
							t.Errorf("request %d: two releases are named, and not told of: %q: %s", at, left, said)
						}
					}
					if err != nil {
						failures++
					}
					if said, err := p.release("new"); err != nil {
						t.Fatalf("request %d: the next run failed: %v: %s", at, err, said)
					}
					for tag, d := range p.tags() {
						if d == "" || d == old[tag] {
							t.Errorf("request %d: after the next run %s points to %q still", at, tag, d)
						}
					}
				}
				if failures == 0 {
					t.Error("nothing failed")
				}
				t.Logf("%d requests made a release fail, %d left tags that were named", failures, halves)
			})
		}
	}
}
