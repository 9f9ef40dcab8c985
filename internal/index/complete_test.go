package index_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// loser stands before a registry that has lost, or broken, one part.
type loser struct {
	mu    sync.Mutex
	part  string // a digest
	how   string
	heads int
}

func (l *loser) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		hit, how := l.part != "" && strings.HasSuffix(r.URL.Path, l.part) && r.Method != http.MethodPut, l.how
		if r.Method == http.MethodHead {
			l.heads++
		}
		l.mu.Unlock()
		switch {
		case hit && how == "gone":
			w.WriteHeader(http.StatusNotFound)
		case hit && how == "down":
			w.WriteHeader(http.StatusInternalServerError)
		case hit && how == "another size" && r.Method == http.MethodHead:
			w.Header().Set("Content-Length", "12345")
		case hit && how == "no HEAD" && r.Method == http.MethodHead:
			w.WriteHeader(http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (l *loser) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heads
}

func (l *loser) lose(part, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part, l.how = part, how
}

// Each part of an index of two attested images is lost in turn, in each way.
func TestComplete(t *testing.T) {
	t.Parallel()
	l := &loser{}
	repo := registrytest.Serve(t, l.wrap) + "/app"
	fresh := func() *registry.Client { // remembers nothing
		c, err := registry.New(nil, registry.Options{Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var images []ocispecs.Descriptor
	for _, name := range []string{"linux/amd64", "linux/arm/v6"} {
		image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: platform(t, name)}, Layers: [][]byte{[]byte("base"), []byte(name)}, Attested: true})
		images = append(images, image.Pushed)
	}
	top := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: images})
	manifests, blobs := parts(t, fresh(), repo, top)
	if len(manifests) != 7 || len(blobs) != 11 { // top, two indexes of two; two configs, three layers, and of attestations two configs, four statements
		t.Fatalf("%d manifests and %d blobs", len(manifests), len(blobs))
	}
	check := func(c *registry.Client, what string, want bool) {
		t.Helper()
		if got, err := index.Complete(t.Context(), c, repo, top); err != nil || got != want {
			t.Errorf("%s: %t, %v; want %t", what, got, err, want)
		}
	}
	// First, before requests that are given up can arrive late.
	c := fresh()
	check(c, "nothing lost", true)
	once := l.asked()
	check(c, "nothing lost, asked twice", true)
	if twice := l.asked(); once > len(blobs) || twice != once {
		t.Errorf("%d, then %d questions for %d blobs", once, twice-once, len(blobs))
	}
	for part := range manifests {
		l.lose(part, "gone")
		check(fresh(), "without the manifest "+part, false)
	}
	for part := range blobs {
		for how, want := range map[string]bool{"gone": false, "another size": false, "no HEAD": true} {
			l.lose(part, how)
			check(fresh(), how+": "+part, want)
		}
		l.lose(part, "down")
		if ok, err := index.Complete(t.Context(), fresh(), repo, top); err == nil || ok {
			t.Errorf("down: %t, %v", ok, err)
		}
	}
	l.lose("", "")
	top.Size++
	check(fresh(), "another size than stated", false)
}

// parts lists what an index is made of, by digest.
func parts(t *testing.T, client *registry.Client, repo string, desc ocispecs.Descriptor) (manifests, blobs map[string]bool) {
	t.Helper()
	manifests, blobs = map[string]bool{}, map[string]bool{}
	var visit func(d ocispecs.Descriptor)
	visit = func(d ocispecs.Descriptor) {
		_, raw, err := client.Manifest(t.Context(), repo+"@"+d.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		manifests[d.Digest.String()] = true
		var m struct {
			Config    *ocispecs.Descriptor
			Layers    []ocispecs.Descriptor
			Manifests []ocispecs.Descriptor
		}
		unmarshal(t, raw, &m)
		for _, below := range m.Manifests {
			visit(below)
		}
		if m.Config != nil {
			blobs[m.Config.Digest.String()] = true
		}
		for _, layer := range m.Layers {
			blobs[layer.Digest.String()] = true
		}
	}
	visit(desc)
	return manifests, blobs
}

func unmarshal(t *testing.T, raw []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}
