package worker

import (
	"context"
	"sync"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Sift takes the workers out of a job that would have to emulate and cannot,
// found out by running a program on each, side by side. It returns their names.
func (f *Fleet) Sift(ctx context.Context, j *Job, p ocispecs.Platform) ([]string, error) {
	can := make([]bool, len(j.Foreign))
	errs := make([]error, len(j.Foreign))
	var asked sync.WaitGroup
	for i, index := range j.Foreign {
		asked.Go(func() { can[i], errs[i] = f.runs(ctx, f.members[index], p) })
	}
	asked.Wait()
	var keep []int
	var out []string
	for i, index := range j.Foreign {
		if errs[i] != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// A worker that did not answer is the heartbeat's to judge.
		if can[i] || errs[i] != nil {
			keep = append(keep, index)
			continue
		}
		out = append(out, f.members[index].spec.Name)
	}
	j.Foreign = keep
	return out, nil
}

// runs is Worker.Runs, asked once.
func (f *Fleet) runs(ctx context.Context, m *member, p ocispecs.Platform) (bool, error) {
	f.mu.Lock()
	w := m.worker
	f.mu.Unlock()
	if w == nil {
		return true, nil
	}
	key := config.FormatPlatform(p)
	w.probing.Lock()
	defer w.probing.Unlock()
	if known, ok := w.probed[key]; ok {
		return known, nil
	}
	ok, err := w.Runs(ctx, p)
	if err == nil {
		if w.probed == nil {
			w.probed = map[string]bool{}
		}
		w.probed[key] = ok
	}
	return ok, err
}
