package index_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// asked are the platforms of the sample, in an order that is not lexical.
var asked = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"}

func newClient(t testing.TB) *registry.Client {
	t.Helper()
	client, err := registry.New(nil, registry.Options{Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func platform(t testing.TB, text string) ocispecs.Platform {
	t.Helper()
	p, err := platforms.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return platforms.Normalize(p)
}

func parse(t testing.TB, texts []string) []ocispecs.Platform {
	t.Helper()
	var ps []ocispecs.Platform
	for _, text := range texts {
		ps = append(ps, platform(t, text))
	}
	return ps
}

// built pushes an image for each platform as BuildKit would and returns them
// as children, in reverse order: Assemble has to sort.
func built(t testing.TB, repo string, texts []string, attested bool) ([]index.Child, map[string]registrytest.Image) {
	t.Helper()
	var children []index.Child
	images := map[string]registrytest.Image{}
	for _, text := range texts {
		p := platform(t, text)
		image := registrytest.Push(t, repo, registrytest.Spec{
			Config:   ocispecs.Image{Platform: p},
			Layers:   [][]byte{[]byte("shared"), []byte("binary for " + text)},
			Attested: attested,
		})
		images[text] = image
		children = append(children, index.Child{Repository: repo, Digest: image.Pushed.Digest, Platform: p})
	}
	slices.Reverse(children)
	return children, images
}

func assembled(t testing.TB, client *registry.Client, dir, repo string, attested bool) (*index.Draft, map[string]registrytest.Image) {
	t.Helper()
	children, images := built(t, repo, asked, attested)
	d, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, asked), Children: children})
	if err != nil {
		t.Fatal(err)
	}
	return d, images
}

// requests counts what reaches a registry.
type requests struct {
	mu   sync.Mutex
	seen []string
}

func (r *requests) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		next.ServeHTTP(w, req)
	})
}

func (r *requests) reset() { r.mu.Lock(); defer r.mu.Unlock(); r.seen = nil }

func (r *requests) matching(method, part string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, s := range r.seen {
		if strings.HasPrefix(s, method+" ") && strings.Contains(s, part) {
			found = append(found, s)
		}
	}
	return found
}

