package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
)

// ConflictError says that another release moved a tag since it was read.
type ConflictError struct {
	// Tag is the full reference.
	Tag string
	// Previous is what it named when the moves were planned, Found what it
	// names now; "" for nothing.
	Previous, Found digest.Digest
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("tag %q was moved meanwhile, by another release: it named %s and names %s now; nothing was moved: look at what was released, then release again", e.Tag, orNothing(e.Previous), orNothing(e.Found))
}

func orNothing(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}

// Promotion says how tags are moved.
type Promotion struct {
	// Force moves tags that another release moved meanwhile.
	Force bool
	// Pause is the least time after which the tags are read again, to find a
	// release that moved them at the same moment; 0 means 150 ms. It is four
	// times what the slowest move took, if that is more.
	Pause time.Duration
	// Moving is called before each write, one at a time, so that a journal
	// can hold it; an error stops the promotion. It may be nil.
	Moving func(Move) error
}

// Promote moves tags to manifests that Upload brought, in the order of Moves.
// All tags are read first: if one names neither what it named before nor what
// it shall name, nothing moves (ConflictError); each is read again right before
// it is written. A tag that is there already is not written, so an immutable
// one that has its digest is well. A move without a digest removes its tag,
// after all others; where the registry does not, the rest is done all the same
// and an UntagError names the tags.
//
// Of two releases that move the same tags at once, one wins whole; the other's
// moves are taken back, and it gets a ConflictError.
//
// If a move fails, or the context ends, those made before are taken back: all
// tags are as they were, or a HalfMovedError names those that are not.
func Promote(ctx context.Context, client *registry.Client, moves []Move, p Promotion) error {
	present, err := heads(ctx, client, moves)
	if err != nil {
		return fmt.Errorf("reading what the tags name now: %w", err)
	}
	var conflicts []error
	var due []Move
	var before []digest.Digest // what each of due names
	for i, m := range moves {
		if present[i] == m.Digest {
			continue
		}
		if present[i] != m.Previous && !p.Force {
			conflicts = append(conflicts, &ConflictError{Tag: m.Tag, Previous: m.Previous, Found: present[i]})
		}
		due, before = append(due, m), append(before, present[i])
	}
	if len(conflicts) > 0 {
		return errors.Join(conflicts...)
	}
	manifests, err := fetchManifests(ctx, client, due)
	if err != nil {
		return err
	}
	put := func(ctx context.Context, i int) error {
		m := due[i]
		if m.Digest == "" {
			return client.Untag(ctx, m.Tag)
		}
		err := client.PutManifest(ctx, m.Tag, manifests[i].mediaType, manifests[i].raw)
		if err == nil {
			return nil
		}
		// Another run of the same release may have been faster, and the tag may
		// not be written twice.
		if now, headErr := head(ctx, client, m.Tag); headErr == nil && now == m.Digest {
			return nil
		}
		return fmt.Errorf("moving tag %q to %s: %w", m.Tag, m.Digest, err)
	}
	var journal sync.Mutex
	var kept UntagError
	var attempted []Move
	var slowest time.Duration // from reading a tag to its having moved
	for rank := 0; rank <= rankRemoved; rank++ {
		// One failure starts no more moves, but ends none that is under way:
		// what was cut off may still arrive after it was taken back.
		var g errgroup.Group
		var failed atomic.Bool
		g.SetLimit(client.Jobs())
		for i, m := range due {
			if m.rank() != rank {
				continue
			}
			g.Go(func() (err error) {
				if failed.Load() {
					return nil
				}
				defer func() {
					if err != nil {
						failed.Store(true)
					}
				}()
				// Once more: a registry has no exchange that compares, so the
				// time in which another release goes unseen is kept short.
				began := time.Now()
				now, err := head(ctx, client, m.Tag)
				if err != nil {
					return fmt.Errorf("reading what tag %q names now: %w", m.Tag, err)
				}
				if now == m.Digest {
					return nil
				}
				if now != before[i] && !p.Force {
					return &ConflictError{Tag: m.Tag, Previous: before[i], Found: now}
				}
				if p.Moving != nil {
					journal.Lock()
					err := p.Moving(m)
					journal.Unlock()
					if err != nil {
						return fmt.Errorf("recording the move of tag %q: %w", m.Tag, err)
					}
				}
				made := m
				made.Previous = now // with Force another than was planned
				journal.Lock()
				attempted = append(attempted, made)
				journal.Unlock()
				if rank == rankRemoved {
					err := put(ctx, i)
					var e *registry.Error
					if errors.As(err, &e) && e.Kind == registry.Unsupported {
						journal.Lock()
						defer journal.Unlock()
						kept.Tags, kept.Digests = append(kept.Tags, m.Tag), append(kept.Digests, now)
						kept.Err = cmp.Or(kept.Err, err)
						return nil
					}
					if err != nil {
						return fmt.Errorf("removing tag %q: %w", m.Tag, err)
					}
					return nil
				}
				err = put(ctx, i)
				journal.Lock()
				slowest = max(slowest, time.Since(began))
				journal.Unlock()
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return restore(ctx, client, attempted, err)
		}
	}
	if !p.Force && len(kept.Tags) == 0 {
		if err := settle(ctx, client, due, min(max(4*slowest, cmp.Or(p.Pause, leastPause)), mostPause), put); err != nil {
			return restore(ctx, client, attempted, err)
		}
	}
	if len(kept.Tags) > 0 {
		return &kept
	}
	return nil
}

type rawManifest struct {
	mediaType string
	raw       []byte
}

// fetchManifests reads what the tags will name from the repositories they are
// in, each once: what is tagged was there the moment before.
func fetchManifests(ctx context.Context, client *registry.Client, moves []Move) ([]rawManifest, error) {
	first := map[string]int{}
	at := make([]string, len(moves))
	for i, m := range moves {
		if m.Digest == "" {
			continue
		}
		ref, err := registry.At(m.Tag[:strings.LastIndex(m.Tag, ":")], m.Digest)
		if err != nil {
			return nil, err
		}
		at[i] = ref
		if _, ok := first[ref]; !ok {
			first[ref] = i
		}
	}
	manifests := make([]rawManifest, len(moves))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for ref, i := range first {
		g.Go(func() error {
			desc, raw, err := client.Manifest(gctx, ref)
			if err != nil {
				return fmt.Errorf("reading what tag %q shall name: %w", moves[i].Tag, err)
			}
			manifests[i] = rawManifest{mediaType: desc.MediaType, raw: raw}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, m := range moves {
		if m.Digest != "" {
			manifests[i] = manifests[first[at[i]]]
		}
	}
	return manifests, nil
}
