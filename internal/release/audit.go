package release

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// AuditError says what is wrong with images that were read.
type AuditError struct{ Findings []string }

func (e *AuditError) Error() string { return strings.Join(e.Findings, "\n") }

// Remedy is what to do next.
func (e *AuditError) Remedy() string {
	return "fix what is named, or say in an audit block of targets.hcl why it is intended (docs/audit.md), and run the same command again"
}

// auditOptions are the rules of the workspace and a target.
func (w *Workspace) auditOptions(p *plan.Plan, t *plan.Target) audit.Options {
	o := audit.Options{}
	if dirs, err := embedded.DirsFromEnv(w.Getenv); err == nil {
		o.CacheDir = filepath.Join(dirs.Cache, "audit")
	}
	rules := p.Audit
	if t != nil {
		rules = rules.Merge(t.Spec.Audit)
	}
	if rules != nil {
		o.Rules.Ignore, o.Rules.Allow = rules.Ignore, rules.Allow
		o.Rules.Severity = map[string]audit.Severity{}
		for id, s := range rules.Severity {
			o.Rules.Severity[id] = audit.Severity(s)
		}
		o.PageSizes = map[string]uint64{}
		for platform, size := range rules.PageSize {
			if p, err := platforms.Parse(platform); err == nil {
				o.PageSizes[platforms.Format(platforms.Normalize(p))] = config.PageSizes[size]
			}
		}
	}
	return o
}

// want is what a target's index is meant to be.
func want(t *plan.Target) *audit.Want {
	out := &audit.Want{Annotations: map[string]string{}}
	for _, b := range t.Builds {
		if b.Optional {
			out.Optional = append(out.Optional, b.PlatformName())
		} else {
			out.Platforms = append(out.Platforms, b.PlatformName())
		}
	}
	for _, pl := range t.Platforms {
		if name := config.FormatPlatform(pl); len(t.Builds) == 0 && !slices.Contains(out.Platforms, name) {
			out.Platforms = append(out.Platforms, name)
		}
	}
	for _, a := range t.Spec.AnnotationList() {
		if a.Level == "index" {
			out.Annotations[a.Key] = a.Value
		}
	}
	return out
}

// auditDraft judges the draft of a target; layers are read where they were
// built.
func (w *Workspace) auditDraft(ctx context.Context, p *plan.Plan, t *plan.Target, client *registry.Client, r *journal.Record) (*audit.Report, error) {
	d, err := index.Open(w.layout(), t.Name)
	if errors.Is(err, index.ErrNoDraft) {
		return nil, w.notAssembled(t.Name)
	}
	if err != nil {
		return nil, err
	}
	o := w.auditOptions(p, t)
	o.Want = want(t)
	o.Reproducible = r != nil && r.Epoch != nil
	report, err := audit.Audit(ctx, audit.Draft(w.layout(), client, d.Source), t.Name, o)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	builtBy(report, r)
	return report, nil
}

// auditTag judges what a tag names, against what the newest record that moved
// it made of it.
func (w *Workspace) auditTag(ctx context.Context, p *plan.Plan, t *plan.Target, tag plan.Tag, client *registry.Client) (*audit.Report, error) {
	o := w.auditOptions(p, t)
	o.Want, o.Related = want(t), true
	o.Want.Signed = p.Release.Sign != nil
	r, m := w.movedBy(tag.String())
	if m != nil {
		o.Want.Digest = m.Digest
		o.Reproducible = r.Epoch != nil
	}
	report, err := audit.Audit(ctx, audit.Registry(client), tag.String(), o)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	if r == nil {
		r = w.attached(ctx, client, tag.String(), report.Tree.Digest)
	}
	builtBy(report, r)
	return report, nil
}

// movedBy is the newest record that moved a tag, and how.
func (w *Workspace) movedBy(tag string) (*journal.Record, *journal.Move) {
	ids, err := w.journal.IDs()
	if err != nil {
		return nil, nil
	}
	for _, id := range slices.Backward(ids) {
		r, err := w.journal.Read(id)
		if err != nil || !r.Reached(journal.Promoted) {
			continue
		}
		for i := range r.Moves {
			if r.Moves[i].Tag == tag {
				return r, &r.Moves[i]
			}
		}
	}
	return nil, nil
}

// attached is the newest record that a release from any machine attached to an
// index, or nil. It only adds to what is shown.
func (w *Workspace) attached(ctx context.Context, client *registry.Client, ref string, d digest.Digest) *journal.Record {
	repo, err := registry.Repository(ref)
	if err != nil {
		return nil
	}
	found, err := w.readAttached(ctx, client, place{repo, d}, func(string) bool { return true })
	if err != nil {
		return nil
	}
	var newest *journal.Record
	for _, r := range found {
		of := slices.ContainsFunc(r.Targets, func(t *journal.Target) bool { return t.Index == d })
		if of && (newest == nil || r.ID > newest.ID || r.ID == newest.ID && r.Attempt > newest.Attempt) {
			newest = r
		}
	}
	return newest
}

// builtBy fills in what the record knows of each image of the index.
func builtBy(report *audit.Report, r *journal.Record) {
	if r == nil {
		return
	}
	i := slices.IndexFunc(r.Targets, func(t *journal.Target) bool { return t.Index == report.Tree.Digest })
	if i < 0 {
		return
	}
	t := r.Targets[i]
	for i := range report.Images {
		if c := t.Child(report.Images[i].Platform); c != nil {
			report.Images[i].BuiltBy = c.Worker
			report.Images[i].ProvenOn = c.ProvenOn
		}
	}
}

// judge turns the findings that stop a release into an error.
func judge(failOn string, reports ...*audit.Report) error {
	var out []string
	for _, r := range reports {
		by := map[digest.Digest]string{}
		for _, im := range r.Images {
			by[im.Digest] = im.BuiltBy
		}
		for _, f := range r.Fails(audit.Severity(failOn)) {
			line := audit.Printable(r.Tree.Reference) + ": " + f.String()
			if w := by[f.Digest]; w != "" {
				line += " (built by worker " + w + ")"
			}
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return &AuditError{Findings: out}
}

// inspectDrafts is the inspection inside a release: nothing goes up that has a
// finding of release.fail_on or worse.
func (w *Workspace) inspectDrafts(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) error {
	reports := make([]*audit.Report, len(p.Published()))
	err := sideBySide(p.Published(), func(i int, t *plan.Target) (err error) {
		reports[i], err = w.auditDraft(ctx, p, t, client, r)
		return err
	})
	if err != nil {
		return err
	}
	for i, t := range p.Published() {
		for _, im := range reports[i].Images {
			if im.Binaries != "" {
				w.say("inspected %s %s: %s", t.Name, im.Platform, im.Binaries)
			}
		}
	}
	err = judge(p.Release.FailOn, reports...)
	noteInspection(p, r, reports)
	if saveErr := r.Save(); saveErr != nil {
		return saveErr
	}
	// What stops the release is in the error; notes are for `mage inspect`.
	show := []audit.Severity{audit.Warning}
	if err == nil {
		show = append(show, audit.Error)
	}
	w.showFindings(w.Streams.Err, show, reports...)
	return err
}

// noteInspection keeps which drafts passed, as reports of all published targets
// have it.
func noteInspection(p *plan.Plan, r *journal.Record, reports []*audit.Report) {
	for i, t := range p.Published() {
		if tr := r.Target(t.Name); tr != nil && reports[i].Tree.Digest == tr.Index {
			tr.Inspected = &journal.Check{Index: tr.Index, Passed: judge(p.Release.FailOn, reports[i]) == nil}
		}
	}
}
