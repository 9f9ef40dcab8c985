package release

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// whyJSON is what `mage plan -why -json` prints of one build. The fields are
// stable.
type whyJSON struct {
	Target   string `json:"target"`
	Platform string `json:"platform"`
	// Build reports whether a release would build it, and Why what changed since
	// the build that could have been reused.
	Build bool   `json:"build"`
	Why   string `json:"why,omitempty"`
}

// Why shows which builds a release would make now, and what changed since the
// ones that could have been reused. Prepare commands are not run: their files
// count as they are.
func (w *Workspace) Why(ctx context.Context, o PlanOptions) error {
	p, err := w.loadPublishable(o.Selection)
	if err != nil {
		return err
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	var checkout *build.Checkout
	var epoch *time.Time
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		checkout, epoch, err = w.checkout(gctx)
		return err
	})
	g.Go(func() error { return w.registries(gctx, p, client) })
	err = g.Wait()
	w.status.Close()
	if err != nil {
		return interrupted(ctx, err)
	}
	rows, err := w.why(ctx, p, client, epoch, checkout, w.readHistory())
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.JSON {
		return w.writeJSON(rows)
	}
	out := w.Streams.Out
	t := ui.NewTable(ui.Column{Title: "TARGET"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "RELEASE", Keep: true}, ui.Column{Title: "WHY", Keep: true})
	for _, r := range rows {
		if r.Build {
			t.Row(r.Target, r.Platform, out.Warn("builds it"), r.Why)
		} else {
			t.Row(r.Target, r.Platform, out.Good("reuses it"), r.Why)
		}
	}
	return t.Write(out)
}

func (w *Workspace) why(ctx context.Context, p *plan.Plan, client *registry.Client, epoch *time.Time, checkout *build.Checkout, past history) ([]whyJSON, error) {
	s := w.solves(p, client, &journal.Record{}, past, epoch, checkout)
	bases := map[*plan.Build]build.Base{}
	rows := []whyJSON{}
	for _, b := range p.Builds() {
		row := whyJSON{Target: b.Target.Name, Platform: b.PlatformName(), Build: true}
		old, known := s.past[b.ID()]
		needs := map[string]build.Base{}
		for name, need := range b.Needs {
			if base, ok := bases[need]; ok {
				needs[name] = base
			}
		}
		var err error
		switch {
		case len(b.Target.Outputs) > 0:
			row.Why = "its files are written again"
		case b.Repository == "":
			row.Why = "it is in no registry that it could be taken from"
		case !known:
			row.Why = "it was not built yet"
		case len(needs) < len(b.Needs):
			row.Why = "what it builds on is built again"
		default:
			if row.Why = s.excluded(b, old); row.Why == "" {
				row.Why, err = s.different(ctx, b, old, needs)
			}
			if row.Build = row.Why != ""; !row.Build {
				bases[b] = build.Base{Repository: b.Repository, Descriptor: descriptor(old)}
				row.Why = "its inputs are the same"
			}
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}
