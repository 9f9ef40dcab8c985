package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// ConflictError reports tags that another release moved since this one began.
// No tag was written.
type ConflictError struct{ Tags []journal.Found }

// Error implements error.
func (e *ConflictError) Error() string {
	if len(e.Tags) == 1 {
		f := e.Tags[0]
		return fmt.Sprintf("tag %q was moved meanwhile, by another release: it pointed to %s and points to %s now; this release moved none of its tags", f.Tag, orNothing(f.Want), orNothing(f.Now))
	}
	lines := []string{fmt.Sprintf("%d tags were moved meanwhile, by another release; this release moved none of its tags", len(e.Tags))}
	for _, f := range e.Tags {
		lines = append(lines, fmt.Sprintf("%s pointed to %s and points to %s now", f.Tag, orNothing(f.Want), orNothing(f.Now)))
	}
	return strings.Join(lines, "\n")
}

// Remedy is what to do next.
func (e *ConflictError) Remedy() string {
	return "look at what was released (`mage inspect -ref=TAG`), then run the command again, or with -force to move the tags over it"
}

// UnsettledError reports tags that do not point to what they shall after a
// promotion, or of which nobody knows: they could not be read back, or another
// release moved them each time.
type UnsettledError struct {
	Tags []journal.Found
	// Unread tags could not be read.
	Unread []string
	Err    error
}

