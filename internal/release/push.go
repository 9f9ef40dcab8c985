package release

import (
	"context"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// PushOptions say what to push and how.
type PushOptions struct {
	Selection
	// Force moves tags that somebody else has moved meanwhile.
	Force bool
}

// Push uploads the drafts by digest, then moves the tags of all selected
// targets and reads them back.
func (w *Workspace) Push(ctx context.Context, o PushOptions) error {
	return w.step(o.Selection, func(p *plan.Plan, client *registry.Client, r *Record) error {
		if err := w.registries(ctx, p, client); err != nil {
			return err
		}
		w.status.Close()
		if err := w.push(ctx, p, client, r, o.Force); err != nil {
			return err
		}
		return w.showReleased(p, r)
	})
}

// readBefore notes what the tags name when a release begins.
func readBefore(ctx context.Context, p *plan.Plan, client *registry.Client, r *Record) error {
	if r.Before == nil {
		r.Before = map[string]digest.Digest{}
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, t := range p.Published() {
		for _, tag := range t.Tags {
			if _, ok := r.Before[tag.String()]; ok {
				continue // this release has begun before
			}
			g.Go(func() error {
				desc, err := client.Head(gctx, tag.String())
				if err != nil && !registry.IsNotFound(err) {
					return fmt.Errorf("reading what the tags name now: %w", err)
				}
				mu.Lock()
				defer mu.Unlock()
				r.Before[tag.String()] = desc.Digest
				return nil
			})
		}
	}
	return g.Wait()
}

// push is Push without its surroundings: upload, promote, verify.
func (w *Workspace) push(ctx context.Context, p *plan.Plan, client *registry.Client, r *Record, force bool) error {
	var taggings []index.Tagging
	for _, t := range p.Published() {
		tr := r.target(t.Name)
		if tr == nil || tr.Index == "" {
			return &NoRecordError{Dir: w.path(), Want: fmt.Sprintf("target %q was not assembled", t.Name)}
		}
		d, err := index.Open(w.layout(), t.Name)
		if err != nil {
			return err
		}
		if d.Descriptor.Digest != tr.Index {
			return fmt.Errorf("the draft of %q is %s, but the record %s has %s: run `mage assemble annotate` again", t.Name, d.Descriptor.Digest, r.ID, tr.Index)
		}
		if err := index.Upload(ctx, client, d, t.Repositories()); err != nil {
			return interrupted(ctx, err)
		}
		tagging := index.Tagging{Draft: d}
		for _, tag := range t.Tags {
			tagging.Tags = append(tagging.Tags, tag.String())
		}
		taggings = append(taggings, tagging)
	}
	if err := r.advance(Uploaded); err != nil {
		return err
	}
	moves, err := index.Moves(ctx, client, taggings, p.Release.ArchTags)
	if err != nil {
		return interrupted(ctx, err)
	}
	if r.Before == nil {
		r.Before = map[string]digest.Digest{}
	}
	for i, m := range moves {
		if before, ok := r.Before[m.Tag]; ok {
			moves[i].Previous = before
		} else {
			r.Before[m.Tag] = m.Previous
		}
	}
	r.Moves = moves
	if err := r.advance(Promoting); err != nil {
		return err
	}
	if err := index.Promote(ctx, client, moves, index.Promotion{Force: force}); err != nil {
		return interrupted(ctx, err)
	}
	if err := r.advance(Promoted); err != nil {
		return err
	}
	if err := index.Verify(ctx, client, moves); err != nil {
		return interrupted(ctx, err)
	}
	return r.advance(Verified)
}
