package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// WipeOptions say what to remove.
type WipeOptions struct {
	// Workers prunes the build cache of every worker.
	Workers bool
	// Keep spares cache that was used within this time; 0 removes all.
	Keep time.Duration
	// DryRun only says what would go.
	DryRun bool
	// All takes every image of the devices, not only those of targets.hcl; it
	// needs Yes, unless the terminal is asked.
	All, Yes bool
	// Stop ends containers that use such an image.
	Stop bool
	// Devices are names; none means all.
	Devices []string
}

// Wipe removes images from devices, or build cache from workers. Nothing in a
// registry is touched.
func (w *Workspace) Wipe(ctx context.Context, o WipeOptions) error {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return err
	}
	if !o.Workers {
		if len(p.Devices) == 0 {
			return usage("Nothing to wipe", errors.New("targets.hcl declares no device; -workers removes build cache"))
		}
		if o.All && !o.Yes && !o.DryRun && !w.confirm("Remove every image from the devices?") {
			return usage("Not wiped", errors.New("-all removes every image of a device, whoever put it there: say -yes, or look first with -dryRun"))
		}
		return w.wipeDevices(ctx, p, o)
	}
	defer w.status.Close()
	type row struct {
		cache, freed int64
		err          error
	}
	rows := make([]row, len(p.Workers))
	var group sync.WaitGroup
	for i, spec := range p.Workers {
		group.Go(func() {
			rows[i].cache, rows[i].freed, rows[i].err = w.wipeWorker(ctx, spec, w.dial(p), o)
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.status.Close()
	title := "FREED"
	if o.DryRun {
		title = "WOULD FREE"
	}
	t := ui.NewTable(ui.Column{Title: "WORKER", Keep: true}, ui.Column{Title: "CACHE", Right: true}, ui.Column{Title: title, Right: true})
	var errs []error
	for i, spec := range p.Workers {
		errs = append(errs, rows[i].err)
		if rows[i].err == nil {
			t.Row(spec.Name, ui.Bytes(rows[i].cache), ui.Bytes(rows[i].freed))
		}
	}
	return errors.Join(append(errs, t.Write(w.Streams.Out))...)
}

func (w *Workspace) wipeWorker(ctx context.Context, spec *config.Worker, dial worker.Dialer, o WipeOptions) (cache, freed int64, err error) {
	c, err := dial(ctx, spec)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	u, err := c.Usage(ctx)
	if err != nil {
		return 0, 0, err
	}
	if o.DryRun {
		return u.Cache, u.Reclaimable, nil
	}
	freed, err = c.Prune(ctx, o.Keep)
	if err != nil {
		return u.Cache, freed, fmt.Errorf("wiping: %w", err)
	}
	return u.Cache, freed, nil
}

// confirm asks on a terminal; elsewhere the answer is no.
func (w *Workspace) confirm(question string) bool {
	if !w.Streams.Err.IsTerminal() {
		return false
	}
	fmt.Fprintf(w.Streams.Err, "%s [y/N] ", question)
	line, err := bufio.NewReader(w.Streams.In).ReadString('\n')
	return err == nil && strings.EqualFold(strings.TrimSpace(line), "y")
}
