package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// DevicesOptions say which devices to look at, and how.
type DevicesOptions struct {
	Project
	// Devices are names; none means all.
	Devices []string
	JSON    bool
}

// Devices looks at every device: who is reachable, what it is and runs.
func Devices(ctx context.Context, options ...DevicesOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o DevicesOptions) error {
		return w.Devices(ctx, release.DevicesOptions{Devices: o.Devices, JSON: o.JSON})
	})
}
