package index

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// restoreTime bounds a write of a tag, and the putting back of a few: both go on
// when the release itself was interrupted.
// A registry may ask for a pause of that long.
const restoreTime = 150 * time.Second

type stopKey struct{}

// WithStop lets what must not be cut off by an interruption (writes of tags and
// their putting back) go on when ctx ends, but only until stop ends.
func WithStop(ctx, stop context.Context) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}

// insist is a context that goes on for a time when ctx ends, until it is
// stopped for good.
func insist(ctx context.Context, limit time.Duration) (context.Context, func()) {
	stop, ok := ctx.Value(stopKey{}).(context.Context)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	if !ok {
		return ctx, cancel
	}
	forget := context.AfterFunc(stop, cancel)
	return ctx, func() { forget(); cancel() }
}

// HalfMovedError reports a promotion that failed, and tags that could not be
// put back.
type HalfMovedError struct {
	// Tags, with what they pointed to before as Digest, and with what they
	// point to now, or may point to, as Previous.
	Tags []journal.Move
	// Err is why the promotion failed, Restore why the tags were not put back.
	Err, Restore error
}

// Error implements error.
func (e *HalfMovedError) Error() string {
	lines := []string{fmt.Sprintf("%v; these tags were moved before that and could not be put back (%v):", e.Err, e.Restore)}
	for _, m := range e.Tags {
		lines = append(lines, fmt.Sprintf("%s points to %s; before it pointed to %s", m.Tag, orNothing(m.Previous), orNothing(m.Digest)))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives both causes.
func (e *HalfMovedError) Unwrap() []error { return []error{e.Err, e.Restore} }

// Remedy is what to do next.
func (e *HalfMovedError) Remedy() string {
	var refused *registry.Error
	if errors.As(e.Restore, &refused) && refused.Kind == registry.Unsupported {
		return "the registry removes no tags: remove what is named by its own means, or leave it and release under another version"
	}
	return "run the same command again once the registry is well: it puts the tags back first; or roll back"
}

// restore puts back the moves that a failed promotion may have made, and
// returns the failure. A tag that another release moved meanwhile is left alone.
func restore(ctx context.Context, client *registry.Client, begun []journal.Move, failure error) error {
	back := make([]journal.Move, len(begun))
	for i, m := range begun {
		back[i] = m
		back[i].Digest, back[i].Previous = m.Previous, m.Digest
	}
	if failed, errs := PutBack(ctx, client, back); len(failed) > 0 {
		return &HalfMovedError{Tags: failed, Err: failure, Restore: errors.Join(errs...)}
	}
	return failure
}

// PutBack moves tags that still point to Previous, rank by rank and each for
// itself: it returns the moves that could not be made, and why, each in the same
// place. A tag that points to something else is left alone. It goes on when ctx
// ends.
func PutBack(ctx context.Context, client *registry.Client, moves []journal.Move) (failed []journal.Move, why []error) {
	ctx, cancel := insist(ctx, restoreTime+time.Duration(len(moves))*restoreTime/100)
	defer cancel()
	errs := make([]error, len(moves))
	for rank := 0; rank <= journal.LastRank; rank++ {
		var g errgroup.Group
		g.SetLimit(client.Jobs())
		for i, m := range moves {
			if m.Rank() == rank {
				g.Go(func() error { errs[i] = putBack(ctx, client, m); return nil })
			}
		}
		_ = g.Wait() // each has its own error
	}
	for i, err := range errs {
		if err != nil {
			failed, why = append(failed, moves[i]), append(why, err)
		}
	}
	return failed, why
}

func putBack(ctx context.Context, client *registry.Client, m journal.Move) error {
	now, err := head(ctx, client, m.Tag)
	if err != nil || now != m.Previous || m.Digest == m.Previous {
		return err
	}
	if m.Digest == "" {
		return client.Untag(ctx, m.Tag)
	}
	ref, err := registry.At(m.Repository(), m.Digest)
	if err != nil {
		return err
	}
	desc, raw, err := client.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	return client.PutManifest(ctx, m.Tag, desc.MediaType, raw)
}
