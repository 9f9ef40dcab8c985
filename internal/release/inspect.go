package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// Format is how `mage inspect` prints.
type Format string

// The formats. Table is for people.
const (
	Table    Format = ""
	JSON     Format = "json"
	SARIF    Format = "sarif"
	Markdown Format = "markdown"
	// Raw is the exact bytes of the manifest or index.
	Raw Format = "raw"
	// SBOM and Provenance are the attestations' statements.
	SBOM       Format = "sbom"
	Provenance Format = "provenance"
)

// InspectOptions say what to look at.
type InspectOptions struct {
	Selection
	// Ref is any image: a reference, a layout directory or an archive. Empty
	// means what targets.hcl says.
	Ref string
	// Draft looks at the drafts even where they have been published.
	Draft bool
	// Diff compares the drafts with what the first tag names.
	Diff bool
	// Releases looks at the tags of all records.
	Releases bool
	// Formats are those that were asked for, one at most.
	Formats []Format
	Format  Format
}

// check refuses options that contradict each other, or that would be ignored.
func (o *InspectOptions) check() error {
	if len(o.Formats) > 1 {
		slices.Sort(o.Formats)
		return fmt.Errorf("-%s and -%s are two formats; ask for one", o.Formats[0], o.Formats[1])
	}
	if len(o.Formats) == 1 {
		o.Format = o.Formats[0]
	}
	var views []string
	for _, v := range []struct {
		name string
		set  bool
	}{{"-ref", o.Ref != ""}, {"-draft", o.Draft}, {"-diff", o.Diff}, {"-releases", o.Releases}} {
		if v.set {
			views = append(views, v.name)
		}
	}
	switch {
	case len(views) > 1:
		return fmt.Errorf("%s and %s look at different things; ask for one", views[0], views[1])
	case o.Ref != "" && len(o.Targets) > 0:
		return errors.New("-targets chooses from targets.hcl, and -ref names an image; leave one out")
	case o.Diff && o.Format != Table && o.Format != JSON:
		return fmt.Errorf("-diff is shown as a table or as -json, not as -%s", o.Format)
	}
	return nil
}

// Explain prints what the documentation says of a check.
func (w *Workspace) Explain(id string) error {
	text, err := audit.Explain(id)
	if err != nil {
		return usage("Unknown check", err)
	}
	_, err = io.WriteString(w.Streams.Out, text)
	return err
}

