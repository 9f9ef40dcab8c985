package release

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/atomicwriter"
	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/smoke"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/view"
)

// reportsKept is how many pages stay in .archmage/reports.
const reportsKept = 20

// ReportOptions say which release to show, and where.
type ReportOptions struct {
	// Release is the beginning of an id; "" is the newest.
	Release string
	// Output is the file of the page; "" is one in .archmage/reports.
	Output string
}

// Report writes the page of a release. Images are read from the registry.
func (w *Workspace) Report(ctx context.Context, o ReportOptions) error {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return err
	}
	records, err := w.local()
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r *journal.Record) bool { return r.Kind != journal.Release })
	if len(records) == 0 {
		return &journal.NoRecordError{Dir: w.path(), Want: "no release was made here yet", Hint: "`mage release` makes one, and its report"}
	}
	slices.SortFunc(records, func(a, b *journal.Record) int { return strings.Compare(b.ID, a.ID) })
	r := records[0]
	if o.Release != "" {
		if r, err = record(records, o.Release); err != nil {
			return err
		}
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	v, err := w.reportOf(ctx, p, client, r)
	if err != nil {
		return interrupted(ctx, err)
	}
	path, err := w.writeReport(v, o.Output)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.Streams.Out, path)
	return err
}

// writeReport writes the page, and returns its file as people write it.
func (w *Workspace) writeReport(v *view.Report, output string) (string, error) {
	var b bytes.Buffer
	if err := v.Write(&b); err != nil {
		return "", err
	}
	path := output
	if path == "" {
		path = w.path("reports", v.Release+".html")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", fmt.Errorf("writing the report: %w", err)
		}
	} else if !filepath.IsAbs(path) {
		path = filepath.Join(w.Dir, path)
	}
	if err := atomicwriter.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("writing the report: %w", err)
	}
	if output == "" {
		w.dropReports(filepath.Dir(path))
	}
	return w.relative(path), nil
}

// dropReports keeps the newest pages.
func (w *Workspace) dropReports(dir string) {
	pages, _ := filepath.Glob(filepath.Join(dir, "*.html"))
	slices.Sort(pages) // the names begin with the time
	for len(pages) > reportsKept {
		_ = os.Remove(pages[0]) // one more does no harm
		pages = pages[1:]
	}
}

func (w *Workspace) reportOf(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) (*view.Report, error) {
	v := &view.Report{
		Release: r.ID, Begun: r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), Commit: r.Commit, Dirty: r.Dirty,
		Done: r.Step == journal.Verified, State: "released", Proven: "nothing was run on a device",
	}
	if !v.Done {
		v.State = "stopped " + stopped(r.Step)
	}
	for _, m := range r.Moves {
		if m.Previous != m.Digest {
			v.Moved++
		}
		v.Moves = append(v.Moves, view.Move{Tag: m.Tag, From: m.Previous.String(), To: m.Digest.String()})
	}
	var size int64
	for _, tr := range r.Targets {
		if tr.Linked {
			continue
		}
		t, n, err := w.reportTarget(ctx, p, client, r, tr, v)
		if err != nil {
			return nil, err
		}
		v.Targets, size = append(v.Targets, t), size+n
		v.Platforms += len(t.Images)
	}
	v.Size = ui.Bytes(size)
	return v, w.reportProofs(r, v)
}

