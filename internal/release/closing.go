package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// closeOpen ends what an interrupted promotion left open, before anything else
// happens: the tags of a release go back, those of a rollback go on, so that
// they are a set that was published whole. What cannot be moved is named, and
// remembered. A record that could not be attached to its images is attached now.
func (w *Workspace) closeOpen(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	r, err := w.newest()
	if err != nil || r == nil {
		return err
	}
	if r.Open() {
		if err := w.registries(ctx, p, client); err != nil {
			return err
		}
		w.status.Close()
		if err := w.closeRecord(ctx, client, r); err != nil {
			return interrupted(ctx, fmt.Errorf("closing the %s %s, which was interrupted while its tags moved: %w", r.Kind, r.ID, err))
		}
	}
	if !r.Unattached || !r.Closed() {
		return nil
	}
	if err := w.registries(ctx, p, client); err != nil {
		return err
	}
	w.status.Close()
	if err := w.attach(ctx, client, r, nil); err != nil || r.Unattached {
		return err
	}
	return r.Save()
}

// openTags are the tags of an open record.
func openTags(r *journal.Record) []string {
	var tags []string
	for _, m := range append(r.Moves[:len(r.Moves):len(r.Moves)], r.Stuck...) {
		tags = append(tags, m.Tag)
	}
	return tags
}

func (w *Workspace) closeRecord(ctx context.Context, client *registry.Client, r *journal.Record) error {
	now, err := index.Point(ctx, client, openTags(r))
	if err != nil {
		return err
	}
	c := journal.Close(r, now)
	for _, f := range c.Taken {
		w.status.Warn(fmt.Sprintf("%s %s was interrupted while its tags moved, and another release has moved %s since: it points to %s and is left there", r.Kind, r.ID, f.Tag, digestName(f.Now)))
	}
	failed, why := index.PutBack(ctx, client, c.Moves)
	left := map[string]bool{}
	for i, m := range failed {
		left[m.Tag] = true
		w.status.Warn(fmt.Sprintf("%s %s was interrupted while its tags moved, and %s could not be moved: it points to %s, not to %s (%v)", r.Kind, r.ID, m.Tag, digestName(m.Previous), digestName(m.Digest), why[i]))
	}
	for _, m := range c.Moves {
		if !left[m.Tag] {
			w.say("%s %s was interrupted while its tags moved: %s points to %s again", r.Kind, r.ID, m.Tag, digestName(m.Digest))
		}
	}
	untouched := r.Kind == journal.Rollback && c.Untouched
	r.Settle(c, failed)
	if untouched {
		return w.journal.Remove(r)
	}
	if c.Complete {
		w.say("%s %s was interrupted after its last tag had moved: every one was read back now", r.Kind, r.ID)
	}
	if err := r.Save(); err != nil {
		return err
	}
	// Another release may have moved some at this very moment.
	for _, m := range c.Moves {
		now[m.Tag] = m.Digest
		if left[m.Tag] {
			now[m.Tag] = m.Previous
		}
	}
	after, err := index.Point(ctx, client, openTags(r))
	if err != nil {
		return err
	}
	for tag, d := range after {
		if d != now[tag] {
			w.status.Warn(fmt.Sprintf("%s is being moved by another release: it points to %s now", tag, digestName(d)))
		}
	}
	return nil
}

// withdraw notes how a promotion failed. Where tags are left, the record stays
// open: the next run closes it.
func withdraw(r *journal.Record, before journal.Step, failure error) error {
	var half *index.HalfMovedError
	var unsettled *index.UnsettledError
	if errors.As(failure, &half) || errors.As(failure, &unsettled) {
		return nil
	}
	var conflict *index.ConflictError
	r.Withdraw(before, errors.As(failure, &conflict))
	return r.Save()
}