// Inspect shows and judges an image: any, the drafts that are not published
// yet, or what is published.
func (w *Workspace) Inspect(ctx context.Context, o InspectOptions) error {
	if err := o.check(); err != nil {
		return usage("Conflicting options", err)
	}
	if o.Ref != "" {
		return w.inspectRef(ctx, o)
	}
	p, err := w.loadPublishable(o.Selection)
	if err != nil {
		return err
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	switch {
	case o.Releases:
		return w.inspectReleases(ctx, p, client, o.Format)
	case o.Diff:
		return w.inspectDiff(ctx, p, client, o.Format)
	}
	draft := o.Draft || w.pending()
	var reports []*audit.Report
	for _, t := range p.Published() {
		if draft {
			r, _ := w.journal.Newest() // without a record there is nothing to add to the report
			report, err := w.auditDraft(ctx, p, t, client, r)
			if err != nil {
				return err
			}
			reports = append(reports, report)
			continue
		}
		for _, tag := range t.Tags {
			report, err := w.auditTag(ctx, p, t, tag, client)
			if err != nil {
				return unreleased(tag.String(), err)
			}
			reports = append(reports, report)
		}
	}
	if draft {
		if err := w.keepInspection(p, reports); err != nil {
			return err
		}
	}
	if draft && o.Format != Table && o.Format != JSON && o.Format != SARIF && o.Format != Markdown {
		return usage("Nothing to print", fmt.Errorf("-%s goes with -ref", o.Format))
	}
	if err := w.print(ctx, o.Format, audit.Registry(client), reports...); err != nil {
		return err
	}
	return judge(p.Release.FailOn, reports...)
}

// keepInspection writes into the record which drafts passed: a push asks for it.
func (w *Workspace) keepInspection(p *plan.Plan, reports []*audit.Report) error {
	unlock, err := w.journal.Lock()
	var busy *journal.BusyError
	if errors.As(err, &busy) {
		w.status.Warn("the inspection is not recorded: " + err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	r, err := w.newest()
	if err != nil || r == nil || r.Closed() || r.Open() {
		return err
	}
	noteInspection(p, r, reports)
	return r.Save()
}

// inspectRef needs no targets.hcl, but honours the registries and the audit
// block of one.
func (w *Workspace) inspectRef(ctx context.Context, o InspectOptions) error {
	p := &plan.Plan{}
	p.Release.FailOn = string(audit.Error)
	if c, diags := config.Load(config.Options{Dir: w.Dir, Files: w.files(), LookupEnv: w.LookupEnv, Environ: w.Environ}); !diags.HasErrors() {
		p.Registries, p.Audit, p.Release = c.Registries, c.Audit, c.Release
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	source, ref, closeSource, err := audit.Open(client, o.Ref)
	defer closeSource()
	if err != nil {
		return usage("Invalid -ref", err)
	}
	if _, isFile := os.Stat(o.Ref); isFile != nil && ref == o.Ref {
		if _, err := registry.Repository(ref); err != nil {
			return usage("Invalid -ref", err)
		}
	}
	if o.Format == Raw {
		_, raw, err := source.Manifest(ctx, ref)
		if err != nil {
			return interrupted(ctx, err)
		}
		_, err = w.Streams.Out.Write(raw)
		return err
	}
	options := w.auditOptions(p, nil)
	options.Related = true
	report, err := audit.Audit(ctx, source, ref, options)
	if err != nil {
		return interrupted(ctx, err)
	}
	builtBy(report, w.attached(ctx, client, ref, report.Tree.Digest))
	if err := w.print(ctx, o.Format, source, report); err != nil {
		return err
	}
	return judge(p.Release.FailOn, report)
}

// pending says whether the newest record has drafts that no tag names yet.
func (w *Workspace) pending() bool {
	r, err := w.journal.Newest()
	return err == nil && r.Kind == journal.Release && r.Reached(journal.Assembled) && !r.Reached(journal.Promoted)
}

// print writes reports in a format; in GitHub Actions the findings become
// annotations of the run as well.
func (w *Workspace) print(ctx context.Context, f Format, source audit.LayerSource, reports ...*audit.Report) error {
	if w.Getenv("GITHUB_ACTIONS") == "true" {
		if err := audit.WriteGitHub(w.Streams.Err, reports...); err != nil {
			return fmt.Errorf("writing annotations: %w", err)
		}
	}
	switch f {
	case JSON:
		if len(reports) == 1 {
			return w.writeJSON(reports[0])
		}
		return w.writeJSON(reports)
	case SARIF:
		return audit.WriteSARIF(w.Streams.Out, Version, reports...)
	case Markdown:
		return audit.WriteMarkdown(w.Streams.Out, reports...)
	case SBOM, Provenance:
		kind := map[Format]string{SBOM: audit.SBOM, Provenance: audit.Provenance}[f]
		all := []audit.Statement{}
		for _, r := range reports {
			s, err := audit.Statements(ctx, source, r.Tree.Reference, r.Tree, kind)
			if err != nil {
				return interrupted(ctx, err)
			}
			all = append(all, s...)
		}
		if len(all) == 0 {
			w.say("no %s is attached; attest = [\"type=%s\"] of a target makes one", f, f)
		}
		return w.writeJSON(all)
	}
	return w.showReports(reports)
}

// inspectReleases looks at what every tag of the records names now: drift, and
// children that have vanished since.
func (w *Workspace) inspectReleases(ctx context.Context, p *plan.Plan, client *registry.Client, f Format) error {
	ids, err := w.journal.IDs()
	if err != nil {
		return err
	}
	last := map[string]journal.Move{}
	var order []string
	for _, id := range ids {
		r, err := w.journal.Read(id)
		if err != nil {
			w.status.Warn(err.Error())
			continue
		}
		if !r.Reached(journal.Promoted) {
			continue
		}
		for _, m := range r.Moves {
			if _, ok := last[m.Tag]; !ok {
				order = append(order, m.Tag)
			}
			last[m.Tag] = m
		}
	}
	var reports []*audit.Report
	for _, tag := range order {
		m := last[tag]
		if m.Digest == "" {
			continue // a rollback took the tag away
		}
		o := w.auditOptions(p, nil)
		o.Shallow = true
		o.Want = &audit.Want{Digest: m.Digest}
		report, err := audit.Audit(ctx, audit.Registry(client), tag, o)
		if registry.IsNotFound(err) {
			report = &audit.Report{Tree: &audit.Tree{Reference: tag}, Findings: []audit.Finding{{
				ID: "tag-drift", Severity: audit.Error, Message: fmt.Sprintf("the tag is gone; %s was released as it", m.Digest),
			}}}
		} else if err != nil {
			return interrupted(ctx, err)
		}
		reports = append(reports, report)
	}
	if err := w.print(ctx, f, audit.Registry(client), reports...); err != nil {
		return err
	}
	return judge(p.Release.FailOn, reports...)
}

// inspectDiff shows what the drafts would change.
func (w *Workspace) inspectDiff(ctx context.Context, p *plan.Plan, client *registry.Client, f Format) error {
	var out []*index.Difference
	for _, t := range p.Published() {
		d, err := index.Open(w.layout(), t.Name)
		if errors.Is(err, index.ErrNoDraft) {
			return w.notAssembled(t.Name)
		}
		if err != nil {
			return err
		}
		diff, err := index.Diff(ctx, client, d, t.Tags[0].String())
		if err != nil {
			return interrupted(ctx, err)
		}
		out = append(out, diff)
	}
	if f == JSON {
		return w.writeJSON(out)
	}
	return w.showDiff(out)
}
