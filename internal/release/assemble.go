package release

import (
	"cmp"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// Assemble makes the draft index of every selected target from the builds of
// the newest record, or from the target's sources.
func (w *Workspace) Assemble(ctx context.Context, s Selection) error {
	return w.step(ctx, s, func(p *plan.Plan, client *registry.Client, r *journal.Record) error {
		run, err := w.pipeline(p, client, r)
		if err != nil {
			return err
		}
		if err := run.steps(ctx, stepAssemble); err != nil {
			return err
		}
		return r.Advance(journal.Assembled)
	})
}

// step runs one task on the newest record, alone in the workspace. A record that
// is closed stays as it is: a new one follows it.
func (w *Workspace) step(ctx context.Context, s Selection, do func(*plan.Plan, *registry.Client, *journal.Record) error) error {
	return w.alone(s, func(p *plan.Plan, client *registry.Client) error {
		if err := w.closeOpen(ctx, p, client); err != nil {
			return err
		}
		r, err := w.newest()
		switch {
		case err != nil:
			return err
		case len(p.Builds()) == 0 && (r == nil || !covers(r, p)):
			if r, err = w.begin(p, nil, false); err != nil { // of sources: nothing has to be built first
				return err
			}
		case r == nil:
			return &journal.NoRecordError{Dir: w.path(), Want: "no build was recorded"}
		case r.Kind == journal.Rollback:
			return &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("the last thing done was the rollback %s", r.ID)}
		case len(p.Builds()) > 0 && !r.Reached(journal.Built):
			return &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("the build of release %s did not end", r.ID)}
		case r.Closed():
			next, err := w.journal.New(journal.Release)
			if err != nil {
				return err
			}
			next.Follow(r)
			r = next
		}
		return do(p, client, r)
	})
}

// covers says whether the record is of all targets of the plan.
func covers(r *journal.Record, p *plan.Plan) bool {
	for _, t := range p.Published() {
		if r.Target(t.Name) == nil {
			return false
		}
	}
	return true
}

func (w *Workspace) assemble(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) error {
	drafts := make([]*index.Draft, len(p.Published()))
	err := sideBySide(p.Published(), func(i int, t *plan.Target) error {
		tr := r.Target(t.Name)
		if tr == nil {
			return &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("target %q was not built", t.Name)}
		}
		a := index.Assembly{
			Target:            t.Name,
			Docker:            p.Release.MediaTypes == "docker",
			StripAttestations: p.Release.Attestations == "strip",
			Index:             t.Spec.Index != nil && *t.Spec.Index == config.IndexAlways,
		}
		if err := w.children(ctx, t, tr, client, &a); err != nil {
			return err
		}
		d, err := index.Assemble(ctx, client, w.layout(), a)
		if err != nil {
			return interrupted(ctx, err)
		}
		tr.Index, drafts[i] = d.Descriptor.Digest, d
		return nil
	})
	if err != nil {
		return err
	}
	for i, t := range p.Published() {
		d := drafts[i]
		if d.Plain() {
			w.say("assembled %s: one image, published without an index, %s", t.Name, short(d.Descriptor.Digest))
		} else {
			w.say("assembled %s: %s, %s", t.Name, count(len(d.Children()), "platform"), short(d.Descriptor.Digest))
		}
		for _, r := range d.Repaired() {
			w.status.Warn(fmt.Sprintf("%s %s: its config was repaired, so it is a new image: %s instead of %s (%d attestations of the old one left out)", t.Name, r.Platform, r.To, r.From, r.Attestations))
		}
	}
	return nil
}

// atOnce bounds how many targets are worked on at a time.
const atOnce = 4

// sideBySide does something for each of a list, some at a time, and returns the
// first error in the list's order.
func sideBySide[T any](list []T, do func(int, T) error) error {
	errs := make([]error, len(list))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, e := range list {
		g.Go(func() error {
			errs[i] = do(i, e)
			return nil
		})
	}
	_ = g.Wait() // the errors are in the list
	return cmp.Or(errs...)
}

// Annotate writes the annotations and platform fields of targets.hcl into the
// drafts.
func (w *Workspace) Annotate(ctx context.Context, s Selection) error {
	return w.step(ctx, s, func(p *plan.Plan, client *registry.Client, r *journal.Record) error {
		run, err := w.pipeline(p, client, r)
		if err != nil {
			return err
		}
		if err := run.steps(ctx, stepAnnotate); err != nil {
			return err
		}
		return r.Advance(journal.Assembled)
	})
}

func (w *Workspace) annotate(p *plan.Plan, r *journal.Record) error {
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		if tr == nil || tr.Index == "" {
			return w.notAssembled(t.Name)
		}
		d, err := index.Annotate(w.layout(), t.Name, annotations(t), overrides(t))
		if err != nil {
			return err
		}
		tr.Index = d.Descriptor.Digest
		if n := len(t.Spec.Annotations); n > 0 {
			w.say("annotated %s: %s, %s", t.Name, count(n, "annotation"), short(d.Descriptor.Digest))
		}
	}
	return nil
}

func annotations(t *plan.Target) []index.Annotation {
	var out []index.Annotation
	for _, a := range t.Spec.AnnotationList() {
		out = append(out, index.Annotation{Level: index.Level(a.Level), Platform: a.Platform, Key: a.Key, Value: a.Value})
	}
	return out
}

func overrides(t *plan.Target) []index.Override {
	var out []index.Override
	for _, f := range t.Fields() {
		out = append(out, index.Override(f))
	}
	return out
}

// children are what the record has of a target, or its sources as they are
// now.
func (w *Workspace) children(ctx context.Context, t *plan.Target, tr *journal.Target, client *registry.Client, a *index.Assembly) error {
	a.Overrides = overrides(t)
	if len(t.Sources) > 0 {
		a.Platforms, a.Partial = t.Platforms, t.Partial
		var err error
		a.Children, err = index.ResolveAll(ctx, client, t.Sources)
		return interrupted(ctx, err)
	}
	for _, b := range t.Builds {
		c := tr.Child(b.PlatformName())
		if c == nil && b.Optional {
			continue
		}
		a.Platforms = append(a.Platforms, b.Platform)
		if c == nil {
			return &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("%s was not built", b.ID())}
		}
		a.Children = append(a.Children, index.Child{Repository: c.Repository, Digest: c.Digest, Platform: b.Platform})
	}
	return nil
}
