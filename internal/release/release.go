package release

import (
	"context"
	"errors"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// Options say what to release and how.
type Options struct {
	BuildOptions
	PushOptions
	// DryRun asks everybody who takes part, and changes nothing.
	DryRun bool
	Results
}

// Release builds, assembles, annotates, inspects, uploads, proves, signs and
// tags every selected target. No tag moves before all of them are whole.
func (w *Workspace) Release(ctx context.Context, o Options) error {
	if o.DryRun {
		return w.rehearse(ctx, o.BuildOptions)
	}
	return w.alone(o.BuildOptions.Selection, func(p *plan.Plan, client *registry.Client) error {
		if err := w.byVersion(ctx, p, client); err != nil {
			return err
		}
		run, err := w.pipeline(p, client, nil)
		if err != nil {
			return err
		}
		defer run.close()
		run.reuse, run.push, run.proving = o.Reuse, o.PushOptions, true
		if len(p.Published()) == 0 {
			if err := run.steps(ctx, stepBuild); err != nil {
				return err
			}
			return w.showWritten(p, run.record, o.Results)
		}
		if err := run.steps(ctx, steps...); err != nil {
			return err
		}
		return w.showReleased(p, run.record, o.Results)
	})
}

// held says of what an inspection found that it keeps the tags where they are.
func held(err error) error {
	var finding *AuditError
	var growth *GrowthError
	if errors.As(err, &finding) || errors.As(err, &growth) {
		return &heldError{err}
	}
	return err
}
