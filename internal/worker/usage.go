package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
)

// Usage is the space that a worker's cache takes, in bytes.
type Usage struct {
	Cache int64 `json:"cache"`
	// Reclaimable is what a prune of everything gives back: what no running
	// build uses.
	Reclaimable int64 `json:"reclaimable"`
	// Free is the space left on the disk that holds the cache; nil where the
	// worker cannot be asked.
	Free *int64 `json:"free,omitempty"`
}

// Usage asks the daemon for its cache and, over SSH, the host for its disk.
func (w *Worker) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	list, err := w.Client.DiskUsage(ctx)
	if err != nil {
		return u, fmt.Errorf("asking worker %q for its cache: %w", w.Name, reason(err))
	}
	for _, e := range list {
		u.Cache += e.Size
		if !e.InUse {
			u.Reclaimable += e.Size
		}
	}
	if w.link != nil {
		u.Free = w.remoteFree(ctx)
	} else if path, ok := strings.CutPrefix(w.Address, "unix://"); ok {
		u.Free = localFree(path)
	}
	return u, nil
}

// remoteFree asks df(1) on the worker's host, in the POSIX form.
func (w *Worker) remoteFree(ctx context.Context) *int64 {
	for _, dir := range []string{"/var/lib/buildkit", "/"} {
		out, err := w.link.Command(ctx, "df", "-Pk", dir).Output()
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if f := strings.Fields(lines[len(lines)-1]); len(f) >= 4 {
			if kib, err := strconv.ParseInt(f[3], 10, 64); err == nil {
				free := kib << 10
				return &free
			}
		}
	}
	return nil
}

// Prune removes the worker's build cache: what was not used for keep, or all
// of it where keep is 0. It returns the bytes given back. Builds that run keep
// what they use.
func (w *Worker) Prune(ctx context.Context, keep time.Duration) (int64, error) {
	freed := make(chan client.UsageInfo)
	var sum int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for u := range freed {
			sum += u.Size
		}
	}()
	opts := []client.PruneOption{client.PruneAll}
	if keep > 0 {
		opts = []client.PruneOption{client.WithKeepOpt(keep, 0, 0, 0)}
	}
	err := w.Client.Prune(ctx, freed, opts...)
	close(freed)
	<-done
	if err != nil {
		return sum, fmt.Errorf("pruning worker %q: %w", w.Name, reason(err))
	}
	return sum, nil
}
