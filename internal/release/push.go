package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/sign"
)

// PushOptions say what to push and how.
type PushOptions struct {
	Selection
	// Force moves tags that somebody else has moved meanwhile.
	Force bool
	// NoReferrer does not attach the record to the indexes.
	NoReferrer bool
}

// Push uploads the drafts by digest, then moves the tags of all selected
// targets and reads them back.
func (w *Workspace) Push(ctx context.Context, o PushOptions) error {
	return w.step(o.Selection, func(p *plan.Plan, client *registry.Client, r *journal.Record) error {
		if err := w.registries(ctx, p, client); err != nil {
			return err
		}
		w.status.Close()
		if err := w.mayPush(ctx, p, client); err != nil {
			return err
		}
		if err := w.push(ctx, p, client, r, o); err != nil {
			return err
		}
		return w.showReleased(p, r)
	})
}

// readBefore notes what the tags name when a release begins.
func readBefore(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) error {
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

// push is Push without its surroundings.
func (w *Workspace) push(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, o PushOptions) error {
	taggings, err := w.upload(ctx, p, client, r)
	if err != nil {
		return err
	}
	return w.promote(ctx, p, client, r, taggings, o)
}

// upload brings the drafts up, by digest, and signs them.
func (w *Workspace) upload(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) ([]index.Tagging, error) {
	key, err := w.signer(p)
	if err != nil {
		return nil, err
	}
	w.traffic.begin()
	defer w.traffic.end()
	var taggings []index.Tagging
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		if tr == nil || tr.Index == "" {
			return nil, &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("target %q was not assembled", t.Name)}
		}
		d, err := index.Open(w.layout(), t.Name)
		if err != nil {
			return nil, err
		}
		if d.Descriptor.Digest != tr.Index {
			return nil, fmt.Errorf("the draft of %q is %s, but the record %s has %s: run `mage assemble annotate` again", t.Name, d.Descriptor.Digest, r.ID, tr.Index)
		}
		if err := index.Upload(ctx, client, d, t.Repositories()); err != nil {
			return nil, interrupted(ctx, err)
		}
		if key != nil {
			if err := index.Sign(ctx, client, d, t.Repositories(), key); err != nil {
				return nil, interrupted(ctx, err)
			}
			w.say("signed %s and its images", t.Name)
		}
		tagging := index.Tagging{Draft: d}
		for _, tag := range t.Tags {
			tagging.Tags = append(tagging.Tags, tag.String())
		}
		taggings = append(taggings, tagging)
	}
	return taggings, r.Advance(journal.Uploaded)
}

// signer loads the key of release { sign }, or gives nil.
func (w *Workspace) signer(p *plan.Plan) (*sign.Key, error) {
	s := p.Release.Sign
	if s == nil {
		return nil, nil
	}
	env := s.PasswordEnv
	if env == "" {
		env = "COSIGN_PASSWORD"
	}
	return sign.Load(w.absolute(s.Key), []byte(w.Getenv(env)))
}

// promote moves the tags, reads them back, and attaches the record.
func (w *Workspace) promote(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, taggings []index.Tagging, o PushOptions) error {
	moves, err := index.Moves(ctx, client, taggings, p.Release.ArchTags)
	if err != nil {
		return interrupted(ctx, err)
	}
	if r.Before == nil {
		r.Before = map[string]digest.Digest{}
	}
	// A run that was killed may have moved some of them.
	partly := slices.ContainsFunc(moves, func(m journal.Move) bool {
		before, ok := r.Before[m.Tag]
		return ok && m.Previous == m.Digest && before != m.Digest
	})
	// What was read this moment need not be read again.
	there := !slices.ContainsFunc(moves, func(m journal.Move) bool { return m.Previous != m.Digest })
	for i, m := range moves {
		if before, ok := r.Before[m.Tag]; ok {
			moves[i].Previous = before
		} else {
			r.Before[m.Tag] = m.Previous
		}
	}
	r.Moves = moves
	if there {
		return errors.Join(r.Advance(journal.Verified), w.attach(ctx, client, r, taggings, o))
	}
	step := r.Step
	if err := r.Advance(journal.Promoting); err != nil {
		return err
	}
	if err := index.Promote(ctx, client, moves, index.Promotion{Force: o.Force}); err != nil {
		if !partly {
			err = errors.Join(err, takenBack(r, step, err))
		}
		return interrupted(ctx, err)
	}
	r.Step = journal.Promoted // written with the next step: the moves are in the record
	if err := index.Verify(ctx, client, moves); err != nil {
		return interrupted(ctx, err)
	}
	if err := r.Advance(journal.Verified); err != nil {
		return err
	}
	return w.attach(ctx, client, r, taggings, o)
}

// attach pushes the record as a referrer of each index, so that it is found
// from any machine. The tags stand already, so a registry that does not take
// it is a warning.
func (w *Workspace) attach(ctx context.Context, client *registry.Client, r *journal.Record, taggings []index.Tagging, o PushOptions) error {
	if o.NoReferrer {
		return nil
	}
	data, err := public(r)
	if err != nil {
		return err
	}
	for _, t := range taggings {
		repo, err := registry.Repository(t.Tags[0])
		if err != nil {
			return err
		}
		if _, err := index.PushReferrer(ctx, client, repo, t.Draft.Descriptor, index.ArtifactTypeRecord, nil, data); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			w.status.Warn(fmt.Sprintf("the record is not attached to %s: %v", repo, err))
		}
	}
	return nil
}
