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

	"github.com/archmage-build/archmage/internal/journal"
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
	return fmt.Sprintf("tag %q was moved meanwhile, by another release: it named %s and names %s now; this release moved none of its tags: look at what was released, then release again", e.Tag, orNothing(e.Previous), orNothing(e.Found))
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
	// release that moved them at the same moment; 0 means 150 ms on this
	// machine and half a second elsewhere. It is four times what the slowest
	// move took, if that is more.
	Pause time.Duration
	// Moving is called before each write, one at a time, so that a journal
	// can hold it; an error stops the promotion. It may be nil.
	Moving func(journal.Move) error
}

// Promote moves tags to manifests that Upload brought, in the order of Moves.
// All tags are read first: if one names neither what it named before nor what
// it shall name, nothing moves (ConflictError); each is read again right before
// it is written. A tag that is there already is not written, so an immutable
// one that has its digest is well. A move without a digest removes its tag,
// after all others; where the registry does not, the rest is done all the same
// and an UntagError names the tags.
//
// Of releases that move the same tags at once one wins whole, or none does; the
// moves of any other are taken back, and it gets a ConflictError.
//
// If a move fails, or the context ends, those made before are taken back: all
// tags are as they were, or a HalfMovedError names those that are not.
func Promote(ctx context.Context, client *registry.Client, moves []journal.Move, p Promotion) error {
	present, err := heads(ctx, client, moves)
	if err != nil {
		return fmt.Errorf("reading what the tags name now: %w", err)
	}
	var conflicts []error
	r := &promoter{client: client, Promotion: p}
	for i, m := range moves {
		if present[i] == m.Digest {
			continue
		}
		if present[i] != m.Previous && !p.Force {
			conflicts = append(conflicts, &ConflictError{Tag: m.Tag, Previous: m.Previous, Found: present[i]})
		}
		r.due, r.before = append(r.due, m), append(r.before, present[i])
	}
	if len(conflicts) > 0 {
		return errors.Join(conflicts...)
	}
	if r.manifests, err = fetchManifests(ctx, client, r.due); err != nil {
		return err
	}
	r.attempted, r.kept = make([]*journal.Move, len(r.due)), make([]digest.Digest, len(r.due))
	if err := r.all(ctx); err != nil {
		return restore(ctx, client, r.attempted, err)
	}
	if err := r.settle(ctx); err != nil {
		return restore(ctx, client, r.attempted, err)
	}
	return r.untagged()
}

// promoter moves the tags that do not name yet what they shall.
type promoter struct {
	Promotion
	client    *registry.Client
	due       []journal.Move
	before    []digest.Digest // what each of due named
	manifests []rawManifest

	mu        sync.Mutex
	attempted []*journal.Move // of due, nil where nothing was written
	kept      []digest.Digest // of due, what a registry that removes no tags still names
	keptWhy   error
	slowest   time.Duration // from reading a tag to its having moved
}

// all makes the moves, rank by rank.
func (r *promoter) all(ctx context.Context) error {
	for rank := 0; rank <= journal.LastRank; rank++ {
		// One failure starts no more moves, but ends none that is under way:
		// what was cut off may still arrive after it was taken back.
		var g errgroup.Group
		var failed atomic.Bool
		g.SetLimit(r.client.Jobs())
		for i, m := range r.due {
			if m.Rank() != rank {
				continue
			}
			g.Go(func() error {
				if failed.Load() {
					return nil
				}
				err := r.move(ctx, i, r.Force)
				if err != nil {
					failed.Store(true)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // interrupted while tags moved
		return context.Cause(ctx)
	}
	return nil
}

// move makes one move, unless it is made already. Over what another release has
// written it is made only if that is wanted.
func (r *promoter) move(ctx context.Context, i int, over bool) error {
	m := r.due[i]
	began := time.Now()
	// Once more: a registry has no exchange that compares, so the time in
	// which another release goes unseen is kept short.
	now, err := head(ctx, r.client, m.Tag)
	if err != nil {
		return fmt.Errorf("reading what tag %q names now: %w", m.Tag, err)
	}
	if now == m.Digest {
		return nil
	}
	if now != r.before[i] && !over {
		return &ConflictError{Tag: m.Tag, Previous: r.before[i], Found: now}
	}
	if err := r.note(i, now); err != nil {
		return err
	}
	err = r.put(ctx, i)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slowest = max(r.slowest, time.Since(began))
	var e *registry.Error
	if m.Digest == "" && errors.As(err, &e) && e.Kind == registry.Unsupported {
		r.kept[i], r.keptWhy = now, cmp.Or(r.keptWhy, err)
		return nil
	}
	return err
}

// note keeps a move before it is made, so that it can be taken back.
func (r *promoter) note(i int, now digest.Digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.due[i]
	if r.Moving != nil {
		if err := r.Moving(m); err != nil {
			return fmt.Errorf("recording the move of tag %q: %w", m.Tag, err)
		}
	}
	if r.attempted[i] == nil {
		m.Previous = now // with Force another than was planned
		r.attempted[i] = &m
	}
	return nil
}

// put writes a tag. An interruption does not cut it off: it would arrive after
// it was taken back.
func (r *promoter) put(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	m := r.due[i]
	if m.Digest == "" {
		if err := r.client.Untag(ctx, m.Tag); err != nil {
			return fmt.Errorf("removing tag %q: %w", m.Tag, err)
		}
		return nil
	}
	err := r.client.PutManifest(ctx, m.Tag, r.manifests[i].mediaType, r.manifests[i].raw)
	if err == nil {
		return nil
	}
	// Another run of the same release may have been faster, and the tag may
	// not be written twice.
	if now, headErr := head(ctx, r.client, m.Tag); headErr == nil && now == m.Digest {
		return nil
	}
	return fmt.Errorf("moving tag %q to %s: %w", m.Tag, m.Digest, err)
}

// untagged is an UntagError if tags could not be removed.
func (r *promoter) untagged() error {
	var e UntagError
	for i, d := range r.kept {
		if d != "" {
			e.Tags, e.Digests, e.Err = append(e.Tags, r.due[i].Tag), append(e.Digests, d), r.keptWhy
		}
	}
	if len(e.Tags) == 0 {
		return nil
	}
	return &e
}

type rawManifest struct {
	mediaType string
	raw       []byte
}

// fetchManifests reads what the tags will name from the repositories they are
// in, each once: what is tagged was there the moment before.
func fetchManifests(ctx context.Context, client *registry.Client, moves []journal.Move) ([]rawManifest, error) {
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
