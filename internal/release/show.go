package release

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// showBuilt is the table of a build: who built what.
func (w *Workspace) showBuilt(r *journal.Record) error {
	err := w.builtTable(r)
	if err != nil {
		return err
	}
	for _, t := range r.Targets {
		for _, c := range t.Children {
			fmt.Fprintf(w.Streams.Out, "%s@%s %s\n", c.Repository, c.Digest, c.Platform)
		}
	}
	return nil
}

func (w *Workspace) builtTable(r *journal.Record) error {
	p := w.Streams.Err.Palette
	t := ui.NewTable(ui.Column{Title: "TARGET"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "DIGEST"},
		ui.Column{Title: "BUILT BY"}, ui.Column{Title: "CACHED", Right: true}, ui.Column{Title: "TIME", Right: true})
	t.Short = true
	for _, tr := range r.Targets {
		for _, c := range tr.Children {
			by := any(c.Worker)
			if !c.Native {
				by = p.Warn(c.Worker + ", not native")
			}
			cached, took := fmt.Sprintf("%d/%d", c.Cached, c.Steps), ui.Duration(time.Duration(c.Seconds*float64(time.Second)))
			if c.Reused {
				cached, took = "kept", ""
			}
			t.Row(tr.Name, c.Platform, c.Digest.String(), by, cached, took)
		}
	}
	fmt.Fprintln(w.Streams.Err)
	return t.Write(w.Streams.Err)
}

// showWritten is the end of a release that publishes no image.
func (w *Workspace) showWritten(p *plan.Plan, r *journal.Record, o Results) error {
	files := 0
	for _, t := range p.Targets {
		files += len(t.Outputs)
	}
	r.Finish()
	if err := r.Save(); err != nil {
		return err
	}
	what := count(files, "output") + " written"
	if files == 0 {
		what = "nothing written"
	}
	fmt.Fprintf(w.Streams.Err, "\n%s in %s: %s; no target is published as an image\n",
		w.Streams.Err.Good("done"), ui.Duration(time.Since(w.opened)), what)
	return w.handOver(p, r, o)
}

// showReleased is the end of a release: the table for people and a summary, a
// line a tag for machines.
func (w *Workspace) showReleased(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, o Results) error {
	moved := 0
	for _, m := range r.Moves {
		if m.Previous != m.Digest {
			moved++
		}
	}
	if moved > 0 { // else the page of the release before says all
		w.keepReport(ctx, p, client, r)
	}
	if err := w.builtTable(r); err != nil {
		return err
	}
	what := fmt.Sprintf("%d of %s moved", moved, count(len(r.Moves), "tag"))
	if moved == 0 {
		what = fmt.Sprintf("all %s were there already", count(len(r.Moves), "tag"))
		if len(r.Moves) == 1 {
			what = "its tag was there already"
		}
	}
	proven := w.proven
	if proven == "" {
		proven = "nothing was run on a device"
	}
	out := w.Streams.Err
	fmt.Fprintf(out, "\n%s in %s: %s, every one read back; %s\n",
		out.Good("released"), ui.Duration(time.Since(w.opened)), what, proven)
	for _, t := range p.Published() {
		var names []string
		for _, tag := range t.Tags {
			names = append(names, tag.Name)
		}
		line := fmt.Sprintf("%s  %s", strings.Join(names, ", "), short(r.Target(t.Name).Index))
		if arch := archTags(p, t); len(arch) > 0 {
			line += fmt.Sprintf("  and %s of single platforms", count(len(arch), "tag"))
		}
		w.detail(t.Name, line)
	}
	if from := commit(r); from != "" {
		w.detail("commit", from)
	}
	w.detail("stages", w.stages())
	w.detail("record", w.relative(w.path("releases", r.ID+".json")))
	if moved > 0 {
		w.detail("report", w.relative(w.path("reports", r.ID+".html")))
	}
	if r.Smoke != nil {
		w.detail("logs", w.relative(w.path("smoke")))
	}
	return w.handOver(p, r, o)
}

// keepReport writes the page of a release that was just made. The tags have moved,
// so what goes wrong is only said.
func (w *Workspace) keepReport(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) {
	v, err := w.reportOf(ctx, p, client, r)
	if err == nil {
		_, err = w.writeReport(v, "")
	}
	if err != nil {
		w.status.Warn(fmt.Sprintf("the report was not written: %v", err))
	}
}

// detail is a line of the summary.
func (w *Workspace) detail(name, text string) {
	out := w.Streams.Err
	lines := []string{ui.Clean(text)}
	indent := max(8, len(name)) + 3
	if out.IsTerminal() {
		lines = ui.Wrap(lines[0], out.Width()-indent)
	}
	fmt.Fprintf(out, "  %s%s %s\n", out.Faint(name), strings.Repeat(" ", max(0, 8-len(name))), strings.Join(lines, "\n"+strings.Repeat(" ", indent)))
}

// archTags are the tags of single platforms that a target gets.
func archTags(p *plan.Plan, t *plan.Target) []string {
	var ps []ocispecs.Platform
	for _, b := range t.Builds {
		ps = append(ps, b.Platform)
	}
	var out []string
	for _, tag := range t.Tags {
		all, err := index.ArchTags(p.Release.ArchTags, tag.String(), ps)
		if err != nil {
			continue // the release itself reports it
		}
		out = append(out, all...)
	}
	return out
}

// short is a digest for people, as long as git's and Docker's.
func short(d digest.Digest) string {
	if d.Validate() != nil {
		return string(d)
	}
	return d.Algorithm().String() + ":" + d.Encoded()[:12]
}

// stage notes that a stage of a release begins, and the one before it ends; ""
// begins none.
func (w *Workspace) stage(name string) {
	now := time.Now()
	if n := len(w.ran); n > 0 && w.ran[n-1].took == 0 {
		w.ran[n-1].took = now.Sub(w.ran[n-1].began)
	}
	if name != "" {
		w.ran = append(w.ran, stage{name: name, began: now})
	}
}

type stage struct {
	name  string
	began time.Time
	took  time.Duration
}

// stages are those that took time, with their times.
func (w *Workspace) stages() string {
	var out []string
	for _, s := range w.ran {
		if s.took >= 10*time.Millisecond {
			out = append(out, s.name+" "+ui.Duration(s.took))
		}
	}
	return strings.Join(out, " · ")
}

// writeJSON prints v for machines.
func (w *Workspace) writeJSON(v any) error {
	enc := json.NewEncoder(w.Streams.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