// reportTarget reads a target's images as the registry has them. What it does not
// have any more is said, and no error: the record knows the rest.
func (w *Workspace) reportTarget(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, tr *journal.Target, v *view.Report) (view.Target, int64, error) {
	t := view.Target{Name: tr.Name, Digest: tr.Index.String(), Tags: tr.Tags}
	nodes, before := map[string]audit.Node{}, map[digest.Digest]bool{}
	was := map[string]int64{}
	var facts []audit.Image
	if tr.Index != "" && len(tr.Tags) > 0 {
		repository, err := registry.Repository(tr.Tags[0])
		if err != nil {
			return t, 0, err
		}
		report, err := audit.Audit(ctx, audit.Registry(client), repository+"@"+tr.Index.String(), w.auditOptions(p, nil))
		switch {
		case ctx.Err() != nil:
			return t, 0, err
		case err != nil:
			t.Problem = "the registry gives no more than the record has: " + err.Error()
		default:
			facts = report.Images
			for _, n := range report.Tree.Images() {
				nodes[n.Platform] = *n
			}
			for _, f := range report.Findings {
				v.Findings = append(v.Findings, finding(tr.Name, f))
			}
		}
		for _, m := range r.Moves {
			if m.Tag != tr.Tags[len(tr.Tags)-1] || m.Previous == "" {
				continue
			}
			if tree, err := audit.Read(ctx, audit.Registry(client), repository+"@"+m.Previous.String()); err == nil {
				for _, n := range tree.Images() {
					was[n.Platform] = n.TotalSize
					for _, l := range n.Layers {
						before[l.Digest] = true
					}
				}
			}
		}
	}
	var sum int64
	for _, c := range tr.Children {
		im := view.Image{
			Platform: c.Platform, Digest: c.Digest.String(), Worker: c.Worker, Native: c.Native, ProvenOn: strings.Join(c.ProvenOn, ", "),
			Took: ui.Duration(time.Duration(c.Seconds * float64(time.Second))),
		}
		if c.Reused {
			im.Took = "reused"
		}
		if n, ok := nodes[c.Platform]; ok {
			sum += n.TotalSize
			im.Size = ui.Bytes(n.TotalSize)
			if old, ok := was[c.Platform]; ok {
				im.Delta, im.Trend = delta(n.TotalSize - old)
			} else {
				im.Delta = "new"
			}
			for _, l := range n.Layers {
				im.Layers = append(im.Layers, view.Layer{Digest: l.Digest.String(), Size: ui.Bytes(l.Size), New: !before[l.Digest]})
			}
			im.Digest = n.Digest.String()
		}
		for _, f := range facts {
			if f.Platform == c.Platform {
				im.Program, im.Binaries = f.Program, f.Binaries
			}
		}
		t.Images = append(t.Images, im)
		if !c.Began.IsZero() && !c.Reused {
			v.Spans = append(v.Spans, view.Span{Lane: c.Worker, Name: tr.Name + " " + c.Platform, Begun: c.Began, Took: time.Duration(c.Seconds * float64(time.Second)), Class: "bar"})
		}
	}
	return t, sum, nil
}

func delta(n int64) (text, class string) {
	switch {
	case n > 0:
		return "+" + ui.Bytes(n), "warn"
	case n < 0:
		return ui.Bytes(n), "good"
	}
	return "the same", ""
}

func finding(target string, f audit.Finding) view.Finding {
	class := map[audit.Severity]string{audit.Error: "bad", audit.Warning: "warn", audit.Note: "faint"}[f.Severity]
	return view.Finding{
		ID: f.ID, Severity: string(f.Severity), Class: class, Where: strings.TrimSpace(target + " " + f.Platform), Message: f.Message,
		Path: f.Path, Layer: f.Layer.String(), Chain: strings.Join(f.Chain, " → "), Evidence: f.Evidence,
	}
}

// reportProofs adds what the devices said.
func (w *Workspace) reportProofs(r *journal.Record, v *view.Report) error {
	if len(r.Smoke) == 0 {
		return nil
	}
	var s smoke.Report
	if err := json.Unmarshal(r.Smoke, &s); err != nil {
		return fmt.Errorf("reading the verdicts of release %s: %w", r.ID, err)
	}
	v.Proven = s.Summary()
	v.Unproven = unprovenLines(s.Unproven, s.Results)
	begun := map[string]time.Time{}
	for _, x := range s.Results {
		class, mark, bar := "warn", "!", "proof"
		switch {
		case x.Verdict == smoke.Passed:
			class, mark = "good", "✓"
		case x.Verdict.Bad() && !x.Optional:
			class, mark, bar = "bad", "✗", "fail"
		}
		took := time.Duration((x.Pull + x.Seconds) * float64(time.Second))
		v.Verdicts = append(v.Verdicts, view.Verdict{
			Device: x.Device, Target: x.Target, Platform: x.Platform, Case: x.Case, Took: ui.Duration(took),
			Verdict: string(x.Verdict), Class: class, Mark: mark, Reason: x.Reason, Output: x.Tail,
		})
		if x.Verdict == smoke.Skipped {
			continue
		}
		at, ok := begun[x.Device]
		if !ok {
			at = s.Started
		}
		begun[x.Device] = at.Add(took)
		v.Spans = append(v.Spans, view.Span{Lane: x.Device, Name: strings.TrimSpace(x.Target+" "+x.Platform) + ": " + x.Case, Begun: at, Took: took, Class: bar})
	}
	return nil
}