// Error implements error.
func (e *UnsettledError) Error() string {
	var lines []string
	if e.Err != nil {
		lines = append(lines, fmt.Sprintf("the tags were moved, but it is not certain what they point to now: %v", e.Err))
		lines = append(lines, e.Unread...)
	}
	if len(e.Tags) > 0 {
		lines = append(lines, "another release moves the same tags at the same time")
	}
	for _, f := range e.Tags {
		lines = append(lines, fmt.Sprintf("%s points to %s, not to %s", f.Tag, orNothing(f.Now), orNothing(f.Want)))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives why the tags could not be read.
func (e *UnsettledError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *UnsettledError) Remedy() string {
	return "run the same command again: it looks at the tags first, and ends what is open"
}

func orNothing(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}

// Promotion says how tags are moved.
type Promotion struct {
	// Before is what tags pointed to when the release began: one that points
	// to something else now is in conflict. A tag that is not in it is not.
	Before journal.Tags
	// Force moves tags that another release moved meanwhile.
	Force bool
	// Begin is called once, when the tags were read and before the first of
	// them is written, with what they point to as Previous, so that a journal
	// can hold it; an error stops the promotion. It may be nil.
	Begin func([]journal.Move) error
}

// rounds is how often a promotion writes its tags again that another release
// moved at the same time.
const rounds = 10

// Promote moves tags to manifests that Upload brought, rank by rank (see
// journal.Move), and returns the moves with what the tags pointed to as
// Previous. All tags are read first: if another release moved one since Before
// was read, nothing moves (ConflictError). A tag that is there already is not
// written, so an immutable one that has its digest is fine. A move without a
// digest removes its tag, after all others; where the registry does not, the
// rest is done all the same and an UntagError lists the tags.
//
// Registries have no exchange that compares, so two promotions at one moment
// may not see each other. All tags are read back at once; if there is a mixture
// of two, this one writes its tags again, after a random wait. The last to write
// anything reads after that, so one of the two is there whole in the end, as if
// it had come second.
//
// If a write fails, or the context ends before the last rank, what was moved is
// put back: all tags are as they were, or a HalfMovedError tells where each is.
// After an UnsettledError nothing was put back.
func Promote(ctx context.Context, client *registry.Client, moves []journal.Move, p Promotion) ([]journal.Move, error) {
	present, err := heads(ctx, client, moves)
	if err != nil {
		return nil, fmt.Errorf("reading what the tags point to now: %w", err)
	}
	now := journal.Tags{}
	found := make([]journal.Move, len(moves))
	for i, m := range moves {
		now[m.Tag] = present[i]
		m.Previous = present[i]
		found[i] = m
	}
	if conflicts := journal.Conflicts(moves, p.Before, now); len(conflicts) > 0 && !p.Force {
		return found, &ConflictError{Tags: conflicts}
	}
	due := journal.Due(found, now)
	if len(due) == 0 {
		return found, nil
	}
	r := &promoter{client: client, due: due, attempted: make([]atomic.Bool, len(due)), kept: journal.Tags{}}
	if r.manifests, err = fetchManifests(ctx, client, due); err != nil {
		return found, err
	}
	if p.Begin != nil {
		if err := p.Begin(found); err != nil {
			return found, err
		}
	}
	if err := r.all(ctx); err != nil {
		var begun []journal.Move
		for i := range due {
			if r.attempted[i].Load() {
				begun = append(begun, due[i])
			}
		}
		return found, restore(ctx, client, begun, err)
	}
	if err := r.readBack(ctx, found); err != nil {
		return found, err
	}
	return found, r.untagged(found)
}

// promoter moves the tags that do not point yet to what they shall.
type promoter struct {
	client    *registry.Client
	due       []journal.Move
	manifests []rawManifest
	attempted []atomic.Bool // of due

	mu      sync.Mutex
	kept    journal.Tags // what a registry that removes no tags still has
	keptWhy error
}

// all makes the moves, rank by rank.
func (r *promoter) all(ctx context.Context) error {
	for rank := 0; rank <= journal.LastRank; rank++ {
		// One failure starts no more moves, but ends none that is under way:
		// what was cut off may still arrive after it was put back.
		var g errgroup.Group
		var failed atomic.Bool
		g.SetLimit(r.client.Jobs())
		for i, m := range r.due {
			if m.Rank() != rank {
				continue
			}
			if ctx.Err() != nil { // interrupted while tags move
				_ = g.Wait() // what is under way ends; the interruption is the cause
				return context.Cause(ctx)
			}
			g.Go(func() error {
				if failed.Load() {
					return nil
				}
				r.attempted[i].Store(true)
				err := r.put(ctx, i)
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
	return nil
}

// put writes a tag. An interruption does not cut it off: it would arrive after
// it was put back.
func (r *promoter) put(ctx context.Context, i int) error {
	ctx, cancel := insist(ctx, restoreTime)
	defer cancel()
	m := r.due[i]
	if m.Digest == "" {
		err := r.client.Untag(ctx, m.Tag)
		var e *registry.Error
		if errors.As(err, &e) && e.Kind == registry.Unsupported {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.kept[m.Tag], r.keptWhy = m.Previous, cmp.Or(r.keptWhy, err)
			return nil
		}
		if err != nil {
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

// readBack reads every tag of the promotion, and writes those again that
// another release moved at the same time. The moves are made, so an
// interruption waits for it.
func (r *promoter) readBack(ctx context.Context, moves []journal.Move) error {
	ctx, cancel := insist(ctx, restoreTime+time.Duration(len(moves))*restoreTime/100)
	defer cancel()
	made := r.due
	unread := func(err error) error {
		e := &UnsettledError{Err: err}
		for _, m := range made {
			e.Unread = append(e.Unread, fmt.Sprintf("%s was moved from %s to %s", m.Tag, orNothing(m.Previous), orNothing(m.Digest)))
		}
		return e
	}
	look := func() ([]journal.Found, error) {
		now, err := read(ctx, r.client, moves)
		if err != nil {
			return nil, err
		}
		for tag, d := range r.kept {
			if now[tag] == d {
				now[tag] = "" // told as an UntagError
			}
		}
		r.due = journal.Due(moves, now)
		return journal.Misplaced(moves, now), nil
	}
	began := time.Now()
	for round := 0; ; round++ {
		wrong, err := look()
		// Two that write again at once would go on for ever; a random wait lets
		// one of them be the last.
		if len(wrong) > 0 && round > 0 && err == nil {
			timer := time.NewTimer(rand.N(time.Since(began) + time.Millisecond))
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-timer.C:
				wrong, err = look()
			}
			timer.Stop()
		}
		switch {
		case err != nil:
			return unread(err)
		case len(wrong) == 0:
			return nil
		case round == rounds:
			return &UnsettledError{Tags: wrong}
		}
		if r.manifests, err = fetchManifests(ctx, r.client, r.due); err != nil {
			return unread(err)
		}
		r.attempted = make([]atomic.Bool, len(r.due))
		if err := r.all(ctx); err != nil {
			return unread(err)
		}
	}
}

// untagged is an UntagError if tags could not be removed.
func (r *promoter) untagged(moves []journal.Move) error {
	var e UntagError
	for _, m := range moves {
		if d, ok := r.kept[m.Tag]; ok {
			e.Tags, e.Digests, e.Err = append(e.Tags, m.Tag), append(e.Digests, d), r.keptWhy
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

// fetchManifests reads what the tags will point to from the repositories they
// are in, each once: what is tagged was there the moment before.
func fetchManifests(ctx context.Context, client *registry.Client, moves []journal.Move) ([]rawManifest, error) {
	first := map[string]int{}
	at := make([]string, len(moves))
	for i, m := range moves {
		if m.Digest == "" {
			continue
		}
		ref, err := registry.At(m.Repository(), m.Digest)
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
				return fmt.Errorf("reading what tag %q shall point to: %w", moves[i].Tag, err)
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
