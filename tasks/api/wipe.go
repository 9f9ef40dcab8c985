package api

import (
	"context"
	"time"

	"github.com/archmage-build/archmage/internal/release"
)

// WipeOptions say what to remove.
type WipeOptions struct {
	Project
	// Devices are names; none means all.
	Devices []string
	// All takes every image of the devices, whoever put it there. It needs Yes,
	// unless a person at the terminal says so.
	All, Yes bool
	// Stop ends containers that use such an image.
	Stop bool
	// Workers removes the build cache of every worker instead.
	Workers bool
	// Keep spares cache that was used within this time.
	Keep time.Duration
	// DryRun only says what would go.
	DryRun bool
}

// Wipe removes the matrix's images from devices, or build cache from workers;
// nothing from a registry.
func Wipe(ctx context.Context, options ...WipeOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o WipeOptions) error {
		return w.Wipe(ctx, release.WipeOptions{
			Devices: o.Devices, All: o.All, Yes: o.Yes, Stop: o.Stop, Workers: o.Workers, Keep: o.Keep, DryRun: o.DryRun,
		})
	})
}
