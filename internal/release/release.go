package release

import (
	"context"
	"errors"

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
		w.stage("build")
		r, err := w.build(ctx, p, client, o.Fresh)
		if err != nil {
			return err
		}
		w.stage("assemble")
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
		w.stage("inspect")
		if err := w.inspectDrafts(ctx, p, client, r); err != nil {
			return held(err)
		}
		return w.publish(ctx, p, client, r, o.PushOptions, true)
	})
}

// held says of what an inspection found that it keeps the tags where they are.
func held(err error) error {
	var finding *AuditError
	if errors.As(err, &finding) {
		return &heldError{err}
	}
	return err
}
