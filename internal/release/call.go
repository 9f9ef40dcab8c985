package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
)

// calls asks about the targets that are not built but looked at, before anything
// is built, and prints the answers.
func (w *Workspace) calls(ctx context.Context, p *plan.Plan, s *solves) error {
	var errs []error
	for _, t := range p.Targets {
		if t.Called == nil {
			continue
		}
		up := s.fleet.Workers()
		if len(up) == 0 {
			return fmt.Errorf("asking about target %q: no worker answers", t.Name)
		}
		out := w.Streams.Out
		fmt.Fprintln(out, t.Name)
		if d := t.Spec.Description; d != "" {
			fmt.Fprintln(out, d)
		}
		fmt.Fprintln(out)
		if err := build.Call(ctx, up[0], t.Called, out, s.display, s.options); err != nil {
			errs = append(errs, err)
		}
		fmt.Fprintln(out)
	}
	return errors.Join(errs...)
}

// called reports whether a target is looked at instead of built.
func called(p *plan.Plan) bool {
	for _, t := range p.Targets {
		if t.Called != nil {
			return true
		}
	}
	return false
}
