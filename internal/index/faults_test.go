package index_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// go test ./internal/index -run TestFaults -faults=1000 is the full size.
var (
	faultCount = flag.Int("faults", 100, "how many faults TestFaults injects, over a tenth as many releases")
	faultSeed  = flag.Uint64("faultseed", 1, "what TestFaults draws them from")
)

// TestFaults releases through a proxy that fails at random. Each release ends
// right, or with the registry's error and the old tags.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]func(*testing.T) http.Handler{"in memory": memory, "distribution": distribution} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			releaseWithFaults(t, handler(t))
		})
	}
}

func memory(*testing.T) http.Handler { return ggcr.New(ggcr.Logger(quiet)) }

// distribution is the real registry.
func distribution(t *testing.T) http.Handler {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: embeddedtest.Registry(t)})
	proxy.ErrorLog = quiet
	proxy.ModifyResponse = func(r *http.Response) error { // an upload goes on through here
		if at, err := url.Parse(r.Header.Get("Location")); err == nil && at.Path != "" {
			at.Scheme, at.Host = "", ""
			r.Header.Set("Location", at.String())
		}
		return nil
	}
	return proxy
}

func releaseWithFaults(t *testing.T, handler http.Handler) {
	t.Helper()
	faulty := &registrytest.Faulty{Rand: rand.New(rand.NewPCG(*faultSeed, 2)), Every: 9, Faults: registrytest.AllFaults}
	clean, broken := faultyHosts(t, faulty, handler)
	right, wrong := 0, 0
	releases := max(10, *faultCount/10)
	for i := range releases {
		// Each release has its share, so that none is left without.
		faulty.Allow((i + 1) * *faultCount / releases)
		if faultyRelease(t, clean, broken, i) {
			right++
		} else {
			wrong++
		}
		if t.Failed() {
			break
		}
	}
	// Releases that met few requests leave faults over.
	for i := releases; !t.Failed(); i++ {
		if total, _ := faulty.Injected(); total >= *faultCount {
			break
		}
		if faultyRelease(t, clean, broken, i) {
			right++
		} else {
			wrong++
		}
	}
	total, kinds := faulty.Injected()
	t.Logf("%d faults %v: %d releases ended right, %d with old tags", total, kinds, right, wrong)
	if right == 0 {
		t.Error("no release ended right")
	}
}

// faultyHosts serves one registry twice, once with faults before it.
func faultyHosts(t *testing.T, faulty *registrytest.Faulty, handler http.Handler) (clean, broken string) {
	t.Helper()
	for _, host := range []*string{&clean, &broken} {
		h := handler
		if host == &broken {
			h = faulty.Wrap(handler)
		}
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = quiet
		server.Start()
		t.Cleanup(server.Close)
		*host = strings.TrimPrefix(server.URL, "http://")
	}
	return clean, broken
}

// faultyRelease does one release through the broken host and checks its end
// through the clean one. It returns whether the release ended right.
func faultyRelease(t *testing.T, clean, broken string, n int) bool {
	t.Helper()
	ctx := t.Context()
	name := fmt.Sprintf("/r%d", n)
	old := registrytest.Put(t, clean+name, "latest", ocispecs.MediaTypeImageIndex, fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[],"annotations":{"n":"%d"}}`, n))
	children, _ := built(t, clean+name+"/parts", asked[:3], n%2 == 0)
	for i := range children {
		children[i].Repository = broken + name + "/parts"
	}
	client := newClient(t)
	dir := t.TempDir()
	tags := []string{broken + name + ":latest", broken + name + ":1"}
	var moves []journal.Move
	release := func(ctx context.Context) error {
		d, err := index.Assemble(ctx, client, dir, index.Assembly{Target: "hello", Platforms: parse(t, asked[:3]), Children: children})
		if err != nil {
			return err
		}
		if err := index.Upload(ctx, client, d, []string{broken + name}); err != nil {
			return err
		}
		planned, err := index.Moves([]index.Tagging{{Draft: d, Tags: tags}}, "{tag}-{arch}{variant}")
		if err != nil {
			return err
		}
		found, err := index.Promote(ctx, client, planned, index.Promotion{})
		if found != nil {
			moves = found
		}
		return err
	}
	failure := release(ctx)
	look := newClient(t)
	present := map[string]digest.Digest{}
	for _, m := range moves {
		tag := strings.Replace(m.Tag, broken, clean, 1)
		if desc, err := look.Head(ctx, tag); err == nil {
			present[m.Tag] = desc.Digest
		} else if !registry.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if failure == nil {
		for _, m := range moves {
			if present[m.Tag] != m.Digest {
				t.Errorf("release %d ended well, but %s is %q, not %s", n, m.Tag, present[m.Tag], m.Digest)
			}
		}
		for _, child := range resolve(t, look, clean+name+":latest") {
			checkPulls(t, look, clean+name, child.Digest)
			for _, att := range child.Attestations {
				checkPulls(t, look, clean+name, att.Digest)
			}
		}
		return true
	}
	var e *registry.Error
	if !errors.As(failure, &e) {
		t.Errorf("release %d ended with an error that is not the registry's: %v", n, failure)
	}
	verified := len(present) > 0
	for _, m := range moves {
		verified = verified && present[m.Tag] == m.Digest
	}
	if verified {
		return false // only the reading back failed: all tags are new
	}
	for _, m := range moves {
		if present[m.Tag] != m.Previous {
			t.Errorf("release %d failed (%v), but %s is %q, not %q", n, failure, m.Tag, present[m.Tag], m.Previous)
		}
	}
	if desc, err := look.Head(ctx, clean+name+":latest"); err != nil || desc.Digest != old.Digest {
		t.Errorf("release %d failed (%v), and latest is %s, %v", n, failure, desc.Digest, err)
	}
	return false
}

// TestLyingRegistry has a registry that changes bytes: nothing of it may get
// into a release.
func TestLyingRegistry(t *testing.T) {
	t.Parallel()
	faulty := &registrytest.Faulty{Rand: rand.New(rand.NewPCG(3, 4)), Every: 1, Faults: []registrytest.Fault{registrytest.Lying}}
	faulty.Allow(1 << 20)
	clean, broken := faultyHosts(t, faulty, memory(t))
	children, _ := built(t, clean+"/lied", asked, true)
	for i := range children {
		children[i].Repository = broken + "/lied"
	}
	_, err := index.Assemble(t.Context(), newClient(t), t.TempDir(), index.Assembly{Target: "hello", Platforms: parse(t, asked), Children: children})
	if err == nil {
		t.Fatal("bytes that do not fit their digest were taken")
	}
}
