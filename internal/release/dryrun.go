package release

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/ui"
)

// rehearse asks everybody who takes part in a release, and shows what it would
// do: builds, tags, hooks. Nothing is started, built or moved. Prepare commands
// and hooks are not run.
func (w *Workspace) rehearse(ctx context.Context, o BuildOptions) error {
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
	var probes []probe
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		checkout, epoch, err = w.checkout(gctx)
		return err
	})
	g.Go(func() error { probes = w.probes(gctx, p, client); return nil })
	err = g.Wait()
	w.status.Close()
	if err != nil {
		return interrupted(ctx, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if last, err := w.newest(); err != nil {
		return err
	} else if last != nil && last.Open() {
		w.status.Warn(fmt.Sprintf("%s %s was interrupted while its tags moved: a release would close it first", last.Kind, last.ID))
	}
	if err := w.showProbes(w.Streams.Err, probes); err != nil {
		return err
	}
	if err := firstFailure(probes); err != nil {
		return err
	}
	past := w.readHistory()
	if o.Fresh {
		past = history{}
	}
	rows, err := w.why(ctx, p, client, epoch, checkout, past)
	if err != nil {
		return interrupted(ctx, err)
	}
	out, builds := w.Streams.Out, 0
	fmt.Fprintln(w.Streams.Err)
	t := ui.NewTable(ui.Column{Title: "TARGET"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "RELEASE", Keep: true}, ui.Column{Title: "WHY", Keep: true})
	for _, r := range rows {
		what := any(out.Good("reuses it"))
		if r.Build {
			what, builds = out.Warn("builds it"), builds+1
		}
		t.Row(r.Target, r.Platform, what, r.Why)
	}
	if err := t.Write(out); err != nil {
		return err
	}
	var hosts []string // of registries that run
	for _, pr := range probes {
		if pr.Kind == "registry" && pr.Verdict == probeOK {
			hosts = append(hosts, pr.Name)
		}
	}
	tags, err := movable(p)
	if err != nil {
		return err
	}
	now, err := index.Point(ctx, client, slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return !slices.Contains(hosts, plan.Host(tag)) }))
	if err != nil {
		return interrupted(ctx, err)
	}
	fmt.Fprintln(out)
	t = ui.NewTable(ui.Column{Title: "TAG", Keep: true}, ui.Column{Title: "POINTS TO"})
	for _, tag := range tags {
		t.Row(tag, digestName(now[tag]))
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, point := range config.HookPoints() {
		for _, h := range w.Hooks {
			if h.Point == point {
				fmt.Fprintf(out, "hook %s: a function of the magefile\n", point)
			}
		}
		for _, h := range p.Hooks {
			if h.Point == point {
				fmt.Fprintf(out, "hook %s: %s\n", point, ui.Clean(fmt.Sprintf("%q", h.Command)))
			}
		}
	}
	fmt.Fprintf(w.Streams.Err, "\n%s: %d of %s would be made, %s would be set; nothing was changed\n",
		w.Streams.Err.Good("dry run"), builds, count(len(rows), "build"), count(len(tags), "tag"))
	return nil
}
