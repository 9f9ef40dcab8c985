package release

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
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
func (w *Workspace) showWritten(p *plan.Plan, r *journal.Record) error {
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
	return nil
}

// showReleased is the end of a release: the table for people, a line a tag for
// machines.
func (w *Workspace) showReleased(p *plan.Plan, r *journal.Record) error {
	if err := w.builtTable(r); err != nil {
		return err
	}
	moved := 0
	for _, m := range r.Moves {
		if m.Previous != m.Digest {
			moved++
		}
	}
	what := fmt.Sprintf("%d of %d tags moved", moved, len(r.Moves))
	if moved == 0 {
		what = fmt.Sprintf("all %d tags were there already", len(r.Moves))
	}
	proven := w.proven
	if proven == "" {
		proven = "nothing was run on a device"
	}
	fmt.Fprintf(w.Streams.Err, "\n%s in %s: %s, every one read back; %s\n",
		w.Streams.Err.Good("released"), ui.Duration(time.Since(w.opened)), what, proven)
	for _, t := range p.Published() {
		tr := r.Target(t.Name)
		for _, tag := range t.Tags {
			fmt.Fprintf(w.Streams.Out, "%s@%s\n", tag, tr.Index)
		}
	}
	return nil
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
