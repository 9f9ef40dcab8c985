package release

import (
	"context"
	"errors"
	"sync"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// keep takes from earlier runs what need not be built again: the inputs are the
// same, the fingerprint covers all of them, and the registry still has the
// image.
func (w *Workspace) keep(ctx context.Context, p *plan.Plan, s *solves) error {
	var known []*plan.Build
	shown := false
	for _, b := range p.Builds() {
		if _, ok := s.past[b.ID()]; ok {
			known = append(known, b)
			shown = shown || b.Spec.Prepare != nil
		}
	}
	if len(known) == 0 {
		return nil
	}
	if shown {
		d, err := w.display(p)
		if err != nil {
			return err
		}
		s.display = d
		defer d.Close()
	}
	ended := map[*plan.Build]chan struct{}{}
	for _, b := range known {
		ended[b] = make(chan struct{})
	}
	outcomes := map[*plan.Build]*outcome{}
	var mu sync.Mutex
	errs := make([]error, len(known))
	for i, b := range known {
		go func() {
			defer close(ended[b])
			bases := map[string]build.Base{}
			for name, need := range b.Needs {
				if ended[need] == nil {
					return // it has to be built, and so has this one
				}
				<-ended[need]
				mu.Lock()
				o := outcomes[need]
				mu.Unlock()
				if o == nil {
					return
				}
				bases[name] = o.base
			}
			base, ok, err := s.reuse(ctx, b, bases)
			errs[i] = err
			if ok {
				o := &outcome{ended: make(chan struct{}), base: base}
				close(o.ended)
				mu.Lock()
				outcomes[b] = o
				mu.Unlock()
			}
		}()
	}
	for _, b := range known {
		<-ended[b]
	}
	for b, o := range outcomes {
		s.done[b] = o
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if n := len(outcomes); n > 0 {
		if n < len(p.Builds()) { // else the step is done, and noted as such
			if err := s.record.Save(); err != nil {
				return err
			}
		}
		w.say("kept %d of %d builds: their inputs are the same and the registry has them", n, len(p.Builds()))
	}
	return nil
}

// reuse says whether b is there already, and notes it.
func (s *solves) reuse(ctx context.Context, b *plan.Build, bases map[string]build.Base) (build.Base, bool, error) {
	old := s.past[b.ID()]
	if s.nativeOnly && !old.Native {
		return build.Base{}, false, nil
	}
	if old.Inputs == "" || old.Repository != b.Repository || !old.Complete {
		return build.Base{}, false, nil
	}
	if err := build.Prepare(ctx, b, s.display, s.options); err != nil {
		return build.Base{}, false, err
	}
	s.mu.Lock()
	s.prepared[b] = true
	s.mu.Unlock()
	in, err := build.ReadInputs(ctx, b, bases, s.options)
	if err != nil {
		return build.Base{}, false, err
	}
	if in.Digest != old.Inputs || !in.Whole {
		return build.Base{}, false, nil
	}
	ref, err := registry.At(b.Repository, old.Digest)
	if err != nil {
		return build.Base{}, false, nil //nolint:nilerr // a record that names no digest keeps nothing
	}
	desc, err := s.client.Head(ctx, ref)
	if registry.IsNotFound(err) {
		return build.Base{}, false, nil
	}
	if err != nil {
		return build.Base{}, false, err
	}
	kept := *old.Child
	kept.Reused = true
	s.put(b, &kept)
	return build.Base{Repository: b.Repository, Descriptor: desc}, true, nil
}
