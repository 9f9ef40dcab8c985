package release

import (
	"time"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
)

// history is what the last release knows of each build: by whom, how long.
type history map[string]past

// readHistory takes, for each build, what the newest record that has it says.
// A record that cannot be read is named and passed over: it costs a build, and
// nothing else.
func (w *Workspace) readHistory() history {
	h := history{}
	ids, err := w.journal.IDs()
	if err != nil {
		return h
	}
	for _, id := range ids[max(0, len(ids)-historyDepth):] {
		r, err := w.journal.Read(id)
		if err != nil {
			w.status.Warn(err.Error() + "; it is left as it is, and not used")
			continue
		}
		r.Past(func(target string, c *journal.Child) { h[target+" "+c.Platform] = past{c} })
	}
	return h
}

// historyDepth is how many records are looked through.
const historyDepth = 20

// past is a build of an earlier run.
type past struct {
	*journal.Child
}

// worker that built it last, "" if unknown: its cache is warm.
func (h history) worker(b *plan.Build) string {
	if c, ok := h[b.ID()]; ok {
		return c.Worker
	}
	return ""
}

// weight is how long the build and what waits for it took last time.
func (h history) weight(b *plan.Build, p *plan.Plan) time.Duration {
	var own, after time.Duration
	if c, ok := h[b.ID()]; ok {
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
