package release

import (
	"context"
	"errors"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// step is one part of a release. Hooks run before and after it, by its name.
type step struct {
	name string
	run  func(*pipeline, context.Context) error
}

// The steps of a release, in order.
var (
	stepBuild    = step{"build", (*pipeline).build}
	stepAssemble = step{"assemble", (*pipeline).assemble}
	stepAnnotate = step{"annotate", (*pipeline).annotate}
	stepInspect  = step{"inspect", (*pipeline).inspect}
	stepUpload   = step{"upload", (*pipeline).upload}
	stepProve    = step{"prove", (*pipeline).prove}
	stepSign     = step{"sign", (*pipeline).sign}
	stepPromote  = step{"promote", (*pipeline).promote}
	stepVerify   = step{"verify", (*pipeline).verify}

	allSteps = []step{stepBuild, stepAssemble, stepAnnotate, stepInspect, stepUpload, stepProve, stepSign, stepPromote, stepVerify}
)

// pipeline is one run over a plan: what the steps hand to each other.
type pipeline struct {
	w      *Workspace
	plan   *plan.Plan
	client *registry.Client
	// record is nil until the build has begun one.
	record *journal.Record
	reuse  Reuse
	push   PushOptions
	// proving asks the devices, unless all targets were proven already.
	proving bool

	hooks    *hooks
	taggings []index.Tagging
	proof    *proof
}

// pipeline makes a run over p that goes on from r, nil for a new release.
func (w *Workspace) pipeline(p *plan.Plan, client *registry.Client, r *journal.Record) (*pipeline, error) {
	h, err := w.hooks(p)
	if err != nil {
		return nil, err
	}
	return &pipeline{w: w, plan: p, client: client, record: r, hooks: h}, nil
}

// close lets go of the devices.
func (p *pipeline) close() {
	if p.proof != nil {
		p.proof.close()
	}
}

// steps runs some steps in order, each between its hooks.
func (p *pipeline) steps(ctx context.Context, list ...step) error {
	for _, s := range list {
		if err := p.hook(ctx, "before-"+s.name); err != nil {
			return err
		}
		p.w.stage(s.name)
		err := s.run(p, ctx)
		p.w.stage("")
		if err != nil {
			return err
		}
		if err := p.hook(ctx, "after-"+s.name); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipeline) build(ctx context.Context) (err error) {
	p.record, err = p.w.build(ctx, p.plan, p.client, p.reuse)
	return err
}

func (p *pipeline) assemble(ctx context.Context) error {
	return p.w.assemble(ctx, p.plan, p.client, p.record)
}

func (p *pipeline) annotate(context.Context) error { return p.w.annotate(p.plan, p.record) }

// inspect judges the drafts. Where nothing was built, nobody has asked yet
// whether the registries take a push.
func (p *pipeline) inspect(ctx context.Context) error {
	if !built(p.record) && moves(p.record) {
		if err := p.w.mayPush(ctx, p.plan, p.client); err != nil {
			return err
		}
	}
	if err := p.record.Advance(journal.Assembled); err != nil {
		return err
	}
	if err := p.w.inspectDrafts(ctx, p.plan, p.client, p.record); err != nil {
		return held(err)
	}
	return held(p.w.checkGrowth(ctx, p.plan, p.client))
}

func (p *pipeline) upload(ctx context.Context) (err error) {
	p.taggings, err = p.w.upload(ctx, p.plan, p.client, p.record)
	return err
}

// prove asks the devices, by digest.
func (p *pipeline) prove(ctx context.Context) error {
	if !p.proving || proven(p.plan, p.record) {
		return nil
	}
	proof, err := p.w.prove(ctx, p.plan, p.client, p.record)
	if noteErr := noteProof(p.record, proof, err); noteErr != nil || err != nil {
		return errors.Join(err, noteErr)
	}
	p.proof = proof
	return nil
}

// sign signs what is uploaded, and proven where that was asked for.
func (p *pipeline) sign(ctx context.Context) error {
	return p.w.sign(ctx, p.plan, p.client, p.taggings)
}

func (p *pipeline) promote(ctx context.Context) error {
	return p.w.promote(ctx, p.plan, p.client, p.record, p.taggings, p.push)
}

// verify has the devices that ran an image pull it by its tags.
func (p *pipeline) verify(ctx context.Context) error {
	if p.proof == nil {
		return nil
	}
	return p.proof.verifyTags(ctx)
}
