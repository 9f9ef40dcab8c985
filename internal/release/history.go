package release

import (
	"time"

	"github.com/archmage-build/archmage/internal/plan"
)

// history is what the last release knows of each build: by whom, how long.
type history map[string]*ChildRecord

// history reads the newest record; there may be none, or none that is
// readable, which is no reason not to release.
func (w *Workspace) history() history {
	h := history{}
	r, err := w.latest()
	if err != nil {
		return h
	}
	for _, t := range r.Targets {
		for _, c := range t.Children {
			h[t.Name+" "+c.Platform] = c
		}
	}
	return h
}

// worker that built it last, "" if unknown: its cache is warm.
func (h history) worker(b *plan.Build) string {
	if c := h[b.ID()]; c != nil {
		return c.Worker
	}
	return ""
}

// weight is how long the build and what waits for it took last time.
func (h history) weight(b *plan.Build, p *plan.Plan) time.Duration {
	var own, after time.Duration
	if c := h[b.ID()]; c != nil {
		own = time.Duration(c.Seconds * float64(time.Second))
	}
	for _, o := range p.Builds() {
		for _, n := range o.Needs {
			if n == b {
				after = max(after, h.weight(o, p))
			}
		}
	}
	return own + after
}