func TestFromDraftToTags(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var traffic requests
	host := registrytest.Serve(t, traffic.wrap)
	client, dir, repo := newClient(t), t.TempDir(), host+"/hello"

	d, images := assembled(t, client, dir, repo, true)
	if len(d.Index.Manifests) != 8 {
		t.Fatalf("the index has %d entries, not 4 images and 4 attestations", len(d.Index.Manifests))
	}
	for i, text := range asked {
		child, att := d.Index.Manifests[2*i], d.Index.Manifests[2*i+1]
		if child.Digest != images[text].Manifest.Digest || platforms.Format(*child.Platform) != text {
			t.Errorf("entry %d is %s %s, want %s %s", 2*i, platforms.Format(*child.Platform), child.Digest, text, images[text].Manifest.Digest)
		}
		if diff := cmp.Diff(images[text].Attestation, att); diff != "" {
			t.Errorf("the attestation of %s changed (-built +draft):\n%s", text, diff)
		}
	}

	title := index.Annotation{Level: index.LevelIndex, Key: ocispecs.AnnotationTitle, Value: "hello"}
	d, err := index.Annotate(dir, "hello", []index.Annotation{title}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Index.Annotations[ocispecs.AnnotationTitle] != "hello" {
		t.Error("the annotation is not in the draft")
	}

	other := host + "/mirror"
	tags := []string{repo + ":latest", repo + ":1.2", other + ":1.2"}
	repos, err := index.Repositories(tags)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{repo, other}, repos); diff != "" {
		t.Fatal(diff)
	}
	if err := index.Upload(ctx, client, d, repos); err != nil {
		t.Fatal(err)
	}
	for _, r := range repos {
		desc, raw, err := client.Manifest(ctx, r+"@"+d.Descriptor.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if string(raw) != string(d.Raw) || desc.MediaType != ocispecs.MediaTypeImageIndex {
			t.Errorf("%s: the index arrived changed", r)
		}
		for _, child := range d.Index.Manifests {
			if _, err := client.Head(ctx, r+"@"+child.Digest.String()); err != nil {
				t.Error(err)
			}
		}
	}

	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: tags}}, "{tag}-{arch}{variant}")
	if err != nil {
		t.Fatal(err)
	}
	traffic.reset()
	var noted []journal.Move
	moves, err = index.Promote(ctx, client, moves, index.Promotion{Begin: func(m []journal.Move) error {
		noted = m
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	puts := traffic.matching(http.MethodPut, "/manifests/")
	if want := 3 * 5; len(puts) != want || len(noted) != want {
		t.Errorf("%d writes and %d journal entries, want %d", len(puts), len(noted), want)
	}
	if last := puts[len(puts)-1]; !strings.HasSuffix(last, "/hello/manifests/latest") {
		t.Errorf("the last write is %s, want latest", last)
	}
	for _, put := range puts[:12] {
		if !strings.Contains(put, "-") {
			t.Errorf("%s is before the tags of one architecture are done", put)
		}
	}
	if err := index.Verify(ctx, client, moves); err != nil {
		t.Error(err)
	}
	v6, err := client.Head(ctx, repo+":1.2-armv6")
	if err != nil {
		t.Fatal(err)
	}
	if v6.Digest != images["linux/arm/v6"].Manifest.Digest {
		t.Errorf("1.2-armv6 is %s, not the image itself", v6.Digest)
	}

	// All of it once more writes nothing.
	traffic.reset()
	if err := index.Upload(ctx, client, d, repos); err != nil {
		t.Fatal(err)
	}
	if heads := traffic.matching(http.MethodHead, "/manifests/"); len(heads) != 2*(8+1) {
		t.Errorf("an upload of what is there asks %d times, want one a manifest and repository, 18", len(heads))
	}
	again, err := index.Promote(ctx, client, moves, index.Promotion{Begin: func([]journal.Move) error {
		t.Error("a second promotion begins to write")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range again {
		if m.Previous != m.Digest {
			t.Errorf("%s: previous is %q after the promotion", m.Tag, m.Previous)
		}
	}
	if puts := traffic.matching(http.MethodPut, ""); len(puts) != 0 {
		t.Errorf("a second run wrote %q", puts)
	}
}

// TestLargeIndex counts the requests of an index of many children, of which
// nothing has to be copied.
func TestLargeIndex(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	var traffic requests
	repo := registrytest.Serve(t, traffic.wrap) + "/many"
	const n = 500
	a := index.Assembly{Target: "many"}
	for i := range n {
		p := ocispecs.Platform{OS: "linux", Architecture: "riscv64", Variant: fmt.Sprintf("x%d", i)}
		image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: p}})
		a.Platforms = append(a.Platforms, p)
		a.Children = append(a.Children, index.Child{Repository: repo, Digest: image.Pushed.Digest, Platform: p})
	}
	count := func() int {
		traffic.mu.Lock()
		defer traffic.mu.Unlock()
		n := len(traffic.seen)
		traffic.seen = nil
		return n
	}
	count()
	const few = 10 // greetings, the index itself
	together := 0
	for _, step := range []struct {
		name     string
		perChild int
		do       func() error
	}{
		{"assemble", 2, func() error { _, err := index.Assemble(ctx, client, dir, a); return err }},
		{"assemble again", 1, func() error { _, err := index.Assemble(ctx, client, dir, a); return err }},
		{"upload", 0, func() error {
			d, err := index.Open(dir, "many")
			if err != nil {
				return err
			}
			return index.Upload(ctx, client, d, []string{repo})
		}},
		{"upload again, in another process", 1, func() error {
			d, err := index.Open(dir, "many")
			if err != nil {
				return err
			}
			return index.Upload(ctx, newClient(t), d, []string{repo})
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		asked := count()
		if step.name == "assemble" || step.name == "upload" {
			together += asked
		}
		if asked > n*step.perChild+few {
			t.Errorf("%s: %d requests for %d children, want at most %d each", step.name, asked, n, step.perChild)
		}
	}
	if together > 2*n+2*few {
		t.Errorf("assembled and uploaded with %d requests for %d children, want at most 2 each", together, n)
	}
}
