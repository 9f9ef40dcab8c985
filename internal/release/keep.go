package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// keep takes from earlier runs what need not be built again: the inputs are the
// same, the fingerprint covers all of them, and the registry still has the
// image.
func (w *Workspace) keep(ctx context.Context, p *plan.Plan, s *solves) error {
	var known []*plan.Build
	shown := false
	for _, b := range p.Builds() {
		if _, ok := s.past[b.ID()]; ok && b.Repository != "" && len(b.Target.Outputs) == 0 {
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
	w.sayWhy(p, s)
	return nil
}

// unreachable reports that a registry gave no answer, whatever it would be.
func unreachable(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && slices.Contains([]registry.Kind{registry.Unreachable, registry.UnknownHost, registry.Unavailable}, e.Kind)
}

// sayOld names the base images that count as they were, since their registries do
// not answer.
func (w *Workspace) sayOld(bases []inputs.OldBase) {
	for _, b := range bases {
		w.status.Warn(fmt.Sprintf("the registry of the base image %s does not answer: it counts as it was %s ago, %s", b.Ref, ui.Duration(time.Since(b.Seen).Round(time.Second)), b.Digest))
	}
}

// sayWhy tells, for builds that could have been reused, what changed since.
func (w *Workspace) sayWhy(p *plan.Plan, s *solves) {
	byReason := map[string][]string{}
	var order []string
	for _, b := range p.Builds() {
		why := s.why[b]
		if why == "" {
			continue
		}
		line := b.Target.Name + ": " + why
		if byReason[line] == nil {
			order = append(order, line)
		}
		byReason[line] = append(byReason[line], b.PlatformName())
	}
	for _, line := range order {
		name, why, _ := strings.Cut(line, ": ")
		w.say("building %s for %s again: %s", name, strings.Join(byReason[line], ", "), why)
	}
}

// summary names the first of some reasons, and how many there are.
func summary(reasons []string) string {
	const shown = 3
	if len(reasons) <= shown {
		return strings.Join(reasons, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(reasons[:shown], ", "), len(reasons)-shown)
}

// reuse reports whether b is there already, and notes it. Where it is not, s.why
// says what is different.
func (s *solves) reuse(ctx context.Context, b *plan.Build, bases map[string]build.Base) (build.Base, bool, error) {
	old := s.past[b.ID()]
	why := s.excluded(b, old)
	if why == "" {
		err := s.prepare(ctx, b)
		if err == nil {
			why, err = s.different(ctx, b, old, bases)
		}
		if err != nil {
			return build.Base{}, false, err
		}
	}
	if why != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.why[b] = why
		return build.Base{}, false, nil
	}
	reused := *old.Child
	reused.Reused = true
	s.put(b, &reused)
	return build.Base{Repository: b.Repository, Descriptor: descriptor(old)}, true, nil
}

func descriptor(c past) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: c.MediaType, Digest: c.Digest, Size: c.Size}
}

// excluded says why an earlier build cannot be taken whatever it was made from, ""
// if it can.
func (s *solves) excluded(b *plan.Build, old past) string {
	switch {
	case s.nativeOnly && !old.Native:
		return "it was built by emulation, which is forbidden now"
	case old.Inputs == "" || old.BuildPlatform == "":
		return "what it was built from was not recorded"
	case old.Repository != b.Repository:
		return "its repository changed"
	}
	return ""
}

// different says what is different from an earlier build, "" for nothing.
func (s *solves) different(ctx context.Context, b *plan.Build, old past, bases map[string]build.Base) (string, error) {
	host, err := config.ParsePlatform(old.BuildPlatform)
	if err != nil {
		return "what it was built from was not recorded", nil //nolint:nilerr // a damaged record keeps nothing
	}
	in, err := build.ReadInputs(ctx, b, bases, host, s.options)
	if err != nil {
		return "", err
	}
	switch {
	case !in.Complete():
		return "it cannot be known whether it is the same: " + summary(in.Unknown), nil
	case in.Digest != old.Inputs:
		was := s.options.Inputs.Recall(b.ID(), old.Inputs)
		if was == nil {
			return "what it is built from changed", nil
		}
		return summary(inputs.Changes(was, in.Parts)), nil
	case !old.Complete:
		return "something changed while it was built last", nil
	}
	there, err := index.Complete(ctx, s.client, b.Repository, descriptor(old))
	if err != nil || there {
		return "", err
	}
	return "the registry no longer has all of it", nil
}
