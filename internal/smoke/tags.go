package smoke

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/ui"
)

// VerifyTags pulls the tag of each target on each machine that ran its cases,
// after promotion, and compares what that gives with what was proven. The
// machines are those of the report's run, with their connections still open.
func VerifyTags(ctx context.Context, provers []Prover, targets []*Target, proven *Report, o Options) (*Report, error) {
	begin := time.Now()
	report := &Report{Schema: ReportSchema, Started: begin.UTC().Truncate(time.Second)}
	say := serial(o.Event)
	results := make([][]Result, len(provers))
	devices := make([]DeviceReport, len(provers))
	g := new(errgroup.Group)
	g.SetLimit(jobs(o.Jobs))
	for i, p := range provers {
		g.Go(func() error {
			start := time.Now()
			r := &deviceRun{prover: p, options: o, say: say, report: DeviceReport{Name: p.spec().Name, Optional: p.spec().Optional}}
			for _, t := range targets {
				r.tag(ctx, t, proven)
			}
			if o.Close {
				_ = p.close() // it has done its part
			}
			r.report.Seconds = time.Since(start).Seconds()
			results[i], devices[i] = r.results, r.report
			return nil
		})
	}
	_ = g.Wait() // every device keeps its own errors
	for i := range provers {
		report.Devices = append(report.Devices, devices[i])
		report.Results = append(report.Results, results[i]...)
	}
	report.Seconds = time.Since(begin).Seconds()
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	return report, nil
}

func (r *deviceRun) tag(ctx context.Context, t *Target, proven *Report) {
	if t.Tag == "" || ctx.Err() != nil {
		return
	}
	for i := range t.Children {
		c := &t.Children[i]
		was := proven.ran(r.report.Name, t.Name, c.Digest.String())
		if was == "" {
			continue
		}
		begin := time.Now()
		r.tell(t.Name, "tag", "pulling")
		same, err := r.prover.tag(ctx, t, c)
		if ctx.Err() != nil {
			return
		}
		res := Result{Target: t.Name, Case: "tag " + t.Tag, Platform: c.Name(), Digest: c.Digest.String(), Verdict: was, Tries: 1, Pull: time.Since(begin).Seconds()}
		switch {
		case err != nil:
			var reason string
			res.Verdict, reason = classify(err)
			res.Reason, res.Hint = ui.Clean(reason), hint(err)
		case !same:
			res.Verdict = WrongPlatform
			res.Reason = fmt.Sprintf("%s:%s does not give the image that was proven", t.Repository, t.Tag)
			res.Hint = "compare with `mage inspect`; `mage rollback` moves the tag back"
		}
		r.add(res)
	}
}

// ran is the verdict of the cases of an image that ran well on a device; ""
// if they did not.
func (r *Report) ran(device, target, digest string) Verdict {
	worst := Verdict("")
	for _, x := range r.Results {
		if x.Device == device && x.Target == target && x.Digest == digest && x.Verdict != Skipped && (worst == "" || x.Verdict.Worse(worst)) {
			worst = x.Verdict
		}
	}
	if worst == Passed || worst == Emulated {
		return worst
	}
	return ""
}
