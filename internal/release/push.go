package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/sign"
	"github.com/archmage-build/archmage/internal/smoke"
)

// PushOptions say what to push and how.
type PushOptions struct {
	Selection
	// Force moves tags that somebody else has moved meanwhile, and lets Push
	// move tags to what was not inspected or proven.
	Force bool
	// NoReferrer does not attach the record to the indexes.
	NoReferrer bool
}

// Push uploads the drafts by digest, then moves the tags of all selected
// targets and reads them back. Drafts that were not inspected, or failed, are
// refused (UncheckedError).
func (w *Workspace) Push(ctx context.Context, o PushOptions) error {
	return w.step(ctx, o.Selection, func(p *plan.Plan, client *registry.Client, r *journal.Record) error {
		if !o.Force {
			if err := w.checked(p, r); err != nil {
				return err
			}
		}
		if err := w.registries(ctx, p, client); err != nil {
			return err
		}
		w.status.Close()
		if err := w.mayPush(ctx, p, client); err != nil {
			return err
		}
		return w.publish(ctx, p, client, r, o, !o.Force)
	})
}

// publish brings the drafts up, proves and signs them, and moves the tags.
func (w *Workspace) publish(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, o PushOptions, prove bool) error {
	if err := w.byVersion(ctx, p, client); err != nil {
		return err
	}
	run, err := w.pipeline(p, client, r)
	if err != nil {
		return err
	}
	defer run.close()
	run.push, run.proving = o, prove
	if err := run.steps(ctx, stepUpload, stepProve, stepSign, stepPromote, stepVerify); err != nil {
		return err
	}
	return w.showReleased(p, r, Results{})
}

// UncheckedError reports a draft that must not be pushed as it is.
type UncheckedError struct {
	Target string
	// Proof reports that a device refused it, not the inspection.
	Proof bool
	// Failed reports that it was checked.
	Failed bool
}

func (e *UncheckedError) Error() string {
	switch {
	case e.Proof:
		return fmt.Sprintf("the draft of %q failed on a device; no tag has moved", e.Target)
	case e.Failed:
		return fmt.Sprintf("the draft of %q failed its inspection; no tag has moved", e.Target)
	}
	return fmt.Sprintf("the draft of %q was not inspected; no tag has moved", e.Target)
}

// Remedy is what to do next.
func (e *UncheckedError) Remedy() string {
	if e.Proof {
		return "fix the image or the device and run `mage release`, or push all the same with -force"
	}
	return "run `mage inspect`, fix what it finds and build again, or push all the same with -force"
}

// checked is an UncheckedError where a draft was not inspected, or failed its
// inspection or its proof.
func (w *Workspace) checked(p *plan.Plan, r *journal.Record) error {
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		if tr == nil || tr.Index == "" {
			return w.notAssembled(t.Name)
		}
		of := func(c *journal.Check) *journal.Check {
			if c == nil || c.Index != tr.Index {
				return nil
			}
			return c
		}
		if c := of(tr.Proven); c != nil && !c.Passed {
			return &UncheckedError{Target: t.Name, Proof: true, Failed: true}
		}
		if c := of(tr.Inspected); c == nil || !c.Passed {
			return &UncheckedError{Target: t.Name, Failed: c != nil}
		}
	}
	return nil
}

// proven reports whether the devices have passed every target with cases.
func proven(p *plan.Plan, r *journal.Record) bool {
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		if tr == nil || tr.Proven == nil || tr.Proven.Index != tr.Index || !tr.Proven.Passed {
			return false
		}
	}
	return true
}

// noteProof keeps what the devices said.
func noteProof(r *journal.Record, p *proof, err error) error {
	if p == nil || p.report == nil {
		return nil
	}
	for _, t := range p.targets {
		if tr := r.Target(t.Name); tr != nil {
			tr.Proven = &journal.Check{Index: tr.Index, Passed: err == nil}
		}
	}
	r.Proofs = nil
	for _, res := range p.report.Results {
		if res.Verdict != smoke.Skipped {
			r.Proofs = append(r.Proofs, journal.Proof{Target: res.Target, Platform: res.Platform, Device: res.Device, Verdict: string(res.Verdict)})
		}
	}
	return r.Save()
}

func (w *Workspace) notAssembled(target string) error {
	return &journal.NoRecordError{Dir: w.path(), Want: fmt.Sprintf("target %q was not assembled", target)}
}

// upload brings the drafts up, by digest.
func (w *Workspace) upload(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) ([]index.Tagging, error) {
	if _, err := w.signer(p); err != nil {
		return nil, err // said before anything is pushed
	}
	w.traffic.begin()
	defer w.traffic.end()
	taggings := make([]index.Tagging, len(p.Published()))
	err := sideBySide(p.Published(), func(i int, t *plan.Target) error {
		tr := r.Target(t.Name)
		if tr == nil || tr.Index == "" {
			return w.notAssembled(t.Name)
		}
		d, err := index.Open(w.layout(), t.Name)
		if err != nil {
			return err
		}
		if d.Descriptor.Digest != tr.Index {
			return fmt.Errorf("the draft of %q is %s, but the record %s has %s: run `mage assemble annotate` again", t.Name, d.Descriptor.Digest, r.ID, tr.Index)
		}
		if err := index.Upload(ctx, client, d, t.Repositories()); err != nil {
			return interrupted(ctx, err)
		}
		taggings[i].Draft = d
		for _, tag := range t.Tags {
			taggings[i].Tags = append(taggings[i].Tags, tag.String())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return taggings, r.Advance(journal.Uploaded)
}

// sign signs the indexes and images, after the devices have run them: a
// signature says that they may be deployed.
func (w *Workspace) sign(ctx context.Context, p *plan.Plan, client *registry.Client, taggings []index.Tagging) error {
	key, err := w.signer(p)
	if err != nil || key == nil {
		return err
	}
	for _, t := range taggings {
		repos, err := index.Repositories(t.Tags)
		if err != nil {
			return err
		}
		if err := index.Sign(ctx, client, t.Draft, repos, key); err != nil {
			return interrupted(ctx, err)
		}
		w.say("signed %s and its images", t.Draft.Target)
	}
	return nil
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

// promote moves the tags and reads them back. The record is attached to the
// indexes before the first tag moves: a release that is killed in between is
// known for what it is from any machine.
func (w *Workspace) promote(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, taggings []index.Tagging, o PushOptions) error {
	moves, err := index.Moves(taggings, p.Release.ArchTags)
	if err != nil {
		return err
	}
	known := map[digest.Digest]ocispecs.Descriptor{}
	for _, t := range taggings {
		known[t.Draft.Descriptor.Digest] = t.Draft.Descriptor
	}
	step := r.Step
	found, err := index.Promote(ctx, client, moves, index.Promotion{Before: r.Before, Force: o.Force, Begin: func(found []journal.Move) error {
		r.Promote(found, w.elsewhere)
		r.Unattached = !o.NoReferrer
		if err := r.Save(); err != nil || o.NoReferrer {
			return err
		}
		return w.attach(ctx, client, r, known)
	}})
	if err != nil {
		return interrupted(ctx, errors.Join(err, withdraw(r, step, err)))
	}
	if r.Step != journal.Promoting { // all were there already
		r.Moves = found
	}
	r.Finish()
	return r.Save()
}
