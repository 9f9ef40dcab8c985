package release

import (
	"context"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// Options say what to release and how.
type Options struct {
	BuildOptions
	PushOptions
}

// Release builds, assembles, annotates, inspects, uploads, proves and tags
// every selected target. No tag moves before all of them are whole.
func (w *Workspace) Release(ctx context.Context, o Options) error {
	return w.alone(o.BuildOptions.Selection, func(p *plan.Plan, client *registry.Client) error {
		r, err := w.build(ctx, p, client, o.Fresh)
		if err != nil {
			return err
		}
		if err := w.assemble(ctx, p, client, r); err != nil {
			return err
		}
		if err := w.annotate(p, r); err != nil {
			return err
		}
		if !built(r) && moves(r) {
			if err := w.mayPush(ctx, p, client); err != nil {
				return err
			}
		}
		if err := r.Advance(journal.Assembled); err != nil {
			return err
		}
		if err := w.inspectDrafts(ctx, p, client, r); err != nil {
			return err
		}
		taggings, err := w.upload(ctx, p, client, r)
		if err != nil {
			return err
		}
		proof, err := w.prove(ctx, p, client, r)
		if err != nil {
			return err
		}
		defer proof.close()
		if err := w.promote(ctx, p, client, r, taggings, o.PushOptions); err != nil {
			return err
		}
		if err := proof.verifyTags(ctx); err != nil {
			return err
		}
		return w.showReleased(p, r)
	})
}
