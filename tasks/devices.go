package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Devices looks at every device: who is reachable, what it is and runs.
func Devices(ctx context.Context,
	device *string, // only these devices: door,rack
	json *bool, // for machines
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Devices(ctx, release.DevicesOptions{Devices: list(device), JSON: set(json)})
	})
}
