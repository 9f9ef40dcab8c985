package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// TestAtOnce has releases that begin to move the same tags at the same moment:
// one wins whole or none does, never a mix, and only the winner is told so.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	hosts := map[string]string{
		"distribution": embeddedtest.Registry(t),
		"slow": registrytest.Serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(rand.N(60 * time.Millisecond)) // what a network is like
				next.ServeHTTP(w, r)
			})
		}),
	}
	tags := []string{"1-amd64", "1-arm64", "1-armv7", "1", "latest"}
	for name, host := range hosts {
		for _, releases := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s, %d releases", name, releases), func(t *testing.T) {
				t.Parallel()
				for round := range 2 {
					repo := fmt.Sprintf("%s/at-once-%d-%d", host, releases, round)
					atOnce(t, repo, tags, releases, round == 1)
				}
			})
		}
	}
}

// atOnce is one round. With alike, all want the same of the last tag, as
// releases of one commit or with a target in common do.
func atOnce(t *testing.T, repo string, tags []string, releases int, alike bool) {
	t.Helper()
	last := len(tags) - 1
	ctx := t.Context()
	put := func(tag, by string) digest.Digest {
		return registrytest.Put(t, repo, tag, ocispecs.MediaTypeImageIndex,
			fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"by":%q}}`, ocispecs.MediaTypeImageIndex, by)).Digest
	}
	var old digest.Digest
	for _, tag := range tags {
		old = put(tag, "nobody")
	}
	same := put("same", "all")
	begin := make(chan struct{})
	wants, errs := make([]digest.Digest, releases), make([]error, releases)
	var group sync.WaitGroup
	for i := range releases {
		wants[i] = put(fmt.Sprintf("of-%d", i), fmt.Sprint(i))
		client := newClient(t)
		var moves []journal.Move
		for _, tag := range tags {
			moves = append(moves, journal.Move{Target: "app", Tag: repo + ":" + tag, Digest: wants[i], Previous: old})
		}
		if alike {
			moves[last].Digest = same
		}
		group.Go(func() {
			<-begin
			// A machine that is busy with other tests stands still for a while
			// now and then, which is more than a pause on a quiet one.
			if errs[i] = index.Promote(ctx, client, moves, index.Promotion{Pause: 700 * time.Millisecond}); errs[i] == nil {
				errs[i] = index.Verify(ctx, client, moves)
			}
		})
	}
	close(begin)
	group.Wait()

	want := old
	for i, err := range errs {
		var conflict *index.ConflictError
		switch {
		case err == nil && want == old:
			want = wants[i]
		case err == nil:
			t.Error("two releases were told that they had won")
		case !errors.As(err, &conflict):
			t.Errorf("release %d: %v", i, err)
		}
	}
	client := newClient(t)
	for i, tag := range tags {
		want := want
		if alike && i == last && want != old {
			want = same
		}
		if got, err := client.Head(ctx, repo+":"+tag); err != nil || got.Digest != want {
			t.Errorf("tag %s names %s (%v), want %s; errors: %v", tag, got.Digest, err, want, errs)
		}
	}
}
