package index_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func TestMovesOrder(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	d, _ := assembled(t, client, dir, repo, true)
	second := *d
	second.Target = "second"
	moves, err := index.Moves([]index.Tagging{
		{Draft: d, Tags: []string{repo + ":latest", repo + ":1.2", repo + ":1.2", repo + ":latest-slim"}},
		{Draft: &second, Tags: []string{repo + "-2:edge", repo + "-2"}},
	}, "{tag}-{arch}{variant}")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range moves {
		got = append(got, m.Target+" "+strings.TrimPrefix(m.Tag, repo))
	}
	var want []string
	for _, tag := range []string{"hello :latest", "hello :1.2", "hello :latest-slim", "second -2:edge", "second -2:latest"} {
		for _, arch := range []string{"amd64", "arm64", "armv7", "armv6"} {
			want = append(want, tag+"-"+arch)
		}
	}
	want = append(want, "hello :1.2", "second -2:edge", "hello :latest", "hello :latest-slim", "second -2:latest")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestMovesRefuse(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	d, images := assembled(t, client, dir, repo, false)
	other := *d
	other.Target = "other"
	tests := []struct {
		name     string
		taggings []index.Tagging
		template string
		says     string
	}{
		{"two targets", []index.Tagging{{Draft: d, Tags: []string{repo + ":1"}}, {Draft: &other, Tags: []string{repo + ":1"}}}, "", `target "other"`},
		{"two platforms", []index.Tagging{{Draft: d, Tags: []string{repo + ":1"}}}, "{tag}-{arch}", `"linux/arm/v6"`},
		{"a platform's and a target's", []index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":1-amd64"}}}, "{tag}-{arch}{variant}", "change arch_tags"},
		{"no tag", []index.Tagging{{Draft: d, Tags: []string{repo + ":1"}}}, "{tag}/{arch}{variant}", "which is no tag"},
		{"a dash", []index.Tagging{{Draft: d, Tags: []string{repo + ":-dryRun"}}}, "", "-dryRun"},
		{"a digest", []index.Tagging{{Draft: d, Tags: []string{repo + "@" + images["linux/amd64"].Manifest.Digest.String()}}}, "", "cannot be moved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := index.Moves(tt.taggings, tt.template)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	var traffic requests
	repo := registrytest.Serve(t, traffic.wrap) + "/hello"
	d, _ := assembled(t, client, dir, repo, true)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	before, err := index.Point(ctx, client, []string{repo + ":1", repo + ":latest"})
	if err != nil {
		t.Fatal(err)
	}
	theirs := registrytest.Put(t, repo, "latest", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	traffic.reset()
	_, err = index.Promote(ctx, client, moves, index.Promotion{Before: before})
	var conflict *index.ConflictError
	want := []journal.Found{{Tag: repo + ":latest", Now: theirs.Digest}}
	if !errors.As(err, &conflict) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(want, conflict.Tags); diff != "" {
		t.Error(diff)
	}
	if puts := traffic.matching(http.MethodPut, ""); len(puts) != 0 {
		t.Errorf("in spite of the conflict it wrote %q", puts)
	}
	if err := index.Verify(ctx, client, moves); err == nil || !strings.Contains(err.Error(), repo+":latest") || !strings.Contains(err.Error(), repo+":1") {
		t.Errorf("verifying tags that did not move: %v", err)
	}
	found, err := index.Promote(ctx, client, moves, index.Promotion{Before: before, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if found[1].Previous != theirs.Digest {
		t.Errorf("what was overwritten is told as %s, want %s", found[1].Previous, theirs.Digest)
	}
	if err := index.Verify(ctx, client, moves); err != nil {
		t.Error(err)
	}
}

func TestJournalStopsPromotion(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	var traffic requests
	repo := registrytest.Serve(t, traffic.wrap) + "/hello"
	d, _ := assembled(t, client, dir, repo, false)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	traffic.reset()
	full := errors.New("no space left")
	_, err = index.Promote(ctx, client, moves, index.Promotion{Begin: func([]journal.Move) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if puts := traffic.matching(http.MethodPut, ""); len(puts) != 0 {
		t.Errorf("it wrote %q that no journal holds", puts)
	}
}

func TestUploadNeedsTheChildren(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	var traffic requests
	host := registrytest.Serve(t, traffic.wrap)
	repo := host + "/hello"
	d, images := assembled(t, client, dir, repo, false)
	gone := images["linux/arm64"].Manifest.Digest
	remove(t, host, "hello", gone.String())
	// The client that assembled saw the child a moment ago; a new one did not.
	for name, c := range map[string]*registry.Client{"the same client": client, "a new one": newClient(t)} {
		traffic.reset()
		err := index.Upload(t.Context(), c, d, []string{repo})
		if err == nil || !strings.Contains(err.Error(), gone.String()) || !strings.Contains(err.Error(), "run build again") {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := c.Head(t.Context(), repo+"@"+d.Descriptor.Digest.String()); !registry.IsNotFound(err) {
			t.Errorf("%s: the index is there without its child: %v", name, err)
		}
		if puts := traffic.matching(http.MethodPut, ""); len(puts) != 0 && c != client {
			t.Errorf("%s: it wrote %q", name, puts)
		}
	}
}

// TestUploadElsewhere copies to a second registry, in which a layer that the
// children share arrives once.
func TestUploadElsewhere(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	d, _ := assembled(t, client, dir, registrytest.Serve(t)+"/hello", true)
	var traffic requests
	there := registrytest.Serve(t, traffic.wrap) + "/copy"
	if err := index.Upload(ctx, client, d, []string{there}); err != nil {
		t.Fatal(err)
	}
	_, raw, err := client.Manifest(ctx, there+"@"+d.Descriptor.Digest.String())
	if err != nil || string(raw) != string(d.Raw) {
		t.Fatalf("the index arrived as %q, %v", raw, err)
	}
	// 4 configs, 4 binaries, 1 shared layer; 4 attestations with config, SBOM and provenance.
	if committed := traffic.matching(http.MethodPut, "/blobs/uploads/"); len(committed) != 9+12 {
		t.Errorf("%d blobs were sent, want 21", len(committed))
	}
}

// TestUploadToNewRepository has a registry that denies a repository until
// something is in it, as Docker Hub does.
func TestUploadToNewRepository(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	var filled atomic.Bool
	host := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			manifest := strings.HasPrefix(r.URL.Path, "/v2/new/manifests/")
			if manifest && r.Method == http.MethodPut {
				filled.Store(true)
			}
			if manifest && !filled.Load() {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	d, _ := assembled(t, client, dir, host+"/hello", true)
	if err := index.Upload(ctx, client, d, []string{host + "/new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Head(ctx, host+"/new@"+d.Descriptor.Digest.String()); err != nil {
		t.Error(err)
	}
}
