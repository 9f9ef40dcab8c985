package index_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// TestRollback undoes a release, in memory and in a real registry.
func TestRollback(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]func(testing.TB) string{
		"memory":       func(t testing.TB) string { return registrytest.Serve(t) },
		"distribution": embeddedtest.Registry,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, client, dir := t.Context(), newClient(t), t.TempDir()
			repo := host(t) + "/rollback"
			old := registrytest.Put(t, repo, "latest", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
			d, _ := assembled(t, client, dir, repo, true)
			if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
				t.Fatal(err)
			}
			moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "{tag}-{arch}{variant}")
			if err != nil {
				t.Fatal(err)
			}
			moves, err = index.Promote(ctx, client, moves, index.Promotion{})
			if err != nil {
				t.Fatal(err)
			}
			back := journal.Undo(&journal.Record{Moves: moves})
			if len(back) != 10 || back[0].Tag != repo+":latest" {
				t.Errorf("the tags go back as %v", back)
			}
			if _, err := index.Promote(ctx, client, back, index.Promotion{}); err != nil {
				t.Fatal(err)
			}
			if err := index.Verify(ctx, client, back); err != nil {
				t.Error(err)
			}
			if desc, err := client.Head(ctx, repo+":latest"); err != nil || desc.Digest != old.Digest {
				t.Errorf("latest is %s, %v", desc.Digest, err)
			}
			if _, err := client.Head(ctx, repo+":1"); !registry.IsNotFound(err) {
				t.Errorf("tag 1 is still there: %v", err)
			}
			// What the tags named is not deleted.
			for _, desc := range append(d.Index.Manifests, d.Descriptor) {
				if _, err := client.Head(ctx, repo+"@"+desc.Digest.String()); err != nil {
					t.Error(err)
				}
			}
			if _, err := index.Promote(ctx, client, back, index.Promotion{}); err != nil {
				t.Errorf("once more: %v", err)
			}
			if _, err := index.Promote(ctx, client, moves, index.Promotion{}); err != nil {
				t.Errorf("forward again: %v", err)
			}
			if err := index.Verify(ctx, client, moves); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRollbackWithoutRemoval has a registry that removes no tags.
func TestRollbackWithoutRemoval(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			next.ServeHTTP(w, r)
		})
	}) + "/app"
	old := registrytest.Put(t, repo, "latest", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	d, _ := assembled(t, client, dir, repo, false)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if moves, err = index.Promote(ctx, client, moves, index.Promotion{}); err != nil {
		t.Fatal(err)
	}
	_, err = index.Promote(ctx, client, journal.Undo(&journal.Record{Moves: moves}), index.Promotion{})
	var kept *index.UntagError
	if !errors.As(err, &kept) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff([]string{repo + ":1"}, kept.Tags); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), repo+":1") || kept.Remedy() == "" {
		t.Errorf("error %v", err)
	}
	var answer *registry.Error
	if !errors.As(err, &answer) || answer.Kind != registry.Unsupported {
		t.Errorf("the registry's answer is lost: %v", err)
	}
	if desc, err := client.Head(ctx, repo+":latest"); err != nil || desc.Digest != old.Digest {
		t.Errorf("latest is %s, %v", desc.Digest, err)
	}
}

// TestImmutableTags has a registry that lets no tag be written twice.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	host := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.URL.Path, "sha256:") {
				probe := r.Clone(r.Context())
				probe.Method = http.MethodHead
				found := &status{header: http.Header{}}
				next.ServeHTTP(found, probe)
				if found.code == http.StatusOK || found.code == 0 {
					w.WriteHeader(http.StatusConflict)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	repo := host + "/app"
	d, _ := assembled(t, client, dir, repo, false)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	// Another run of the same release is faster, between the reading of the
	// tags and the writing.
	_, err = index.Promote(ctx, client, moves, index.Promotion{Begin: func([]journal.Move) error {
		registrytest.Put(t, repo, "1", d.Descriptor.MediaType, d.Raw)
		return nil
	}})
	if err != nil {
		t.Errorf("a tag that has our digest already: %v", err)
	}
	moves[0].Previous = ""
	if _, err := index.Promote(ctx, client, moves, index.Promotion{}); err != nil {
		t.Errorf("a tag that has our digest from the beginning: %v", err)
	}
	other, err := index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelIndex, Key: "k", Value: "v"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.Upload(ctx, client, other, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err = index.Moves([]index.Tagging{{Draft: other, Tags: []string{repo + ":1"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = index.Promote(ctx, client, moves, index.Promotion{})
	var e *registry.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), repo+":1") {
		t.Errorf("another digest for an immutable tag: %v", err)
	}
}

// status keeps the code of an answer.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(p []byte) (int, error) { return len(p), nil }
func (s *status) WriteHeader(code int)        { s.code = code }
