package index_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// TestPromotionTakenBack has promotions that fail, or are interrupted, when
// some tags have moved already.
func TestPromotionTakenBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		deny      string // a method that the registry refuses once the moves begin
		interrupt bool
		left      []string
	}{
		{name: "refused"},
		{name: "interrupted", interrupt: true},
		{name: "no tag is removed", deny: http.MethodDelete, left: []string{"1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, dir := newClient(t), t.TempDir()
			repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					last := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/latest")
					if last && !tt.interrupt || r.Method == tt.deny {
						w.WriteHeader(http.StatusMethodNotAllowed)
						return
					}
					next.ServeHTTP(w, r)
				})
			}) + "/app"
			d, _ := assembled(t, client, dir, repo, false)
			if err := index.Upload(t.Context(), client, d, []string{repo}); err != nil {
				t.Fatal(err)
			}
			old := registrytest.Put(t, repo, "stable", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
			moves, err := index.Moves(t.Context(), client, []index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":stable", repo + ":latest"}}}, "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err = index.Promote(ctx, client, moves, index.Promotion{Moving: func(m journal.Move) error {
				if tt.interrupt && strings.HasSuffix(m.Tag, ":latest") {
					cancel()
				}
				return nil
			}})
			if err == nil || tt.interrupt != errors.Is(err, context.Canceled) {
				t.Fatalf("error %v", err)
			}
			var half *index.HalfMovedError
			if errors.As(err, &half) {
				var got []string
				for _, tag := range half.Tags {
					got = append(got, strings.TrimPrefix(tag, repo+":"))
				}
				if diff := cmp.Diff(tt.left, got); diff != "" || half.Remedy() == "" {
					t.Errorf("left: %s, %v", diff, err)
				}
				var e *registry.Error
				if !errors.As(err, &e) {
					t.Errorf("the registry's answer is lost: %v", err)
				}
			} else if tt.left != nil {
				t.Errorf("error %v does not name the tags that stayed", err)
			}
			if desc, err := client.Head(t.Context(), repo+":stable"); err != nil || desc.Digest != old.Digest {
				t.Errorf("stable is %s, %v", desc.Digest, err)
			}
			if _, err := client.Head(t.Context(), repo+":1"); registry.IsNotFound(err) != (tt.left == nil) {
				t.Errorf("tag 1: %v", err)
			}
			if _, err := client.Head(t.Context(), repo+":latest"); !registry.IsNotFound(err) {
				t.Errorf("latest: %v", err)
			}
		})
	}
}

// TestConflictMidway has another release that moves the last tag while ours
// moves the first: theirs stays, ours is taken back.
func TestConflictMidway(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/app"
	d, _ := assembled(t, client, dir, repo, false)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	old := registrytest.Put(t, repo, "1", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	moves, err := index.Moves(ctx, client, []index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	theirs := digest.FromString("")
	err = index.Promote(ctx, client, moves, index.Promotion{Moving: func(m journal.Move) error {
		if strings.HasSuffix(m.Tag, ":1") {
			theirs = registrytest.Put(t, repo, "latest", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[],"annotations":{"by":"them"}}`)).Digest
		}
		return nil
	}})
	var conflict *index.ConflictError
	if !errors.As(err, &conflict) || conflict.Tag != repo+":latest" || conflict.Found != theirs {
		t.Fatalf("error %v", err)
	}
	for tag, want := range map[string]digest.Digest{"1": old.Digest, "latest": theirs} {
		if desc, err := client.Head(ctx, repo+":"+tag); err != nil || desc.Digest != want {
			t.Errorf("%s is %s, %v", tag, desc.Digest, err)
		}
	}
}
