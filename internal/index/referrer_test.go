package index_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func serveReferrers(t testing.TB) string {
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestReferrers attaches records to an index, in registries with and without
// the referrers API.
func TestReferrers(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]func(testing.TB) string{
		"referrers API": serveReferrers,
		"tag":           func(t testing.TB) string { return registrytest.Serve(t) },
		"distribution":  embeddedtest.Registry,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, client, dir := t.Context(), newClient(t), t.TempDir()
			repo := host(t) + "/referred"
			d, _ := assembled(t, client, dir, repo, false)
			if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
				t.Fatal(err)
			}
			if none, err := index.Referrers(ctx, client, repo, d.Descriptor.Digest, ""); err != nil || len(none) != 0 {
				t.Fatalf("before anything was attached: %v, %v", none, err)
			}
			push := func(artifactType, data string) string {
				t.Helper()
				got, err := index.PushReferrer(ctx, client, repo, d.Descriptor, artifactType, map[string]string{ocispecs.AnnotationCreated: "2026-01-02T03:04:05Z"}, []byte(data))
				if err != nil {
					t.Fatal(err)
				}
				return got.String()
			}
			first := push(index.ArtifactTypeRecord, `{"id":"a"}`)
			second := push(index.ArtifactTypeRecord, `{"id":"b"}`)
			push("application/vnd.acme+json", `{}`)
			if again := push(index.ArtifactTypeRecord, `{"id":"a"}`); again != first {
				t.Errorf("the same data gives %s, then %s", first, again)
			}
			found, err := index.Referrers(ctx, client, repo, d.Descriptor.Digest, index.ArtifactTypeRecord)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, desc := range found {
				data, err := index.ReadReferrer(ctx, client, repo, desc)
				if err != nil {
					t.Fatal(err)
				}
				got[desc.Digest.String()] = string(data)
				if desc.Annotations[ocispecs.AnnotationCreated] == "" {
					t.Errorf("the descriptor has the annotations %v", desc.Annotations)
				}
			}
			if diff := cmp.Diff(map[string]string{first: `{"id":"a"}`, second: `{"id":"b"}`}, got); diff != "" {
				t.Error(diff)
			}
			if all, err := index.Referrers(ctx, client, repo, d.Descriptor.Digest, ""); err != nil || len(all) != 3 {
				t.Errorf("all: %d, %v", len(all), err)
			}
			if same, err := client.Head(ctx, repo+"@"+d.Descriptor.Digest.String()); err != nil || same.Size != d.Descriptor.Size {
				t.Errorf("the index changed: %v", err)
			}
		})
	}
}

// TestReferrersAtOnce writes the tag of a registry without the referrers API
// from several sides.
func TestReferrersAtOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	repo := registrytest.Serve(t) + "/referred"
	d, _ := assembled(t, newClient(t), t.TempDir(), repo, false)
	if err := index.Upload(ctx, newClient(t), d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		client := newClient(t)
		wg.Go(func() {
			_, errs[i] = index.PushReferrer(ctx, client, repo, d.Descriptor, index.ArtifactTypeRecord, nil, fmt.Appendf(nil, `{"id":%d}`, i))
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestReferrersRefused(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}) + "/referred"
	subject := registrytest.Put(t, repo, "1", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	_, err := index.PushReferrer(t.Context(), client, repo, subject, index.ArtifactTypeRecord, nil, []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), index.ArtifactTypeRecord) || !strings.Contains(err.Error(), "denies access") {
		t.Errorf("error %v", err)
	}
	if _, err := client.Referrers(t.Context(), repo+":1"); err == nil || !strings.Contains(err.Error(), "name a digest") {
		t.Errorf("what refers to a tag: %v", err)
	}
	stray := registrytest.PushArtifact(t, strings.TrimSuffix(registrytest.Serve(t), "/")+"/x", ocispecs.MediaTypeEmptyJSON, "a/b", "c/d")
	if _, err := index.ReadReferrer(t.Context(), client, repo, stray); !registry.IsNotFound(err) {
		t.Errorf("an artifact that is not there: %v", err)
	}
}
