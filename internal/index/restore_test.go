package index_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// TestPromotionPutBack has promotions that fail, or are interrupted, when
// some tags have moved already.
func TestPromotionPutBack(t *testing.T) {
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
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var interrupt atomic.Pointer[context.CancelFunc]
			repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if stop := interrupt.Load(); stop != nil && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/stable") {
						(*stop)()
					}
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
			moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":stable", repo + ":latest"}}}, "")
			if err != nil {
				t.Fatal(err)
			}
			if tt.interrupt {
				interrupt.Store(&cancel)
			}
			_, err = index.Promote(ctx, client, moves, index.Promotion{})
			if err == nil || tt.interrupt != errors.Is(err, context.Canceled) {
				t.Fatalf("error %v", err)
			}
			var half *index.HalfMovedError
			if errors.As(err, &half) {
				var got []string
				for _, m := range half.Tags {
					got = append(got, strings.TrimPrefix(m.Tag, repo+":"))
					if m.Previous != d.Descriptor.Digest || m.Digest != "" || !strings.Contains(err.Error(), m.Tag+" points to "+m.Previous.String()+"; before it pointed to nothing") {
						t.Errorf("where %s is: %v", m.Tag, err)
					}
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

// TestSecondInterrupt has a registry that answers no more while tags are put
// back: a second interruption ends that at once, and each tag is named.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	stop, cancelStop := context.WithCancel(t.Context())
	defer cancelStop()
	ctx, cancel := context.WithCancel(index.WithStop(t.Context(), stop))
	defer cancel()
	var hang atomic.Bool
	repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() { // what puts the tags back asks where they are
				cancelStop()
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") {
				hang.Store(true)
				cancel()
			}
		})
	}) + "/app"
	client, dir := newClient(t), t.TempDir()
	d, _ := assembled(t, client, dir, repo, false)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", repo + ":latest"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = index.Promote(ctx, client, moves, index.Promotion{})
	var half *index.HalfMovedError
	if !errors.As(err, &half) || len(half.Tags) != 1 || half.Tags[0].Tag != repo+":1" || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}
