package tasks

import (
	"context"
	"time"

	"github.com/archmage-build/archmage/internal/release"
)

// Wipe removes build cache from workers; never anything from a registry.
func Wipe(ctx context.Context,
	workers *bool, // the build cache of every worker
	keep *time.Duration, // spare what was used within this time: 48h
	dryRun *bool, // only say what would go
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		o := release.WipeOptions{Workers: set(workers), DryRun: set(dryRun)}
		if keep != nil {
			o.Keep = *keep
		}
		return w.Wipe(ctx, o)
	})
}
