package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
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

var concurrentTags = []string{"1-amd64", "1-arm64", "1-armv7", "1", "latest"}

func putIndex(t testing.TB, repo, tag, by string) digest.Digest {
	return registrytest.Put(t, repo, tag, ocispecs.MediaTypeImageIndex,
		fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"by":%q}}`, ocispecs.MediaTypeImageIndex, by)).Digest
}

// moving are the moves of one release, whose index is there already.
func moving(repo string, d digest.Digest) []journal.Move {
	var moves []journal.Move
	for _, tag := range concurrentTags {
		moves = append(moves, journal.Move{Target: "app", Tag: repo + ":" + tag, Digest: d})
	}
	return moves
}

// TestAtOnce has releases that move the same tags at the same moment: in the
// end one of them is there whole, as if it had come last.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	hosts := map[string]string{
		"distribution": embeddedtest.Registry(t),
		"slow": registrytest.Serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(rand.N(20 * time.Millisecond)) // what a network is like
				next.ServeHTTP(w, r)
			})
		}),
	}
	for name, host := range hosts {
		for _, releases := range []int{2, 3, 5} {
			t.Run(fmt.Sprintf("%s, %d releases", name, releases), func(t *testing.T) {
				t.Parallel()
				for round := range 5 {
					atOnce(t, fmt.Sprintf("%s/at-once-%d-%d", host, releases, round), releases)
				}
			})
		}
	}
}

func atOnce(t *testing.T, repo string, releases int) {
	t.Helper()
	ctx := t.Context()
	for _, tag := range concurrentTags {
		putIndex(t, repo, tag, "nobody")
	}
	begin := make(chan struct{})
	wants, errs := make([]digest.Digest, releases), make([]error, releases)
	var group sync.WaitGroup
	for i := range releases {
		wants[i] = putIndex(t, repo, fmt.Sprintf("of-%d", i), fmt.Sprint(i))
		client := newClient(t)
		moves := moving(repo, wants[i])
		group.Go(func() {
			<-begin
			_, errs[i] = index.Promote(ctx, client, moves, index.Promotion{})
		})
	}
	close(begin)
	group.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("release %d: %v", i, err)
		}
	}
	client := newClient(t)
	var all []string
	for _, tag := range concurrentTags {
		all = append(all, repo+":"+tag)
	}
	now, err := index.Point(ctx, client, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range now {
		if d != now[all[0]] {
			t.Fatalf("a mixture: %v", now)
		}
	}
}

// TestInterleaved has a second release that moves all the same tags between any
// two requests of the first one: exhaustively, each moment. Whoever is told of
// success at the end of both, the tags are of one release.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		var mu sync.Mutex
		seen, armed := 0, false
		var intrude func()
		host := registrytest.Serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				fire := false
				if armed {
					seen++
					fire = seen == at
					armed = armed && !fire
				}
				mu.Unlock()
				if fire {
					intrude()
				}
				next.ServeHTTP(w, r)
			})
		})
		repo := host + "/app"
		for _, tag := range concurrentTags {
			putIndex(t, repo, tag, "nobody")
		}
		ours, theirs := putIndex(t, repo, "ours", "us"), putIndex(t, repo, "theirs", "them")
		var theirErr error
		other := newClient(t)
		intrude = func() { _, theirErr = index.Promote(t.Context(), other, moving(repo, theirs), index.Promotion{}) }
		mu.Lock()
		armed = true
		mu.Unlock()
		_, err := index.Promote(t.Context(), newClient(t), moving(repo, ours), index.Promotion{})
		mu.Lock()
		over := armed
		armed = false
		mu.Unlock()
		if over {
			if at < 10 {
				t.Errorf("a promotion made %d requests only", at-1)
			}
			return // the promotion has fewer requests
		}
		if err != nil || theirErr != nil {
			t.Fatalf("request %d: %v, %v", at, err, theirErr)
		}
		var all []string
		for _, tag := range concurrentTags {
			all = append(all, repo+":"+tag)
		}
		now, err := index.Point(t.Context(), other, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range now {
			if d != now[all[0]] || d != ours && d != theirs {
				t.Fatalf("request %d: a mixture: %v", at, now)
			}
		}
	}
}

// TestUnsettled has somebody who moves a tag back after each of our writes: it
// ends, and says which tag points where.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	var theirs digest.Digest
	var repo string
	host := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/latest") && r.Header.Get("User-Agent") != "Go-http-client/1.1" && theirs != "" {
				putIndex(t, repo, "latest", "them")
			}
		})
	})
	repo = host + "/app"
	ours := putIndex(t, repo, "ours", "us")
	theirs = putIndex(t, repo, "theirs", "them")
	_, err := index.Promote(t.Context(), newClient(t), moving(repo, ours), index.Promotion{})
	var unsettled *index.UnsettledError
	if !errors.As(err, &unsettled) || !strings.Contains(err.Error(), repo+":latest points to "+theirs.String()) {
		t.Fatalf("error %v", err)
	}
}
